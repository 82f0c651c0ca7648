"""Test prompt files with repeated keys, unusual types, aliases, nesting, encodings and special files."""

import time
from pathlib import Path
from typing import Any

import pytest
from command_line import run
from PIL import Image

from artgen.dataset import captions
from artgen.dataset.metadata_files import read_metadata_table
from artgen.errors import ArtgenError, UsageError
from artgen.queue import planner, prompt_files
from artgen.queue.entries import Entry, LineError
from artgen.queue.planner import Planner
from artgen.queue.prompt_line import parse_prompt_line
from artgen.spec.fields import MAX_TEXT_CHARS

DIGITS = (41, 400, 5000)


def parse(name: str, text: str | bytes) -> list[Entry | LineError]:
    path = Path(name)
    path.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    return list(prompt_files.read_prompt_file(path))


def errors(name: str, text: str | bytes) -> dict[int, str]:
    return {item.line: item.error.message for item in parse(name, text) if isinstance(item, LineError)}


def values(name: str, text: str | bytes) -> list[dict[str, Any]]:
    items = parse(name, text)
    assert not errors(name, text)
    return [{**item.defaults, **item.setting_values} for item in items if isinstance(item, Entry)]


@pytest.mark.parametrize(
    ("value", "prompt"),
    [("2026-13-45", "2026-13-45"), ("2026-02-28 25:61:61", "2026-02-28 25:61:61"), ("on", "on"), ("1:60:60", "1:60:60"),
     ("0x10", "0x10"), (".inf", ".inf"), ("!!str 5", "5"), ("'yes'", "yes"), ("=", "="), ('"<<"', "<<")],
)  # fmt: skip
def test_yaml_scalar_of_another_type_is_text(value: str, prompt: str) -> None:
    assert values("a.yaml", f"- {value}\n- prompt: {value}\n") == [{"prompt": prompt}] * 2


@pytest.mark.parametrize(
    "value",
    ["!!bool x", "!!int x", "!!float y", "!!null x", "!!timestamp 1", "!!binary aGk=", "!!set {a, b}", "!!omap [a: 1]",
     "!!pairs [a: 1]", "!x y", "!!python/name:os.system x", "!!python/object/apply:os.system [touch gotcha]", "1e999",
     *("9" * digits for digits in DIGITS), "{1: x}", "{[a]: x}", "{<<: 1}", "{a: 1, a: 2}"],
)  # fmt: skip
def test_yaml_value_that_is_not_supported_is_an_error_of_its_line(value: str) -> None:
    text = f"- a fox\n- prompt: {value}\n- {{prompt: x, seed: {value}}}\n- stps: 1\n"
    assert list(errors("a.yaml", text)) == [2, 3, 4]
    assert not Path("gotcha").exists()


def test_yaml_merge_keys_and_aliases_are_expanded() -> None:
    text = "- &a {prompt: a, steps: 3}\n- {<<: *a, prompt: b}\n- *a\n- {<<: [{steps: 4}, *a], seed: 1}\n"
    a = {"prompt": "a", "steps": 3}
    assert values("a.yaml", text) == [a, {**a, "prompt": "b"}, a, {"prompt": "a", "steps": 4, "seed": "1"}]


@pytest.mark.parametrize(
    "text",
    ["\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)),
                "jobs: [*a9]"]),
     "- &a [*a]", "- &a {prompt: *a}", "- &a {<<: *a}", "- " + "[" * 100_000, "- " + "{a: " * 100_000,
     "- " * 100_000 + "x", "- *missing", "- &a x\n- &a {b: [*a, *a", "---\n- x\n---\n- y\n", "- \x1b", "- 'x"],
)  # fmt: skip
def test_yaml_bombs_and_syntax_errors_are_refused_in_bounded_time(text: str) -> None:
    start = time.process_time()
    assert len(errors("a.yaml", text)) >= 1
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    ("name", "text", "line", "message"),
    [
        ("a.yaml", "jobs: [a]\njobs: [b]\n", 2, "section 'jobs' twice"),
        ("a.yaml", "defaults: {steps: 1}\njobs: [a]\ndefaults: {steps: 2}\n", 3, "section 'defaults' twice"),
        ("a.yaml", "- a\n- prompt: b\n  seed: 1\n  prompt: c\n", 4, "'prompt' occurs twice"),
        ("a.yaml", "- {prompt: b, guidance: 1, cfg-scale: 2}\n", 1, "'guidance' and with 'cfg-scale'"),
        ("a.jsonl", '{"prompt": "a"}\n{"prompt": "a", "prompt": "b"}\n', 2, "'prompt' occurs twice"),
        ("a.jsonl", '{"prompt": "a", "Prompt": "b"}\n', 1, "prompt twice"),
        ("a.jsonl", '{"artgen": "0.2.0", "task": "txt2img", "guidance": 1, "cfg-scale": 2}\n', 1, "scale twice"),
        ("a.csv", "prompt,prompt\na,b\n", 1, "prompt twice"),
        ("a.csv", "prompt,guidance,cfg-scale\na,1,2\n", 1, "guidance_scale twice"),
        ("a.csv", "artgen,task,prompt,Prompt\n0.2.0,txt2img,a,b\n", 1, "prompt twice"),
        ("a.txt", "ok\na --seed 1 --seed 2\n", 2, "seed twice"),
        ("a.txt", "a --prompt b\n", 1, "prompt twice"),
        ("a.txt", "a --invert-mask --no-invert-mask\n", 1, "invert_mask twice"),
    ],
)  # fmt: skip
def test_repeated_setting_is_refused_with_its_line(name: str, text: str, line: int, message: str) -> None:
    found = errors(name, text)
    assert list(found) == [line]
    assert message in found[line]


def test_repeatable_option_accumulates() -> None:
    assert parse_prompt_line("a --lora x --lora y")["lora"] == ("x", "y")


@pytest.mark.parametrize(
    "line",
    ['{"prompt": "a", "guidance": NaN}', '{"guidance": Infinity}', '{"guidance": 1e999}', "[1]", "5", '"a"', "null",
     '{"task": []}', '{"task": {}}', '{"seed": [[1]]}', '{"seed": true}', '{"size": 5}', '{"steps": "a"}', "{} {}",
     '{"prompt": 5}', '{"lora": 5}', '{"lora": [5]}', '{"image": 5}', '{"prompt": "\\ud800"}', '{"prompt": "\\u0000"}',
     '{"prompt": {"a": 1}}', '{"count": 0}', '{"count": 1000000000}', '{"defaults": 5}', '{"defaults": {"stps": 1}}',
     *(f'{{"prompt": "a", "seed": {"9" * digits}}}' for digits in DIGITS), '{"a":' * 100_000, "[" * 100_000],
)  # fmt: skip
def test_json_line_of_another_type_is_an_error_of_its_line(line: str) -> None:
    text = f'{{"prompt": "x"}}\n{line}\n{{"stps": 1}}\n'
    Path("a.jsonl").write_text(text)
    plan = Planner(Path("out")).build_plan(prompt_files.read_prompt_file(Path("a.jsonl")))
    assert [error.line for error in plan.line_errors] == [2, 3]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_line_ends_and_byte_order_mark_do_not_change_the_jobs(end: str, start: str) -> None:
    for name, lines in {
        "a.txt": ["a --steps 2", "b --seed 3"],
        "a.csv": ["prompt,steps,seed", "a,2", "b,,3"],
        "a.jsonl": ['{"prompt": "a", "steps": 2}', '{"prompt": "b", "seed": 3}'],
        "a.yaml": ["- {prompt: a, steps: 2}", "- prompt: b", "  seed: 3"],
    }.items():
        assert values(name, start + end.join(lines)) == [{"prompt": "a", "steps": 2}, {"prompt": "b", "seed": "3"}]


def test_all_mistakes_of_a_csv_file_are_reported() -> None:
    text = b'prompt,seed\na,1,2\nb,2\n\xff,1\n"c" d,1\n\0,1\nok,5\n' + b"x" * 200_000 + b',1\n"e,1\nf,2\n'
    assert list(errors("a.csv", text)) == [2, 4, 5, 6, 8, 9]


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"caf\xe9\n", "byte 0xe9"), (b"it\x92s\n", "byte 0x92"), (b"\xed\xa0\x80\n", "byte 0xed"), (b"a\0b\n", "NUL")],
)
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv"])
def test_line_that_is_not_utf8_text_is_an_error(name: str, data: bytes, message: str) -> None:
    header = b"prompt\n" if name == "a.csv" else b""
    assert message in errors(name, header + data)[1 + len(header.splitlines())]


def test_text_of_any_size_is_refused_in_bounded_time() -> None:
    Path("a.txt").write_text("x" * (MAX_TEXT_CHARS + 1))
    plan = Planner(Path("out")).build_plan(prompt_files.read_prompt_file(Path("a.txt")))
    assert "100,001 characters" in plan.line_errors[0].error.message


def test_number_of_jobs_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "MAX_JOBS", 5)
    monkeypatch.setattr(prompt_files, "MAX_JOBS", 5)
    Path("a.txt").write_text("a --count 3\nb --count 2\n")
    assert len(Planner(Path("out")).build_plan(prompt_files.read_prompt_file(Path("a.txt"))).jobs) == 5
    for text in ("a --count 6\n", "a --count 5\nb\n", "a --stps\n" * 6, "a\n" * 100):
        Path("a.txt").write_text(text)
        with pytest.raises(UsageError, match="more than 5 jobs"):
            Planner(Path("out")).build_plan(prompt_files.read_prompt_file(Path("a.txt")))


def make_special(path: Path, kind: str) -> None:
    if kind == "folder":
        path.mkdir()
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(2**40)
    else:
        path.symlink_to({"loop": path, "dangling": "missing"}.get(kind, kind))


@pytest.mark.parametrize("kind", ["folder", "large", "loop", "dangling", "/dev/zero", "/dev/random", "/dev/null/x"])
@pytest.mark.parametrize("suffix", [".txt", ".yaml"])
def test_special_file_is_refused_without_reading_it(kind: str, suffix: str) -> None:
    make_special(Path(f"a{suffix}"), kind)
    result = run("batch", f"a{suffix}", code=3)
    assert f"'a{suffix}'" in result.stderr
    assert result.stderr.count("error: ") == 1


@pytest.mark.parametrize("kind", ["folder", "large", "loop", "/dev/zero"])
def test_special_caption_and_metadata_files_are_errors(kind: str) -> None:
    Path("photos").mkdir()
    make_special(Path("photos/a.txt"), kind)
    make_special(Path("photos/metadata.jsonl"), kind)
    with pytest.raises(ValueError, match=r"a\.txt"):
        captions.read_caption(Path("photos/a.txt"))
    table = read_metadata_table([Path("photos/metadata.jsonl")], Path("photos"), "metadata.jsonl")
    assert len(table.errors) == 1


@pytest.mark.parametrize("line", ["[" * 100_000, '{"a": 1e999}', '{"file_name": "a", "file_name": "b"}', "5", "\x00"])
def test_metadata_line_that_is_not_bounded_json_is_an_error(line: str) -> None:
    Path("metadata.jsonl").write_text(f'{{"file_name": "a.png"}}\n{line}\n{{"file_name": 5}}\n')
    table = read_metadata_table([Path("metadata.jsonl")], Path(), "metadata.jsonl")
    assert [message.split(":")[1] for message in table.errors] == ["2", "3"]


@pytest.mark.parametrize("command", [["batch", "-"], ["txt2img", "-"], ["img2img", "p.png", "-"]])
def test_closed_stdin_is_refused(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (64, 64)).save("p.png")
    monkeypatch.setattr("artgen.system.input_files.sys", type("Sys", (), {"stdin": None}))
    assert "closed" in run(*command, code=3).stderr


@pytest.mark.parametrize(
    "texts", [["steps=" + "9" * 5000], ["seed=1:" + "9" * 400], ["guidance=1e999:2"], ["guidance=nan:2:1"], ["x=1"],
              ["seed=" + ",".join(map(str, range(100_001)))], ['prompt="a'], ["=1"], ["prompt=a\nb"],
              ["steps=1:2:1e-999"],
              ["guidance=0:1:0.00000000000000000000001"], ["prompt=" + "x" * 200_000]]
)  # fmt: skip
def test_hostile_sweep_is_refused(texts: list[str]) -> None:
    from artgen.queue import sweeps

    with pytest.raises(ArtgenError):
        sweeps.sweep_entries(sweeps.parse_axes(texts), {})


def test_prompt_of_a_folder_image_has_the_limit_of_a_caption() -> None:
    Path("photos").mkdir()
    Image.new("RGB", (64, 64)).save("photos/p.png")
    Path("photos/p.txt").write_bytes(b"x" * (captions.MAX_CAPTION_BYTES + 1))
    assert "too large" in run("img2img", "photos", code=3).stderr
