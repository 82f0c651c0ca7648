"""Test the expansion of prompts in batches: fingerprints, seeds, combinations, LoRA tags, records and resumed runs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from command_line import run
from tiny_loras import diffusers_lora

from artgen.metadata import read_metadata
from artgen.queue.entries import Entry
from artgen.queue.plan import BatchPlan, PlannedJob
from artgen.queue.planner import Planner

FAST: Mapping[str, Any] = {"steps": 1, "size": "32x32", "model": "tiny"}
OPTIONS = ("-m", "tiny", "--steps", "1", "--size", "32x32")


def plan(*lines: Mapping[str, Any], **defaults: Any) -> BatchPlan:
    return Planner(Path("out"), {**FAST, **defaults}).build_plan(
        Entry("p.txt", number, line) for number, line in enumerate(lines, 1)
    )


def jobs(*lines: Mapping[str, Any], **defaults: Any) -> list[PlannedJob]:
    found = plan(*lines, **defaults)
    assert not found.line_errors, found.line_errors[0].error
    return found.jobs


def prompts(*lines: Mapping[str, Any], **defaults: Any) -> list[str]:
    return [job.request.prompt for job in jobs(*lines, **defaults)]  # type: ignore[attr-defined]


def write_wildcard(*values: str) -> None:
    Path("wildcards").mkdir(exist_ok=True)
    Path("wildcards/color.txt").write_text("\n".join(values))


@pytest.fixture(autouse=True)
def _wildcards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTGEN_WILDCARD_FOLDER", "wildcards")
    write_wildcard("red", "blue", "green")


def test_each_seed_of_a_line_has_its_own_choice() -> None:
    found = prompts({"prompt": "a {a|b|c|d|e|f|g|h} fox", "seed": "1", "count": 20})
    assert len(set(found)) > 5


def test_seed_and_fingerprint_depend_on_the_template_only() -> None:
    line = {"prompt": "a __color__ fox", "count": 3}
    before = jobs(line)
    write_wildcard("pink")
    after = jobs(line)
    assert [job.fingerprint for job in after] == [job.fingerprint for job in before]
    assert [job.request.seed for job in after] == [job.request.seed for job in before]
    assert {job.request.prompt for job in after} == {"a pink fox"}  # type: ignore[attr-defined]


def test_choices_do_not_depend_on_other_lines() -> None:
    lines = [{"prompt": f"{{a|b|c}} __color__ {number}"} for number in range(10)]
    alone = [prompts(line)[0] for line in lines]
    assert prompts({"prompt": "{x|y}"}, *lines)[1:] == alone


def test_jobs_with_different_choices_share_a_template() -> None:
    found = jobs({"prompt": "a __color__ fox", "count": 10})
    assert len({id(job.template) for job in found}) == 1


def test_combinations_have_equal_seeds_and_different_fingerprints() -> None:
    found = jobs({"prompt": "{a|b} __color__", "negative_prompt": "{x|y}", "combinatorial": True})
    assert len(found) == len({job.fingerprint for job in found}) == 12
    assert len({job.request.seed for job in found}) == 1
    assert len({(job.request.prompt, job.request.negative_prompt) for job in found}) == 12  # type: ignore[attr-defined]


def test_combinations_are_generated_for_each_seed() -> None:
    found = jobs({"prompt": "{a|b}", "combinatorial": True, "seed": "5,7"})
    assert [(job.request.seed, job.request.prompt) for job in found] == [(5, "a"), (5, "b"), (7, "a"), (7, "b")]  # type: ignore[attr-defined]


def test_new_option_keeps_the_fingerprints_of_other_combinations() -> None:
    before = {job.fingerprint for job in jobs({"prompt": "__color__ fox", "combinatorial": True, "seed": "1"})}
    write_wildcard("red", "pink", "blue", "green")
    after = {job.fingerprint for job in jobs({"prompt": "__color__ fox", "combinatorial": True, "seed": "1"})}
    assert before < after


def test_too_many_combinations_are_refused_with_their_number() -> None:
    ten = "{" + "|".join("abcdefghij") + "}"
    found = plan({"prompt": ten * 6, "combinatorial": True}, {"prompt": ten * 4, "combinatorial": True, "count": 11})
    assert not found.jobs
    assert [error.error.message.partition(" to ")[2].partition(":")[0] for error in found.line_errors] == [
        "1,000,000 combinations",
        "110,000 combinations",
    ]


def test_combinatorial_without_wildcards_has_no_effect_and_a_note() -> None:
    found = plan({"prompt": "a fox", "combinatorial": True, "seed": "1"})
    assert [job.fingerprint for job in found.jobs] == [
        job.fingerprint for job in jobs({"prompt": "a fox", "seed": "1"})
    ]
    assert "--combinatorial has no effect on a prompt without wildcards and variants." in found.notes


@pytest.mark.parametrize("task", ["denoise", "sample"])
def test_combinatorial_is_refused_for_tasks_without_a_prompt(task: str) -> None:
    found = Planner(Path("out")).build_plan(
        [Entry("p.txt", 1, {"task": task, "combinatorial": True, "image": "x.png"})]
    )
    assert found.line_errors


def test_invalid_prompt_is_reported_with_its_line() -> None:
    found = plan(
        {"prompt": "a fox"}, {"prompt": "__nothing__"}, {"prompt": "{2-1$$a|b}"}, {"prompt": "a", "style": ("x",)}
    )
    assert [error.line for error in found.line_errors] == [2, 3, 4]
    assert len(found.jobs) == 1


def test_lora_of_a_choice_has_its_own_template_and_fingerprint(models: dict[str, Path]) -> None:
    model = models["sd1"]
    for name in ("one", "two"):
        diffusers_lora(Path(f"{name}.safetensors"), model, seed=len(name) + ord(name[0]))
    line = {"prompt": "a {<lora:one:0.5>|<lora:two:1>} fox", "seed": "1", "model": str(model)}
    found = jobs({**line, "combinatorial": True})
    assert [Path(job.request.lora[0]).name for job in found] == ["one.safetensors:0.5", "two.safetensors:1"]  # type: ignore[attr-defined]
    assert len({id(job.template) for job in found}) == len({job.group_id for job in found}) == 2
    assert {job.request.prompt.split()[-1] for job in found} == {"fox"}  # type: ignore[attr-defined]
    many = jobs({**line, "count": 12})
    assert len({id(job.template) for job in many}) == len({job.group_id for job in many}) == 2
    assert len({job.fingerprint for job in many}) == 12


def test_prompts_of_records_are_final() -> None:
    record = {"artgen": "0.1.0", "task": "txt2img", "prompt": "a {b|c} __color__ __nothing__", "seed": 3, "steps": 1}
    Path("records.jsonl").write_text(json.dumps({**record, "prompt_template": "t", "prompt_choices": ["t=x"]}) + "\n")
    result = run("batch", "records.jsonl", "-m", "tiny", "--size", "32x32", "--dry-run", "--json", "-o", "out")
    found = json.loads(result.stdout)
    assert found["prompt"] == record["prompt"]
    assert found["prompt_weights"] == "none"
    assert found["prompt_template"] == "t"
    assert found["prompt_choices"] == ["t=x"]


def test_resumed_batch_keeps_images_and_a_missing_ledger_is_recovered() -> None:
    Path("prompts.txt").write_text(
        "a __color__ fox --count 3\n{a|b} dog --combinatorial --seed 2\na {x|y} cat --seed 4 -n '{p|q}'\n"
    )
    arguments = ("batch", "prompts.txt", "-o", "out", *OPTIONS)
    assert len(run(*arguments).stdout.splitlines()) == 6
    assert "6 done, 0 to generate" in run(*arguments).stderr
    for file in Path("out/artgen-ledger").iterdir():
        file.unlink()
    recovered = run(*arguments)
    assert "6 images of an earlier run were found by their records" in recovered.stderr
    assert not recovered.stdout
    write_wildcard("pink")
    assert "6 done, 0 to generate" in run(*arguments).stderr


def test_worker_processes_generate_the_planned_choices() -> None:
    Path("prompts.txt").write_text("a __color__ fox --count 3 --seed 1\n")
    planned = run("batch", "prompts.txt", "-o", "out", *OPTIONS, "--dry-run", "--json").stdout.splitlines()
    run("batch", "prompts.txt", "-o", "out", *OPTIONS, "--workers", "2")
    expected = {json.loads(line)["seed"]: json.loads(line)["prompt"] for line in planned}
    records = [read_metadata(path).record for path in Path("out").glob("*.png")]
    assert {each["seed"]: each["prompt"] for each in records if each} == expected


def test_combinations_of_a_command_run_as_a_batch() -> None:
    arguments = ("txt2img", "a {red|blue} fox", "--combinatorial", *OPTIONS, "-o", "out/")
    assert "2 images would be generated" in run(*arguments, "--dry-run").stderr
    assert len(run(*arguments).stdout.splitlines()) == 2
    names = sorted(path.name.partition("-a-")[2] for path in Path("out").glob("*.png"))
    assert names == ["blue-fox.png", "red-fox.png"]
    assert "2 done, 0 to generate" in run(*arguments).stderr
    assert "it is one file" in run(*arguments[:-1], "fox.png", code=2).stderr


@pytest.mark.parametrize(
    ("prompt", "sweeps", "expected"),
    [
        ("a {b|c}", ["steps=1,2"], ["a b,1", "a b,2", "a c,1", "a c,2"]),
        ("x", ["prompt={a|b},c {d|e}"], ["a", "b", "c d", "c e"]),
        ("x", ["prompt={a|b},c", "steps=1,2"], ["a,1", "a,2", "b,1", "b,2", "c,1", "c,2"]),
    ],
)
def test_combinations_are_an_axis_of_a_sweep(prompt: str, sweeps: list[str], expected: list[str]) -> None:
    options = [part for sweep in sweeps for part in ("--sweep", sweep)]
    run("txt2img", prompt, *options, "--combinatorial", *OPTIONS, "-o", "out/")
    rows = Path("out/sweep.csv").read_text().splitlines()[1:]
    assert [row.partition(",")[2].rstrip(",") for row in rows] == expected
    assert all(row.split(",")[0].endswith(".png") for row in rows)
    first = read_metadata(Path("out", rows[0].split(",")[0])).record
    assert first is not None
    assert first["prompt_template"] == ("a {b|c}" if prompt != "x" else "{a|b}")


def test_sweep_of_the_negative_prompt_with_combinations_is_refused() -> None:
    arguments = ("--sweep", "negative_prompt=a,b", "--combinatorial", "--dry-run", *OPTIONS)
    assert "Cannot sweep negative_prompt" in run("txt2img", "{a|b}", *arguments, code=2).stderr


def test_replay_uses_the_resolved_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    run("txt2img", "a __color__ {fox|dog}", "-n", "{p|q}", "--seed", "3", *OPTIONS, "-o", "a.png")
    original = read_metadata(Path("a.png")).record
    assert original is not None
    monkeypatch.delenv("ARTGEN_WILDCARD_FOLDER")

    def replayed(*changes: str) -> dict[str, Any]:
        options = [part for change in changes for part in ("--set", change)]
        found: dict[str, Any] = json.loads(run("replay", "a.png", *options, "--dry-run", "--json").stdout)
        return found

    names = ("prompt", "negative_prompt", "prompt_template", "negative_prompt_template", "prompt_choices")
    assert [replayed()[name] for name in names] == [original[name] for name in names]
    assert [replayed("seed=8")[name] for name in names] == [original[name] for name in names]
    assert "do not change with the seed" in run("replay", "a.png", "--set", "seed=8", "--dry-run").stderr
    typed = replayed("prompt={cat|cat} x")
    assert typed["prompt"] == "cat x"
    assert typed["prompt_template"] == "{cat|cat} x"
    assert typed["negative_prompt"] == original["negative_prompt"]
    assert typed["negative_prompt_template"] == "{p|q}"
    assert replayed("negative_prompt={z|z}")["negative_prompt"] == "z"
    assert replayed("negative_prompt={z|z}")["prompt"] == original["prompt"]
    assert "wildcard_folder is not set" in run("replay", "a.png", "--set", "prompt=__color__", code=2).stderr
    assert "Set both" in run("replay", "a.png", "--set", "style=x", code=2).stderr
    assert "prompt_template: a __color__ {fox|dog}" in run("info", "a.png").stdout


def test_replay_of_other_tools_looks_up_no_wildcard() -> None:
    Path("a.txt").write_text(
        "a {red|blue} __color__ __nothing__\nNegative prompt: {a|b}\n"
        "Steps: 1, Sampler: DDIM, CFG scale: 7, Seed: 5, Size: 32x32\n"
    )
    found = json.loads(run("replay", "a.txt", "--dry-run", "--json").stdout)
    assert found["prompt"] == "a {red|blue} __color__ __nothing__"
    assert found["negative_prompt"] == "{a|b}"


def test_old_record_with_braces_is_plain_text() -> None:
    record = {"artgen": "0.0.9", "task": "txt2img", "model": "tiny", "seed": 1, "steps": 1, "width": 32, "height": 32}
    Path("a.json").write_text(json.dumps({**record, "prompt": "{a|b} (x:2)", "negative_prompt": "(n) {c|d}"}))
    found = json.loads(run("replay", "a.json", "--dry-run", "--json").stdout)
    assert (found["prompt"], found["prompt_weights"]) == ("{a|b} (x:2)", "none")
    typed = json.loads(run("replay", "a.json", "--set", "prompt={z|z}", "--dry-run", "--json").stdout)
    assert (typed["prompt"], typed["prompt_weights"]) == ("z", "a1111")
    assert typed["negative_prompt"] == "\\(n\\) {c|d}"


def test_count_of_a_command_expands_each_image() -> None:
    output = run("txt2img", "{a|b|c|d|e|f|g|h}", "--seed", "1", "--count", "8", *OPTIONS, "--dry-run", "--json").stdout
    found = [json.loads(line)["prompt"] for line in output.splitlines()]
    assert len(found) == 8
    assert len(set(found)) > 3
