"""Test the output while modules load: the loading line, Ctrl-C, the remaining time, and the last line.

A package `torch` in a temporary folder stands for the real one, so that the tests control its import.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import FAST, record, save_inputs_of_all_commands
from pseudo_terminal import Terminal, artgen

from artgen.cli import load_times, status_line
from artgen.cli.load_times import LoadTimes
from artgen.spec.requests import Txt2Img
from artgen.system import process

TXT2IMG = ("txt2img", "a fox", "-m", "tiny", *FAST)

LOADING_COMMANDS = [
    TXT2IMG,
    (*TXT2IMG, "--count", "2"),
    (*TXT2IMG, "--sweep", "steps=1,2"),
    ("img2img", "in.png", "x", "-m", "tiny", *FAST),
    ("inpaint", "in.png", "x", "--mask", "mask.png", "-m", "tiny", *FAST),
    ("outpaint", "in.png", "x", "--expand", "8", "-m", "tiny", *FAST),
    ("denoise", "in.png", "-m", "denoiser"),
    ("denoise", "photos", "-m", "denoiser"),
    ("sample", "-m", "denoiser"),
    ("noise", "in.png", "--space", "latent", "-m", "tiny"),
    ("anomaly", "in.png"),
    ("batch", "prompts.txt", "-m", "tiny", *FAST),
    ("train", "photos", "--resolution", "32", "--train-steps", "1", "-o", "x.safetensors"),
    ("reconstruct", "in.png", "-m", "tiny"),
    ("replay", "record.json"),
]
"""A command line of each command that imports torch."""

BLOCKED = {
    "Python code": "import time\ntime.sleep(600)",
    "native call": "import hashlib\nhashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)",
}
"""Contents of a module `torch` whose import does not end: a handler of Python runs in the first, not in the second."""


@pytest.fixture
def _inputs() -> None:
    save_inputs_of_all_commands()


def with_torch(content: str) -> dict[str, str]:
    """Return the environment of a process that imports `content` as `torch`."""
    folder = Path("modules/torch")
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(content)
    return {"PYTHONPATH": os.pathsep.join([str(folder.parent.absolute()), *filter(None, sys.path)])}


@pytest.mark.usefixtures("_inputs")
@pytest.mark.parametrize(
    "arguments", [TXT2IMG, *(pytest.param(each, marks=pytest.mark.slow) for each in LOADING_COMMANDS[1:])], ids=str
)
def test_loading_is_shown_before_the_import_of_torch_and_rich(arguments: tuple[str, ...]) -> None:
    environment = with_torch(
        "import os, sys\nopen('rich.txt', 'w').write(str('rich' in sys.modules))\nsys.stderr.flush()\nos._exit(9)"
    )
    terminal = Terminal(*arguments, **environment)
    assert terminal.wait() == 9, terminal.output
    assert b"\r\x1b[2KLoading torch" in terminal.output
    assert Path("rich.txt").read_text() == str(arguments[0] == "train")  # it shows a bar while it reads the images
    assert not list(Path().rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_terminals_without_styles_receive_one_plain_line(environment: dict[str, str]) -> None:
    terminal = Terminal(*TXT2IMG, **environment, **with_torch("import os\nos._exit(9)"))
    assert terminal.wait() == 9
    assert terminal.output == b"Loading torch, transformers and diffusers.\r\n"


def test_pipes_receive_one_plain_line_and_with_quiet_nothing() -> None:
    environment = {**os.environ, **with_torch("import os\nos._exit(9)")}
    for options, expected in (((), b"Loading torch, transformers and diffusers.\n"), (("-q",), b"")):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        stdout, stderr = artgen(*TXT2IMG, *options, env=environment, **pipes).communicate(timeout=300)
        assert (stdout, stderr) == (b"", expected)


@pytest.mark.usefixtures("_inputs")
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (TXT2IMG, "native call"),
        pytest.param(TXT2IMG, "Python code", marks=pytest.mark.slow),
        pytest.param(("batch", "prompts.txt", "-m", "tiny"), "native call", marks=pytest.mark.slow),
        pytest.param(("anomaly", "in.png"), "native call", marks=pytest.mark.slow),
        pytest.param(LOADING_COMMANDS[-3], "native call", marks=pytest.mark.slow),
    ],
)
def test_interrupt_during_an_import_ends_the_process(arguments: tuple[str, ...], name: str) -> None:
    before = {path for path in Path().rglob("*") if "home" not in path.parts}
    terminal = Terminal(*arguments, **with_torch(BLOCKED[name]))
    terminal.wait_for(b"Loading torch")
    terminal.press(b"\x03")
    assert terminal.wait() == 130
    assert terminal.lines()[-1] == "error: Interrupted."
    assert b"Traceback" not in terminal.output
    assert b"Stopping" not in terminal.output
    modules = Path("modules")
    assert {path for path in Path().rglob("*") if modules not in (path, *path.parents)} == before


@pytest.mark.parametrize(
    ("arguments", "code"), [(("txt2img", "x", "-m", "nobody/nothing", "--offline"), 4), (("img2img", "no.png"), 3)]
)
def test_no_loading_line_remains_above_an_error(arguments: tuple[str, ...], code: int) -> None:
    terminal = Terminal(*arguments)
    assert terminal.wait() == code
    assert terminal.lines()[0].startswith("error: ")


@pytest.mark.slow
@pytest.mark.parametrize(("options", "last"), [((), ""), (("--count", "2"), "2 images in N s.")])
def test_last_line_has_the_time_and_the_path_once(sd1: str, options: tuple[str, ...], last: str) -> None:
    terminal = Terminal("txt2img", "x", "-m", sd1, *FAST, *options, size=(24, 200))
    assert terminal.wait() == 0, terminal.output
    printed = [line for line in terminal.lines() if not line.startswith("Next step:")]  # only after the first run
    lines = [re.sub(r"[\d.]+ s\b", "N s", line) for line in printed]
    images = [f"Seed {7 + i}, N s: outputs/0000{i + 1}-{7 + i}-x.png" for i in range(len(options) or 1)]
    assert lines[1:] == [*images, *filter(None, [last])]
    assert lines[0].startswith("Using ")
    assert "\x1b[?25h" in terminal.output.decode().rpartition("\x1b[?25l")[2]


@pytest.mark.slow
def test_last_line_of_a_batch_has_the_time_and_the_folder(sd1: str) -> None:
    Path("prompts.txt").write_text("a fox\na car\n")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    stdout, stderr = artgen("batch", "prompts.txt", "-m", sd1, *FAST, **pipes).communicate(timeout=300)
    assert [line.endswith(b".png") for line in stdout.splitlines()] == [True, True]
    assert re.fullmatch(r"2 images in [\d.]+ s: 'outputs/prompts'\.", stderr.decode().splitlines()[-1])


@pytest.fixture
def _owned_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_owns_process", True)
    monkeypatch.setattr(process, "_start_time", time.monotonic() - 2)


@pytest.mark.usefixtures("_owned_process")
def test_remaining_time_includes_loading_and_all_images() -> None:
    request = Txt2Img(prompt="x", model="tiny", steps=4)
    times = LoadTimes(request)
    assert times.expected_seconds(1) is None
    times.save(10.0, 16.0, num_images=2)
    assert LoadTimes(request.replace(prompt="y", seed=3)).expected_seconds(1) == 13
    assert times.expected_seconds(4) == 22
    assert LoadTimes(request.replace(steps=5)).expected_seconds(1) is None
    assert LoadTimes(request.replace(steps=5)).remaining_seconds() == pytest.approx(8, abs=1)
    assert LoadTimes(request.replace(model="sd15")).remaining_seconds() is None


@pytest.mark.usefixtures("_owned_process")
@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": "b"}', '{"a": NaN}', '{"a": -1}', "[" * 10_000])
def test_damaged_load_times_are_ignored(content: str) -> None:
    times = LoadTimes(Txt2Img(prompt="x", model="tiny"))
    times.save(1.0, 2.0)
    path = next(Path(os.environ["XDG_CACHE_HOME"]).rglob("load-times.json"))
    path.write_text(content)
    assert times.expected_seconds(1) is None
    times.save(1.0, 2.0)
    assert times.expected_seconds(1) == 2


@pytest.mark.usefixtures("_owned_process")
def test_load_times_keep_the_newest_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_times, "MAX_ENTRIES", 4)
    requests = [Txt2Img(prompt="x", model=f"model{i}") for i in range(5)]
    for request in requests:
        LoadTimes(request).save(1.0, 2.0)
    path = next(Path(os.environ["XDG_CACHE_HOME"]).rglob("load-times.json"))
    assert len(json.loads(path.read_text())) == 4
    assert [LoadTimes(request).expected_seconds(1) for request in requests] == [None, None, None, 2, 2]


@pytest.mark.usefixtures("_owned_process")
def test_finished_run_stores_its_duration(sd1: str) -> None:
    from command_line import run

    assert not list(Path(os.environ["XDG_CACHE_HOME"]).rglob("load-times.json"))
    run("txt2img", "x", "-m", sd1, *FAST, "-o", "a.png")
    request = Txt2Img(prompt="x", model=sd1, steps=2, seed=7)
    assert (LoadTimes(request).expected_seconds(1) or 0) > 0
    assert "load" not in json.dumps(record("txt2img", "x", "-m", sd1, *FAST))


def test_line_stays_inactive_in_a_process_of_another_program() -> None:
    line = status_line.StatusLine()
    line.start()
    assert not line.is_active
