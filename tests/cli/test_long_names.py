"""Test every option and argument of every command with names that no file system accepts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import FAST, save_inputs_of_all_commands

from artgen.cli.main import COMMAND_SUMMARIES, app, load_command

MODEL = ("-m", "tiny")
DRY_RUN = (*MODEL, *FAST, "--dry-run")

BASE_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "txt2img": ("x", *DRY_RUN),
    "img2img": ("in.png", "x", *DRY_RUN),
    "inpaint": ("in.png", "x", "--mask", "mask.png", *DRY_RUN),
    "outpaint": ("in.png", "x", "--expand", "8", *DRY_RUN),
    "upscale": ("in.png", "--dry-run"),
    "verify": ("in.png",),
    "edit": ("in.png", "x", "-m", "instruct-pix2pix", "--offline", "--dry-run"),
    "sample": ("-m", "google/ddpm-church-256", "--offline", "--dry-run"),
    "denoise": ("in.png", "--method", "tv", "--dry-run"),
    "control": ("gray", "in.png", "--dry-run"),
    "mask": ("in.png", "cat", "--dry-run"),
    "noise": ("in.png", "--dry-run"),
    "anomaly": ("in.png", "--dry-run"),
    "batch run": ("prompts.txt", *DRY_RUN),
    "batch status": ("out",),
    "batch verify": ("out",),
    "train": ("photos", "--resolution", "32", "-o", "x.safetensors", "--dry-run"),
    "rank": ("in.png", "--prompt", "x", *DRY_RUN),
    "reconstruct": ("in.png", *MODEL),
    "sheet": ("in.png",),
    "gallery": ("in.png",),
    "info": ("record.json",),
    "replay": ("record.json", "--dry-run"),
    "morph": ("record.json", "record.json", "--dry-run"),
    "variations": ("in.png", "--set", "model=tiny", "--dry-run"),
    "models list": (),
    "models words": ("tiny",),
    "models recommend": (),
    "models show": ("tiny",),
    "models pull": ("tiny",),
    "models convert": ("in.ckpt",),
    "models verify": ("tiny",),
    "models alias": ("mine", "tiny"),
    "models remove": ("mine",),
    "models path": ("tiny",),
    "schedulers": (),
    "serve": ("--token-file", "missing.txt"),  # the command ends before it listens
    "prompt": ("x", *MODEL),
    "styles": (),
    "doctor": (),
    "config show": (),
    "config get": ("steps",),
    "config list": (),
    "config unset": ("steps",),
    "config set": ("steps", "3"),
    "config path": (),
    "cache list": (),
    "cache clear": (),
    "history search": ("x",),
    "history show": ("in.png",),
    "history rate": ("in.png", "4"),
    "history tag": ("in.png", "x"),
    "history forget": ("in.png",),
    "history export": (),
    "history import": ("record.json",),
    "history scan": ("photos",),
    "preset save": ("mine", "--steps", "3", "--overwrite"),
    "preset list": (),
    "preset show": ("small",),
    "preset remove": ("small",),
    "sign init": (),
    "sign show": (),
    "worker start": (),
    "worker stop": (),
    "worker status": (),
}
"""Valid arguments of each command."""

LONG_NAMES = {
    "name": "n" * 300,
    "suffix": "n" * 300 + ".png",
    "wide": "画" * 100,
    "folder": f"{'n' * 300}/x.png",
    "path": "d/" * 3000 + "x.png",
    "slash": "n" * 300 + "/",
}

EXIT_CODES = frozenset({0, 2, 3, 4, 5, 74})


def _commands() -> Iterator[tuple[str, Any]]:
    for name in COMMAND_SUMMARIES:
        command = load_command(name)
        for subname, subcommand in getattr(command, "commands", {"": command}).items():
            yield f"{name} {subname}".strip(), subcommand


def _cases() -> Iterator[tuple[str, str]]:
    """Yield each command with each option that takes text or a path; an empty option stands for an argument."""
    for name, command in _commands():
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                yield name, ""
            elif type(parameter.type).__name__ in ("StringParamType", "TyperPath", "Path"):
                yield name, max(parameter.opts, key=len)


@pytest.fixture
def _inputs() -> None:
    save_inputs_of_all_commands()


def test_the_table_contains_every_command() -> None:
    assert {name for name, _ in _commands()} == BASE_ARGUMENTS.keys()


@pytest.mark.usefixtures("_inputs")
@pytest.mark.parametrize(("command", "option"), dict.fromkeys(_cases()), ids=" ".join)
def test_long_names_end_with_one_message(
    command: str, option: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(Path().rglob("*"))
    for name in LONG_NAMES.values():
        base = BASE_ARGUMENTS[command]
        arguments = (*base, option, name) if option else (name, *base[1:])
        with pytest.raises(SystemExit) as exited:
            app([*command.split(), *arguments], prog_name="artgen")
        captured = capsys.readouterr()
        assert exited.value.code in EXIT_CODES, (name[:20], captured.err)
        if exited.value.code:
            assert captured.err.count("error: ") >= 1, name[:20]
    if command not in ("reconstruct", "sheet", "gallery"):
        assert sorted(Path().rglob("*")) == before
