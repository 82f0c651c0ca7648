"""Test that untrusted text cannot send escape sequences to a terminal."""

import io
import json
import sys
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pseudo_terminal import Terminal

from artgen.cli.main import app

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
    ((HOSTILE,), 2),
    (("info", f"{HOSTILE}.png"), 3),
    (("info", "record.png"), 0),
    (("info", "parameters.png"), 0),
    (("info", "workflow.png"), 0),
    (("replay", "parameters.png", "--dry-run", "--set", "model=tiny"), 0),
]
"""Commands that print untrusted text, and their exit codes."""


def command_id(value: object) -> str | None:
    return " ".join(value).replace(HOSTILE, "HOSTILE") if isinstance(value, tuple) else None


class TerminalStream(io.StringIO):
    """Represent a stream that is connected to a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("arguments", "code"), COMMANDS, ids=command_id)
def test_untrusted_text_is_sanitized_on_terminal_streams(
    arguments: tuple[str, ...], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_hostile()
    stream = TerminalStream()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    with pytest.raises(SystemExit) as exited:
        app(list(arguments), prog_name="artgen")
    output = stream.getvalue().encode()
    assert exited.value.code == code, output
    assert not [raw for raw in RAW if raw in output], output
    assert b"[/nope]" in output.replace(b"\n", b"")


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "code"), COMMANDS, ids=command_id)
def test_untrusted_text_is_sanitized_on_a_terminal(arguments: tuple[str, ...], code: int) -> None:
    save_hostile()
    terminal = Terminal(*arguments)
    assert terminal.wait() == code, terminal.output
    assert not [raw for raw in RAW if raw in terminal.output], terminal.output
    assert b"[/nope]" in terminal.output.replace(b"\r\n", b"")


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
