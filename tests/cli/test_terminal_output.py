"""Test that untrusted text cannot send escape sequences to a terminal."""

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pseudo_terminal import Terminal
from terminal_stream import TerminalStream

import artgen
from artgen.cli.info import InfoFields
from artgen.cli.main import app

BUNDLED_MODEL = Path(artgen.__file__).parent / "assets" / "tiny"

HOSTILE = "fox\x1b]0;title\x07\x1b]8;;http://evil\x1b\\\x1b]52;c;ZXZpbDEx\x07\x1b[2J\x9b2J\x85\u202egnp[/nope]"
RAW = (b"\x1b]", b"\x1b[2J", b"\x07", b"\x1b\\", "\x9b".encode(), "\x85".encode(), "\u202e".encode())


COMMANDS = [
    (("txt2img", HOSTILE, "-m", "tiny", "--dry-run"), 0),
    (("txt2img", "x", HOSTILE), 2),
    (("txt2img", "x", "-m", HOSTILE), 4),
    (("txt2img", "x", f"--{HOSTILE}"), 2),
    (("txt2img", "x", "--steps", HOSTILE), 2),
    (("txt2img", "x", "--sigmas", HOSTILE), 2),
    (("models", "show", HOSTILE), 4),
    (("models", HOSTILE), 2),
    (("schedulers", HOSTILE), 2),
    ((HOSTILE, "--dry-run"), 0),
    (("info", f"{HOSTILE}.png"), 3),
    (("info", "record.png"), 0),
    (("info", "parameters.png"), 0),
    (("info", "workflow.png"), 0),
    (("replay", "parameters.png", "--dry-run", "--set", "model=tiny"), 0),
]
"""Commands that print untrusted text, and their exit codes."""


def command_id(value: object) -> str | None:
    return " ".join(value).replace(HOSTILE, "HOSTILE") if isinstance(value, tuple) else None


@pytest.mark.parametrize("stream", [TerminalStream(), io.StringIO()], ids=["terminal", "pipe"])
@pytest.mark.parametrize(("arguments", "code"), COMMANDS, ids=command_id)
def test_untrusted_text_is_sanitized(
    arguments: tuple[str, ...], code: int, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_hostile()
    stream.seek(0)
    stream.truncate()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    with pytest.raises(SystemExit) as exited:
        app(list(arguments), prog_name="artgen")
    output = stream.getvalue().encode()
    assert exited.value.code == code, output
    assert not [raw for raw in RAW if raw in output], output
    assert b"[/nope]" in output.replace(b"\n", b"") or b"..." in output  # a long value is shortened


LINES = "fox\nseed: 5\r\x0bseed: 5\x0c\x1cseed: 5\x1d\x1e\x85\u2028seed: 5\u2029seed: 5"
"""A value with all characters that end a line for `str.splitlines`."""


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (
            "artgen",
            json.dumps({"artgen": "0.1.0", "prompt": LINES, f"a\n{LINES}": {"b": 1}, "lora": [LINES]}),
        ),
        ("artgen", json.dumps({"artgen": "0.1.0", f"a\n{LINES}": 1, "task": LINES, "model": LINES, "seed": 1})),
        ("parameters", f"{LINES}\nSteps: 20, Sampler: {json.dumps(LINES)}, Seed: 1, Size: 64x64, Odd: {LINES}"),
    ],
    ids=["record", "keys", "parameters"],
)
def test_info_prints_one_line_per_field(
    key: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chunks = PngInfo()
    chunks.add_itxt(key, text)
    path = tmp_path / f"{LINES}.png"
    Image.new("RGB", (8, 8)).save(path, pnginfo=chunks)
    with pytest.raises(SystemExit):
        app(["info", str(path)], prog_name="artgen")
    captured = capsys.readouterr()
    with pytest.raises(SystemExit):
        app(["info", str(path), "--json"], prog_name="artgen")
    fields = json.loads(capsys.readouterr().out)
    values = [value for name, value in fields.items() if name not in ("schema", *InfoFields.__annotations__)]
    num_fields = sum(len(value) if isinstance(value, dict) else 1 for value in values)
    assert len(captured.out.splitlines()) == captured.out.count("\n") == num_fields
    assert len([line for line in captured.out.splitlines() if line.startswith("seed: ")]) == ("seed" in fields)
    assert len(captured.err.splitlines()) == 1


def test_readme_of_a_model_cannot_imitate_its_details(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = shutil.copytree(BUNDLED_MODEL, tmp_path / "model")
    (model / "README.md").write_text("license: none\n\x1b[2Jpath: /\n\tx\x0blicense: none\u2028license: none")
    with pytest.raises(SystemExit):
        app(["models", "show", str(model)], prog_name="artgen")
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith(("license: ", "path: "))]) == 2
    assert not any("\x1b" in line for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "code"), COMMANDS, ids=command_id)
def test_untrusted_text_is_sanitized_on_a_terminal(arguments: tuple[str, ...], code: int) -> None:
    save_hostile()
    terminal = Terminal(*arguments)
    assert terminal.wait() == code, terminal.output
    assert not [raw for raw in RAW if raw in terminal.output], terminal.output
    text = terminal.output.replace(b"\r\n", b"")
    assert b"[/nope]" in text or b"..." in text  # a long value is shortened


def save_hostile() -> None:
    """Write images whose metadata contains escape sequences, one image per metadata format."""
    texts = {
        "record": ("artgen", json.dumps({"artgen": "0.1.0", "task": "txt2img", "prompt": HOSTILE, "seed": 1})),
        "parameters": ("parameters", f"{HOSTILE}\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64"),
        "workflow": ("prompt", json.dumps(comfy_workflow(HOSTILE))),
    }
    for name, (key, text) in texts.items():
        chunks = PngInfo()
        chunks.add_itxt(key, text)
        Image.new("RGB", (64, 64)).save(f"{name}.png", pnginfo=chunks)


def comfy_workflow(prompt: str) -> dict[str, Any]:
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": prompt, "clip": ["1", 1]}},
        "3": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 20, "cfg": 7, "sampler_name": "euler",
              "scheduler": "normal", "denoise": 1, "positive": ["2", 0], "negative": ["2", 0], "model": ["1", 0]}},
    }  # fmt: skip


@pytest.mark.slow
def test_progress_shows_a_rate_and_interrupt_restores_the_cursor(sd1: str) -> None:
    terminal = Terminal("txt2img", "x", "-m", sd1, "--steps", "900")
    terminal.wait_for(b" it/s")
    terminal.press(b"\x03")
    assert terminal.wait() == 130
    assert b" 0.00 it/s" not in terminal.output
    assert b"Stopping after this step." in terminal.output
    assert terminal.output.rindex(b"\x1b[?25h") > terminal.output.rindex(b"\x1b[?25l")
    assert b"Traceback" not in terminal.output


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("txt2img", "--help"), ("info", "nope.png")])
@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_no_color_and_dumb_terminals_receive_no_escape_sequences(
    arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    terminal = Terminal(*arguments, **environment)
    terminal.wait()
    assert terminal.output
    assert b"\x1b" not in terminal.output
