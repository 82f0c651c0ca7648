"""Test when a command uses the worker, without a worker."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import run

from artgen.cli.main import COMMAND_SUMMARIES
from artgen.cli.unknown_commands import txt2img_arguments
from artgen.errors import UsageError
from artgen.spec import config
from artgen.worker_process.client import settings

IN_WORKER = [
    "txt2img x", "img2img a.png x", "inpaint", "outpaint", "denoise a.png", "sample", "replay a.png", "anomaly a.png",
    "reconstruct a.png", "batch a.txt", "batch run a.txt", "batch -", "a\xa0fox", "fox,snow", "\u72d0",
]  # fmt: skip
ORDINARY = [
    "", "--help", "-V", "--version", "info a.png", "models list", "train a/", "worker start", "config show",
    "noise a.png",
    "batch", "batch status a", "batch verify a", "batch --help", "txt2img --help", "txt2img x -h", "txt2img --help-all",
    "img2img --json-schema", "help txt2img", "version", "txtimg x", "a.png", "../a", "--show-completion", "-", "?",
    "txt2img\udcff x",
]  # fmt: skip


@pytest.mark.parametrize("line", IN_WORKER)
def test_commands_that_load_models_can_use_the_worker(line: str) -> None:
    assert settings.can_use_worker(line.split(" "))


@pytest.mark.parametrize("line", ORDINARY)
def test_other_commands_do_not_use_the_worker(line: str) -> None:
    assert not settings.can_use_worker(line.split(" ") if line else [])


def test_the_commands_exist() -> None:
    assert set(COMMAND_SUMMARIES) >= settings.WORKER_COMMANDS


@pytest.mark.parametrize("text", ["a fox", "fox!", "\u72d0", "fox", "a.png", "?", "\udcff", "x/y", "(x:1)"])
def test_the_client_and_the_command_line_agree_about_prompts(text: str) -> None:
    try:
        txt2img_arguments(None, [text, "--quiet"], [])
        is_prompt = True
    except (UsageError, AttributeError):
        is_prompt = False
    assert settings.can_use_worker([text]) == is_prompt


def test_windows_has_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "IS_SUPPORTED", False)
    assert not settings.can_use_worker(["txt2img", "x"])


SOURCES = ("environment", "project", "user")


def _set(source: str, value: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if source == "environment":
        monkeypatch.setenv("ARTGEN_WORKER", "on" if value else "off")
    else:
        run("config", "set", "worker", "on" if value else "off", *(["--project"] if source == "project" else []))


@pytest.mark.parametrize("values", [*itertools.product((True, False, None), repeat=3)])
def test_the_first_source_has_priority(values: tuple[bool | None, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    for source, value in zip(SOURCES, values, strict=True):
        if value is not None:
            _set(source, value, monkeypatch)
    assert settings.worker_setting() is next((value for value in values if value is not None), None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", True),
        ("ON", True),
        ("1", True),
        ("yes", True),
        ("off", False),
        ("0", False),
        ("maybe", False),
        ("", None),
    ],
)
def test_values_of_the_variable(text: str, value: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTGEN_WORKER", text)
    assert settings.worker_setting() is value


@pytest.mark.parametrize(
    "content",
    [b"worker =", b"worker = 'on'", b"# worker = true", b"[txt2img]\nworker = true", b"\xff worker", b"a" * 70_000],
    ids=["syntax", "text", "comment", "table", "encoding", "size"],
)  # fmt: skip
def test_invalid_files_do_not_start_a_worker(content: bytes) -> None:
    Path("artgen.toml").write_bytes(content)
    assert settings.worker_setting() is None


def test_a_folder_and_a_pipe_in_place_of_the_file_do_not_block() -> None:
    Path("artgen.toml").mkdir()
    assert settings.worker_setting() is None
    Path("artgen.toml").rmdir()
    os.mkfifo("artgen.toml")
    assert settings.worker_setting() is None


@pytest.mark.parametrize("home", ["/home/x", "relative", ""])
@pytest.mark.parametrize("folder", ["/config", "relative", "", " /x", None])
def test_the_client_finds_the_file_of_the_user(home: str, folder: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", home)
    if folder is None:
        monkeypatch.delenv("XDG_CONFIG_HOME")
    else:
        monkeypatch.setenv("XDG_CONFIG_HOME", folder)
    assert settings._user_config_file() == str(config.user_config_file())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("worker", "maybe", "must be true or false, not 'maybe'."),
        ("max_loaded", "0", "must be 1 to 100, not 0."),
        ("max_loaded", "2.5", "must be a whole number, not '2.5'."),
        ("keep_alive", "10", "must be a time such as 10m, not '10'."),
        ("keep_alive", "soon", "must be a time such as 10m, not 'soon'."),
        ("keep_alive", "0s", "must be 1s to 30d, not '0s'."),
        ("keep_alive", "31d", "must be 1s to 30d, not '31d'."),
        ("keep_alive", "nanm", "must be a time such as 10m, not 'nanm'."),
        ("keep_alive", "1" * 400 + "m", "must be a time such as 10m"),
    ],
)
def test_invalid_settings_are_refused_everywhere(
    name: str, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"{name} {message}" in run("config", "set", name, text, code=2).stderr
    value = text if name == "max_loaded" else f'"{text}"'
    Path("artgen.toml").write_text(f"{name} = {value}\n")
    assert "Invalid configuration file 'artgen.toml'" in run("txt2img", "x", "--dry-run", code=3).stderr
    assert "Invalid configuration file 'artgen.toml'" in run("worker", "start", code=3).stderr
    Path("artgen.toml").unlink()
    monkeypatch.setenv(f"ARTGEN_{name.upper()}", text)
    assert f"ARTGEN_{name.upper()} {message}" in run("txt2img", "x", "--dry-run", code=2).stderr
    assert f"ARTGEN_{name.upper()} {message}" in run("worker", "start", code=2).stderr


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("1d", 86_400), (" 2 M ", 120), ("30d", 2_592_000)]
)
def test_times_have_units(text: str, seconds: float) -> None:
    from artgen.spec.settings import parse_keep_alive

    assert parse_keep_alive(text) == seconds


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("3", "Did you mean 3m?"),
        ("1.5", "Did you mean 1.5m?"),
        *((text, "Units: s, m, h, d.") for text in ("0", "43201", "1" * 400, "-1", "\u0663", "")),
    ],
)
def test_a_hint_about_the_unit_is_a_valid_time(text: str, hint: str) -> None:
    from artgen.errors import UsageError
    from artgen.spec.settings import parse_keep_alive

    with pytest.raises(UsageError) as error:
        parse_keep_alive(text)
    assert error.value.hint == hint


def test_the_settings_cannot_be_in_the_table_of_a_command() -> None:
    Path("artgen.toml").write_text("[txt2img]\nworker = true\n")
    assert "Move it above the first table" in run("txt2img", "x", "--dry-run", code=3).stderr


def test_the_client_imports_no_slow_module() -> None:
    code = "import sys, artgen.worker_process.client.command\nprint(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    slow = {"typer", "rich", "torch", "platformdirs", "tempfile", "pathlib", "subprocess", "dataclasses", "asyncio"}
    assert not slow & set(printed.split())


def test_a_command_without_a_worker_imports_only_modules_that_it_needs_anyway() -> None:
    code = (
        "import sys, artgen.worker_process.client as client\nbefore = set(sys.modules)\n"
        "client.run_in_worker(['info', 'a.png']); client.run_in_worker(['txt2img', 'x'])\n"
        "print(*(set(sys.modules) - before))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert printed.split() == ["artgen.worker_process.client.socket_file"]
