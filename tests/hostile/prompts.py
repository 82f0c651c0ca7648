"""Create hostile prompt files and configuration files."""

import json

from hostile.commands import FOLDERS, place
from hostile.grammar import Grammar, dumps
from hostile.sandbox import Case

JOB = {"prompt": "a fox", "seed": 1, "steps": 2, "count": 1, "guidance": 3.5, "lora": ["a:1"], "size": "64x64"}

YAML_VALUES = (
    "2026-13-45", "2026-02-30 25:61:61", "2026-01-01", "!!bool x", "!!int x", "!!float y", "!!timestamp 1", "!!null x",
    "!!binary x", "!!set {a, b}", "!!python/name:os.system", "!!python/object/apply:os.system [id]", "!!omap [a: 1]",
    "!!pairs [a: 1]", "!!str 5", "!x y", "*missing", "&a [*a]", "&a {b: *a}", "{<<: 1}", "{<<: {a: 1}}", "? [a]\n  : b",
    "0x" + "f" * 5000, "1" + "0" * 5000, "1e999", ".nan", ".inf", "1:60:60", "0o9", "on", "~", "[" * 5000,
    "{a: " * 2000,
    "|\n  x", ">-", "@x", "`", "%YAML 9.9", "---\n- b", "\t- a", "'open", '"\\ud800"', '"\\x1b[31m"', "<<", "=",
)  # fmt: skip


def prompt_files(g: Grammar) -> Case:
    suffix, production = g.pick(((".yaml", yaml), (".csv", csv), (".txt", txt), (".jsonl", jsonl)))
    data = g.encoded(production(g))
    target = f"jobs{suffix}"
    (g.work / target).write_bytes(data)
    if g.chance(0.1):  # captions and metadata of training images
        (g.work / "photos/metadata.jsonl").write_bytes(data)
        (g.work / "photos/a.txt").write_bytes(data)
        return Case(place(g.pick(FOLDERS), "photos"), lists_errors=True)
    options = g.pick(
        ("--limit 1", "--dry-run", "--dry-run", "--keep-going --dry-run", "--task img2img --limit 1")
    ).split()
    from_stdin = g.chance(0.1)
    return Case(
        ["batch", "-" if from_stdin else target, *options],
        stdin=g.pick((None, data, b"")) if from_stdin else b"",
        lists_errors=True,
    )


def tool_prompt_files(g: Grammar) -> Case:
    """Return a prompt file in the forms of other tools, with damaged values."""
    suffix, production = g.pick(((".txt", tool_lines), (".txt", a1111_texts), (".tsv", tables), (".csv", tables),
                                 (".json", json_jobs), (".txt", json_jobs)))  # fmt: skip
    data = g.encoded(production(g))
    if g.chance(0.15):
        (g.work / "photos/a.txt").write_bytes(data)
        return Case(place(g.pick(FOLDERS), "photos"), lists_errors=True)
    target = f"jobs{suffix}"
    (g.work / target).write_bytes(data)
    columns = g.pick(("all", "x,y", g.text(40).replace("\0", ""), ",", '"'))
    options = g.pick(([], [], ["--ignore-columns", columns], ["--keep-going"]))
    return Case(["batch", target, "--dry-run", *options], lists_errors=True)


def tool_lines(g: Grammar) -> str:
    """Return lines with options of AUTOMATIC1111, InvokeAI and Midjourney."""
    options = (
        "--prompt", "--negative_prompt", "--n_iter", "--batch_size", "--sampler_name", "--cfg_scale", "--tiling", "-C",
        "-S", "-A", "-s", "-n", "-I", "-M", "-f", "-U", "-m", "-ft", "--ar", "--v", "--no", "--niji", "\u2014ar",
        "\u2013v", "--sd_model", "--styles", "--denoising_strength",
    )  # fmt: skip

    def part() -> str:
        value = g.pick((g.number(), g.text(30), "[", "]", '\\"'))
        return g.pick(options) + g.pick((" ", "=", "", " '", ' "')) + value

    starts = ("a fox ", "- ", "1. ", "prompt: ", "negative:", '"a fox", ', "{", "[a] ", "")
    return "\n".join(
        g.pick(starts) + " ".join(part() for _ in range(g.pick((1, 2, 5, 400)))) for _ in range(g.pick((1, 3, 50)))
    )


def a1111_texts(g: Grammar) -> str:
    """Return texts with damaged parameters of AUTOMATIC1111."""
    lines = (
        "a fox", "Negative prompt: x", "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 64x64", "---", "",
        f"Steps: {g.number()}, Seed: {g.number()}, Size: {g.number()}x{g.number()}", "Steps: 2, " * 2000,
        f"a Steps: 20, Sampler: {g.text(30)}, CFG scale: {g.number()}", "Template: {a|b}", "Negative Template:",
        "<lora:x:1> " * 100, f"Steps: 20, Model: {g.text(300)}, Denoising strength: {g.number()}", g.text(200),
        f'Steps: 3, Sampler: "{g.text(20)}, Lora hashes: "x: {g.text(12)}"', "Seed: 5", "Prompt: a", "Steps: 5",
        "Stable Diffusion model: x",
    )  # fmt: skip
    return "\n".join(g.pick(lines) for _ in range(g.pick((1, 3, 10, 100))))


def tables(g: Grammar) -> str:
    """Return tables with columns of other tools."""
    names = ("prompt", "Negative Prompt", "cfgs", "filename", "x", "y", "", "Batch size", "n_iter", "scheduler",
             "sampler_name", "artgen", "size", "Seed", g.text(20))  # fmt: skip
    separator = g.pick((",", ";", "\t"))
    width = g.pick((1, 3, 6))
    rows = [[g.pick(names) for _ in range(width)]]
    rows += [[g.pick((g.number(), g.text(20), "", '"')) for _ in range(width)] for _ in range(g.pick((0, 1, 5)))]
    return "\n".join(separator.join(row) for row in rows)


def json_jobs(g: Grammar) -> str:
    """Return JSON lists and objects of jobs."""
    job = {**JOB, "batch_size": g.json_number(), "sampler_name": "Euler a", "scheduler": g.json_value()}
    return g.pick(
        (
            g.mutated_json([JOB, "a fox", job]),
            g.mutated_json({"defaults": JOB, "jobs": [job, "x"]}),
            dumps(g.json_value()),
            f"[\n{g.mutated_json(job)},\n{g.mutated_json(JOB)}]",
            *("[" * 100_000, '{"jobs": ' * 1000, "[1,]", "[" + "1," * 300),
        )
    )


def yaml(g: Grammar) -> str:
    """Return YAML with special tags, types, aliases or nesting."""
    if g.chance(0.2):  # an alias bomb
        levels, copies = g.pick((8, 30)), g.pick((2, 9))
        lines = [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * copies)}]" for level in range(1, levels)]
        head = g.pick(("jobs:\n- prompt: ", "- ", "defaults:\n  prompt: "))
        return "\n".join(["a0: &a0 [x]", *lines, f"{head}*a{levels - 1}", ""])
    value = g.pick(YAML_VALUES)
    lines = [
        f"- {value}", f"- prompt: {value}", f"- {{prompt: x, {g.pick(list(JOB))}: {value}}}", "jobs:", value, "- a fox",
        "defaults: {steps: 2}", f"- {g.mutated_json(JOB)}", f"- count: {g.number()}", f"- {{{value}: x, prompt: y}}",
    ]  # fmt: skip
    return "\n".join(g.pick(lines) for _ in range(g.pick((1, 2, 5)))) + "\n"


def csv(g: Grammar) -> str:
    """Return CSV with a damaged header, unequal rows or very long cells."""
    headers = ("prompt,seed", "prompt,seed,count", "prompt,prompt", "Prompt,prompt,seed", "prompt,", "", '"prompt',
               "prompt;seed", "a" * 200_000, "prompt,guidance,cfg-scale")  # fmt: skip
    rows = ("x,1", 'x,"1', "x,1,2", f'"{g.text(200_000)}",1', f"x,{g.number()}", f"x,1,{g.number()}", "\0,1", ",",
            'a"b,1', "x\ry,1", "," * 100_000)  # fmt: skip
    return "\n".join([g.pick(headers), *(g.pick(rows) for _ in range(g.pick((0, 1, 3))))])


def txt(g: Grammar) -> str:
    """Return lines with invalid options, very long lines or unusual line separators."""
    options = ("--seed", "--count", "--steps", "--size", "--sigmas", "--lora", "-g", "-o", "-i", "--task", "--x" * 500)
    option = g.pick(options)
    lines = (f"a {option} {g.number()}", f"a {option}", f"a {option}=", f"a {option} '{g.name()}", g.text(), "\\", '"',
             f"a --task img2img -i {g.name()}", "#" * 10**6, "a\x85b\u2028c --seed 1")  # fmt: skip
    return "\n".join(g.pick(lines) for _ in range(g.pick((1, 2, 5, 300))))


def jsonl(g: Grammar) -> str:
    """Return JSON lines with changed values, types or nesting."""
    lines = (g.mutated_json(JOB), g.mutated_json({"defaults": JOB}), dumps(g.json_value()),
             dumps({**JOB, "count": g.json_number()}))  # fmt: skip
    return "\n".join(g.pick(lines) for _ in range(g.pick((1, 2, 5))))


def toml(g: Grammar) -> str:
    """Return a damaged configuration file."""
    lines = ("steps = 5", "[img2img]\nstrength = 0.5", 'model = "tiny"', f"steps = {g.number()}", f"a = {'[' * 20_000}",
             f"{json.dumps(g.text(200))} = 1", "steps = 1979-13-45", "steps = inf", f"seed = {'9' * 5000}", "lora = 1",
             "[txt2img]\n[txt2img]", f"model = {json.dumps(g.text(2000))}", "img2img = 3", "steps = [1]",
             "a" + ".a" * 5000 + " = 1", 'lora_folder = "~nobody9/x"', f"size = '{g.number()}'")  # fmt: skip
    return "\n".join(g.pick(lines) for _ in range(g.pick((1, 1, 3)))) + "\n"


WILDCARD_PARTS = (
    "{a|b}", "{", "}", "|", "{2$$a|b|c}", "{1-2$$ and $$", "{9999999$$a|b}", "{3-1$$a}", "{0.5::a|", "{nan::a|b}", "$$",
    "{-1::a|b}", "__", "__a__", "__b__", "__*__", "__**/x__", "__../a__", "__/etc/passwd__", "__loop__", "[a|", "]",
    "\\{", "\\", "<lora:", "<lora:{a|b}:1>", "${x=!{a|b}}", "{~a|b}", "__a b__", "__\x1b[31m__", "\n", "::", "0",
)  # fmt: skip
"""Parts of prompts with wildcards, valid and invalid."""


def wildcards(g: Grammar) -> Case:
    """Create prompts, files of wildcards and files of styles that are nested, cyclic, long or invalid."""

    def prompt() -> str:
        parts = [g.pick(WILDCARD_PARTS) * g.pick((1, 1, 1, 2, 60, 20_000)) for _ in range(g.pick((1, 2, 5)))]
        return "".join(parts)[:100_001]

    folder, styles = g.work / "wildcards", g.work / "styles"
    for each in (folder, styles):
        each.mkdir()
    for name in ("a.txt", "b.txt", "loop.txt", "c.yaml"):
        lines = (prompt(), "red", "__a__ __b__", "__loop__", "# x", g.text(1000), f"{g.number()}::x")
        text = (
            yaml(g) if name == "c.yaml" and g.chance() else "\n".join(g.pick(lines) for _ in range(g.pick((0, 1, 3))))
        )
        (folder / name).write_bytes(g.encoded(text))
    if g.chance(0.1):
        g.special_file(folder / "special.txt")
    row = {"name": "x", "prompt": prompt()[:200], "negative_prompt": prompt()[:200]}
    (styles / "s.json").write_bytes(g.encoded(f"[{g.mutated_json(row)}]"))
    (styles / "s.csv").write_bytes(g.encoded(csv(g).replace("seed", "name")))
    command = g.pick(
        (
            ["txt2img", "@", "--dry-run"], ["txt2img", "@", "--combinatorial", "--dry-run"], ["styles"],
            ["txt2img", "a", "-n", "@", "--dry-run"], ["txt2img", "@", "--style", "x", "--dry-run"],
            ["txt2img", "@", "--combinatorial", "--sweep", "steps=1,2", "--dry-run"], ["styles", "x", "--json"],
            ["batch", "jobs.txt", "--combinatorial", "--dry-run"],
            ["replay", "r.json", "--set", "prompt=@", "--dry-run"],
        )
    )  # fmt: skip
    text = prompt().replace("\0", "") or "x"
    (g.work / "jobs.txt").write_bytes(g.encoded("\n".join(prompt() for _ in range(3))))
    record = {"artgen": "0.1.0", "task": "txt2img", "prompt": prompt(), "seed": 1, "steps": 2, "model": "tiny"}
    (g.work / "r.json").write_text(dumps(record))
    env = {"ARTGEN_WILDCARD_FOLDER": "wildcards", "ARTGEN_STYLE_FOLDER": g.pick(("styles", "styles/s.csv", "missing"))}
    return Case([part.replace("@", text) for part in command], env, lists_errors=True)
