"""Test that each setting refuses absurd numbers from every source, with one short sentence."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import run
from PIL import Image

from artgen.cli.main import COMMAND_SUMMARIES, load_command
from artgen.errors import UsageError
from artgen.queue.entries import LINE_SETTINGS, Entry
from artgen.queue.job_queue import parse_shard
from artgen.queue.planner import Planner
from artgen.queue.timings import Timings
from artgen.spec.config import CONFIGURABLE_SETTINGS
from artgen.spec.seeds import MAX_SEEDS, expand_seeds
from artgen.spec.settings import SeriesSettings, options_of, settings_of, type_of

DIGITS = "9" * 5_000
HOSTILE = (DIGITS, f"-{DIGITS}", "1e999", "-1e999", "nan", "inf", "1" + "0" * 30, f"0x{'f' * 5_000}")

TEXT_NUMBERS = {
    "seed": "{}", "batch_size": "{}", "shard": "{}/{}", "memory_budget": "{}GiB", "size": "{}x{}", "expand": "left={}",
    "target_size": "{}x{}", "sigma": "auto*{}", "device": "cuda:{}",
}  # fmt: skip
"""Settings whose text contains numbers -> a template of the text."""

ARGUMENTS = {
    "txt2img": ("x",),
    "img2img": ("p.png", "x"),
    "inpaint": ("p.png", "x", "--mask", "p.png"),
    "outpaint": ("p.png", "x"),
    "denoise": ("p.png",),
    "sample": (),
    "control": ("gray", "p.png"),
    "noise": ("p.png",),
    "anomaly": ("p.png",),
    "train": ("ph", "-o", "l.safetensors"),
    "rank": ("p.png", "--prompt", "x"),
    "reconstruct": ("p.png",),
    "sheet": ("p.png",),
    "batch": ("ph", "--task", "img2img"),
}

TASKS_OF_BATCH = {"--expand": "outpaint", "--target-size": "outpaint", "--sigma": "denoise"}
"""Tasks that take an option of `artgen batch`, if img2img does not."""


@pytest.fixture(autouse=True)
def _inputs() -> None:
    Path("ph").mkdir()
    Image.new("RGB", (32, 32)).save("p.png")
    Image.new("RGB", (32, 32)).save("ph/p.png")
    Path("p.txt").write_text("a fox\n")


def setting_kinds() -> Iterator[tuple[str, str]]:
    """Yield each setting of a prompt-file line that contains a number, and a template of its text."""
    for name, group in LINE_SETTINGS.items():
        if type_of(group, name)[0] in (int, float):
            yield name, "{}"
        elif name in TEXT_NUMBERS:
            yield name, TEXT_NUMBERS[name]


def number_options() -> Iterator[tuple[str, str, str]]:
    """Yield command, option and template of the text of every option that contains a number."""
    for command in sorted(set(COMMAND_SUMMARIES) & set(ARGUMENTS)):
        loaded: Any = load_command(command)
        for parameter in (loaded.commands["run"] if command == "batch" else loaded).params:
            is_number = "int" in parameter.type.name or "float" in parameter.type.name
            if parameter.param_type_name == "option" and (is_number or parameter.name in TEXT_NUMBERS):
                yield command, parameter.opts[-1], "{}" if is_number else TEXT_NUMBERS[parameter.name]


def check_refused(result: Any, code: int = 2) -> None:
    assert result.exit_code == code, (result.output[-300:], result.exception)
    assert "Traceback" not in result.output
    assert result.stderr.count("error: ") == 1
    assert all(len(line) < 2_000 for line in result.stderr.splitlines())


@pytest.mark.parametrize(("command", "option", "template"), list(number_options()))
def test_absurd_numbers_of_every_option_are_refused(command: str, option: str, template: str) -> None:
    for number in HOSTILE:
        text = template.replace("{}", number)
        dry_run = () if command in ("sheet", "reconstruct") else ("--dry-run",)
        task = ("--task", TASKS_OF_BATCH[option]) if command == "batch" and option in TASKS_OF_BATCH else ()
        check_refused(run(command, *ARGUMENTS[command], *task, f"{option}={text}", *dry_run, code=None))


@pytest.mark.parametrize(
    "name", [name for name, group in CONFIGURABLE_SETTINGS.items() if type_of(group, name)[0] in (int, float)]
)
def test_absurd_numbers_of_the_environment_and_of_configuration_files_are_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = next(
        command
        for command in ("txt2img", "img2img", "inpaint", "denoise")
        if name in {parameter.name for parameter in load_command(command).params} or command == "denoise"
    )
    for number in HOSTILE:
        if name in {parameter.name for parameter in load_command(command).params}:
            with monkeypatch.context() as patch:
                patch.setenv(f"ARTGEN_{name.upper()}", number)
                check_refused(run(command, *ARGUMENTS[command], "--dry-run", code=None))
        for value in (number, f'"{number}"'):
            Path("artgen.toml").write_text(f"{name} = {value}\n")
            check_refused(run("txt2img", "x", "--dry-run", code=None), 3)
            Path("artgen.toml").unlink()
        check_refused(run("config", "set", name, number, code=None))


@pytest.mark.parametrize(("name", "template"), list(setting_kinds()))
def test_absurd_numbers_in_prompt_files_are_refused(name: str, template: str) -> None:
    for number in (DIGITS, "-1e999", "nan", "1" + "0" * 30, f"0x{'f' * 5_000}"):
        text = template.replace("{}", number)
        option = f"--{name.replace('_', '-')}"
        files = {
            "t.txt": f"x {option}={text}\n",
            "t.csv": f"prompt,{name}\nx,{text}\n",
            "t.jsonl": f'{{"prompt": "x", "{name}": {text if template == "{}" else json.dumps(text)}}}\n',
            "t.yaml": f"- prompt: x\n  {name}: {text}\n",
        }
        for file, content in files.items():
            Path(file).write_text(content)
            result = run("batch", file, "--dry-run", code=None)
            assert result.exit_code in (2, 3), (file, number[:20], result.output[-300:], result.exception)
            assert "Traceback" not in result.output
            assert all(len(line) < 2_000 for line in result.stderr.splitlines())


@pytest.mark.parametrize("name", [name for name, group in LINE_SETTINGS.items() if settings_of(group)[name].sweepable])
def test_absurd_numbers_of_sweeps_are_refused(name: str) -> None:
    kind = type_of(LINE_SETTINGS[name], name)[0]
    if kind not in (int, float) and name not in TEXT_NUMBERS:
        return
    for text in (DIGITS, "1e999", f"1:{DIGITS}", f"{DIGITS}:{DIGITS}", f"1:{DIGITS}:0.{'0' * 3000}1", "1..1:2"):
        result = run("img2img", "p.png", "x", "--sweep", f"{name}={text}", "--dry-run", code=None)
        assert result.exit_code == 2, (text[:30], result.output[-300:], result.exception)
        assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "text",
    ["1-10000000", "0-18446744073709551615", "1-100001", "1-60000,60001-120000", ",".join(["1-100"] * 2_000),
     ",".join(["-1"] * 100_001)],
)  # fmt: skip
def test_number_of_seeds_is_limited(text: str) -> None:
    with pytest.raises(UsageError, match="more than 100,000 seeds"):
        expand_seeds(SeriesSettings(seed=text))
    result = run("txt2img", "x", "--seed", text, "--dry-run", code=2)
    assert len(result.stderr) < 500
    check_refused(run("txt2img", "x", "--seed", text, "--sweep", "steps=1,2", "--dry-run", code=None))


def test_largest_number_of_seeds_is_accepted() -> None:
    assert len(expand_seeds(SeriesSettings(seed=f"1-{MAX_SEEDS}"))) == MAX_SEEDS


def test_number_of_jobs_of_a_command_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = ("--sweep", "steps=1:1000", "--seed", "1-1000")
    assert "Cannot sweep 1,000,000 combinations" in run("txt2img", "x", *sweep, "--dry-run", code=2).stderr
    monkeypatch.setattr("artgen.queue.planner.MAX_JOBS", 1_000)
    entries = [Entry("many.txt", line, {"prompt": "a fox", "count": 400}) for line in range(1, 4)]
    with pytest.raises(UsageError, match="more than 1,000 jobs"):
        Planner(Path("out")).build_plan(entries)


@pytest.mark.parametrize("text", ["1/1000000000", "0/0", "-1/2", "1/2/3", "1", "/", "a/b", f"0/{DIGITS}", "²/³"])
def test_absurd_shards_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--shard"):
        parse_shard(text)


@pytest.mark.parametrize(
    "text",
    ["", "7", "[]", '{"seconds": []}', '{"seconds": {"x": Infinity}, "batch sizes": {"x": 1e999}}', "[" * 100_000,
     f'{{"batch sizes": {{"x": {DIGITS}}}}}', '{"batch sizes": {"x": 1e30, "y": true}, "seconds": {"x": -1}}', "\0"],
)  # fmt: skip
def test_damaged_history_is_ignored(text: str) -> None:
    Path("history.json").write_text(text)
    timings = Timings(Path("history.json"))
    assert vars(timings) == {"_path": Path("history.json"), "_seconds_per_step": {}, "_batch_sizes": {}}


def test_every_number_of_a_series_is_checked_by_a_test() -> None:
    texts = {name for name, group in LINE_SETTINGS.items() if type_of(group, name)[0] is str}
    assert {name for name in TEXT_NUMBERS if name in LINE_SETTINGS} <= texts
    assert "count" in dict(setting_kinds())
    assert options_of(SeriesSettings).keys() >= {"seed", "count", "batch_size"}


def test_seeds_of_all_candidates_are_in_range() -> None:
    series = SeriesSettings(seed=str(2**64 - 8), count=2)
    assert expand_seeds(series, num_candidates=4) == [2**64 - 8, 2**64 - 4]
    with pytest.raises(UsageError, match="Seeds must be 0 to"):
        expand_seeds(series, num_candidates=5)
