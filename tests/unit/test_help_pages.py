"""Test the pages of `--help` and `--help-all`: length, width, content, defaults and styles."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import run
from terminal_stream import TerminalStream

from artgen.cli.help_layout import MAX_COLUMNS, MIN_COLUMNS
from artgen.cli.help_pages import MOST_USED_OPTIONS, description_and_examples
from artgen.cli.main import COMMAND_SECTIONS, COMMAND_SUMMARIES, app, load_command
from artgen.spec.config import user_config_file
from artgen.spec.config_values import set_value
from artgen.spec.requests import TASKS
from artgen.spec.settings import SETTING_GROUPS, settings_of

MAX_PAGE_LINES = 45
MAX_FIRST_PAGE_LINES = 60
"""Limit of `artgen --help`, which has a line for each command."""
MAX_MOST_USED = 17
WIDTHS = (20, 40, 41, 60, 69, 70, 80, 100, 120)


def find_commands() -> Iterator[tuple[str, ...]]:
    """Yield the names of all commands and subcommands; an empty tuple for the program."""
    yield ()
    for name in COMMAND_SUMMARIES:
        yield (name,)
        for subcommand, command in getattr(load_command(name), "commands", {}).items():
            if not command.hidden:
                yield name, subcommand


COMMANDS = list(find_commands())
all_commands = pytest.mark.parametrize("names", COMMANDS, ids=lambda names: " ".join(names) or "artgen")


def load(names: tuple[str, ...]) -> tuple[Any, Any]:
    """Return a command, and its context as on the command line."""
    command: Any = typer.main.get_command(app)
    context = command.context_class(command, info_name="artgen")
    for name in names:
        command = load_command(name) if context.parent is None else command.commands[name]
        context = command.context_class(command, info_name=name, parent=context)
    return command, context


def page(names: tuple[str, ...], capsys: pytest.CaptureFixture[str], *, full: bool = False) -> str:
    """Return a page that a command prints."""
    command, context = load(names)
    command.print_page(context, full=full)
    return capsys.readouterr().out


def test_sections_of_the_first_page_contain_every_command_once() -> None:
    names = [name for section in COMMAND_SECTIONS.values() for name in section]
    assert sorted(names) == sorted(COMMAND_SUMMARIES)


@all_commands
def test_page_is_short_and_has_examples_before_options(
    names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = page(names, capsys).splitlines()
    assert len(lines) <= (MAX_PAGE_LINES if names else MAX_FIRST_PAGE_LINES)
    assert lines[0].startswith(f"Usage: {' '.join(['artgen', *names])} ")
    headings = [line for line in lines if re.fullmatch(r"[A-Z][^.]*:", line)]
    assert headings[0].startswith("Example")
    _, examples = description_and_examples(load(names)[0])
    assert [line.strip() for line in lines if line.strip() in examples] == examples, "examples fit in one line"
    if " ".join(names) in MOST_USED_OPTIONS:
        assert "Most used options:" in headings
        assert "--help-all` shows all" in lines[-1]


@all_commands
@pytest.mark.parametrize("full", [False, True], ids=["help", "help-all"])
def test_page_follows_the_width_without_broken_words(
    names: tuple[str, ...], full: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = None
    for columns in WIDTHS:
        monkeypatch.setenv("COLUMNS", str(columns))
        text = page(names, capsys, full=full)
        assert max(map(len, text.splitlines())) <= min(max(columns, MIN_COLUMNS), MAX_COLUMNS), columns
        found = sorted(re.sub(r"\|\n +", "|", text.replace(" \\\n", "\n")).split())
        words = words or found
        assert found == words, columns


@pytest.mark.parametrize("name", MOST_USED_OPTIONS)
def test_most_used_options_are_options_of_the_command(name: str) -> None:
    command, context = load(tuple(name.split()))
    options = {each.name for each in command.get_params(context) if each.param_type_name == "option"}
    most_used = MOST_USED_OPTIONS[name]
    assert set(most_used) <= options
    assert len(set(most_used)) == len(most_used) <= MAX_MOST_USED


@all_commands
def test_help_all_contains_every_option_and_its_listed_aliases(
    names: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    command, context = load(names)
    words = set(re.findall(r"--?[\w-]+", page(names, capsys, full=True)))
    for parameter in command.get_params(context):
        if parameter.param_type_name == "option" and not parameter.hidden:
            assert {*parameter.opts, *parameter.secondary_opts} <= words
            setting = getattr(command.callback, "settings", {}).get(parameter.name)
            if setting and parameter.name not in ("task", "mode"):
                listed = set(setting.aliases) - set(setting.unlisted_aliases)
                assert listed <= words


def test_unlisted_aliases_are_aliases() -> None:
    for group in SETTING_GROUPS:
        for setting in settings_of(group).values():
            assert set(setting.unlisted_aliases) <= set(setting.aliases)


@pytest.mark.parametrize("name", ["txt2img", "img2img"])
def test_page_shows_aliases_of_other_tools(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(page((name,), capsys).split())
    for words in ("-g, --guidance-scale", "--cfg-scale", "--sampler", "--num-images", "--num-inference-steps"):
        assert words in text
    assert "denoise" not in text
    assert "--noise-first" not in text


@pytest.mark.parametrize("task", TASKS)
def test_default_strength_on_the_page_is_the_default_of_the_task(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(page((task,), capsys, full=True).split())
    strength = TASKS[task].default_strength
    assert ("--strength NUMBER" in text) == (strength is not None)
    if strength is not None:
        assert f"--denoising-strength. [default: {strength:g}]" in text


@pytest.mark.parametrize("task", TASKS)
def test_page_names_no_other_task_in_a_default(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(page((task,), capsys, full=True).split())
    for default in re.findall(r"\[default: ([^]]*)\]", text):
        assert not re.search(rf"\b({'|'.join(set(TASKS) - {task})})\b:", default), default


def row(text: str, flag: str) -> str:
    """Return the row of an option as one line."""
    rows = re.split(r"\n(?=  {1,6}-)", text)
    return next(" ".join(each.split()) for each in rows if re.match(rf"\s*(-\w, )?{flag}\b", each))


def test_page_shows_the_defaults_of_the_user_and_their_source(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_value("steps", "30", user_config_file())
    set_value("img2img.strength", "0.3", user_config_file())
    set_value("lora", "a,b", user_config_file())
    assert row(page(("txt2img",), capsys), "--steps").endswith("[default: 30, from config.toml]")
    assert row(page(("txt2img",), capsys), "--lora").endswith("[default: a,b, from config.toml]")
    assert row(page(("img2img",), capsys), "--strength").endswith("[default: 0.3, from config.toml]")
    assert row(page(("inpaint",), capsys), "--strength").endswith("[default: 1]")
    assert row(page(("batch",), capsys), "--steps").endswith("[default: 30, from config.toml]")
    Path("artgen.toml").write_text("steps = 40\n[img2img]\nsteps = 41\n")
    assert row(page(("txt2img",), capsys), "--steps").endswith("[default: 40, from artgen.toml]")
    assert row(page(("img2img",), capsys, full=True), "--steps").endswith("[default: 41, from artgen.toml]")
    monkeypatch.setenv("ARTGEN_STEPS", "50")
    monkeypatch.setenv("ARTGEN_CFG_SCALE", "9")
    monkeypatch.setenv("ARTGEN_OVERWRITE", "1")
    text = page(("txt2img",), capsys)
    assert row(text, "--steps").endswith("[default: 50, from ARTGEN_STEPS]")
    assert row(text, "--guidance-scale").endswith("[default: 9, from ARTGEN_CFG_SCALE]")
    assert "from" not in row(text, "--overwrite"), "only the command line sets it"


def test_default_of_the_user_is_sanitized_and_shortened(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARTGEN_MODEL", "fox\x1b[2J\n" + "x" * 5000)
    text = page(("txt2img",), capsys)
    assert "\x1b" not in text
    assert len(text.splitlines()) <= MAX_PAGE_LINES + 1


@pytest.mark.parametrize("option", ["-h", "--help", "--help-all"])
@pytest.mark.parametrize("command", ["txt2img", "prompt", "batch", "config"])
def test_help_works_with_an_invalid_configuration(command: str, option: str) -> None:
    Path("artgen.toml").write_text("steps = [\n")
    result = run(command, option)
    assert re.match(rf"Usage: \S+ {command} ", result.stdout)
    assert ("Its settings are not shown." in result.stderr) == (command != "config")


@all_commands
def test_styles_are_only_written_to_a_terminal(
    names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    plain = page(names, capsys)
    assert "\x1b" not in plain, "in a pipe"
    command, context = load(names)
    for variables, has_styles in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        stream = TerminalStream()
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdout", stream)
            command.print_page(context, full=False)
        text = stream.getvalue()
        assert ("\x1b" in text) == has_styles
        assert re.sub(r"\x1b\[[\d;]*m", "", text) == plain


@pytest.mark.parametrize("arguments", [(), ("models",), ("config",), ("batch",), ("preset",), ("cache",)], ids=" ".join)
def test_group_without_arguments_shows_its_help(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).stdout == run(*arguments, "--help").stdout


def test_version_has_a_short_option() -> None:
    assert run("-V").stdout == run("--version").stdout


@all_commands
def test_examples_call_the_command(names: tuple[str, ...]) -> None:
    command, _ = load(("batch", "run") if names == ("batch",) else names)
    _, examples = description_and_examples(command)
    assert 0 < len(examples) <= 3
    for example in examples:
        words = shlex.split(example)
        assert words[0] == "artgen"
        if not hasattr(command, "commands"):
            called = [name for name in names if name != "run"]
            assert words[1 : 1 + len(called)] == called
