"""Test `--help` against snapshots: one file per setting group, and one file per command.

The files in tests/help/groups contain the options that a group itself defines. The files in tests/help/commands contain
the usage, the description and the own options of a command, and the names of its groups. A changed help text therefore
changes one file.

To update a snapshot, delete the file and run the test twice: the first run writes the file and fails.
"""

import inspect
import textwrap
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from artgen.cli.help import EAGER_OPTIONS, App
from artgen.cli.help_pages import parameter_row, section_title
from artgen.cli.main import COMMAND_SUMMARIES, app, load_command
from artgen.cli.options import AliasCommand, flatten_settings
from artgen.spec.settings import CONFIGURED_GROUPS, SETTING_GROUPS

SNAPSHOT_FOLDER = Path(__file__).parents[1] / "help"
WIDTH = 100
SUBCOMMANDS = {
    "models": ("list", "recommend", "show", "words", "pull", "verify", "convert", "alias", "remove", "path"),
    "batch": ("run", "status", "verify"),
    "config": ("show", "get", "set", "unset", "path"),
    "history": ("search", "show", "rate", "tag", "forget", "export", "import", "scan"),
    "preset": ("save", "list", "show", "remove"),
    "cache": ("list", "clear"),
}
COMMANDS = [
    (),
    *((name,) for name in COMMAND_SUMMARIES),
    *((name, subcommand) for name, subcommands in SUBCOMMANDS.items() for subcommand in subcommands),
]
OPTION_GROUPS = [group for group in SETTING_GROUPS if group not in CONFIGURED_GROUPS]
"""The groups of the commands. `CONFIGURED_GROUPS` are set only in configuration files and environment variables."""

EAGER_FLAGS = {flag for option in EAGER_OPTIONS for flag in option.flags}
"""Options of every command. The snapshots do not contain them."""

Row = tuple[str, str, str]
"""Title of the section, option with its value, and help text."""


@pytest.mark.parametrize("group", OPTION_GROUPS, ids=lambda group: group.__name__)
def test_group_help_equals_its_snapshot(group: type) -> None:
    own_names = [name for name in group.__annotations__ if name in group.__dataclass_fields__]
    text = format_rows(row for name, row in group_rows(group) if name in own_names)
    bases = [base.__name__ for base in group.__bases__ if base in SETTING_GROUPS]
    if bases:
        text = f"Includes {', '.join(bases)}.\n\n{text}"
    compare_with_snapshot(text, SNAPSHOT_FOLDER / "groups" / f"{group.__name__}.txt")


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_command_help_equals_its_snapshot(names: tuple[str, ...]) -> None:
    command, context = load(names)
    groups = setting_groups(command)
    hidden = {parameter.name for parameter in command.params if getattr(parameter, "hidden", False)}
    rows_of_groups = [row for group in groups for name, row in group_rows(group) if name not in hidden]
    rows = [row for _, row in command_rows(command, context)]
    assert set(rows_of_groups) <= set(rows), "the command has all options of its groups"
    usage = f"Usage: {' '.join(['artgen', *names, *command.collect_usage_pieces(context)])}"
    sections = [usage, textwrap.indent(inspect.cleandoc(command.help), "  ")]
    group_texts = {text for _, _, text in rows_of_groups}  # also the texts of positional settings such as [PROMPT]
    own_rows = [
        row for row in rows if row not in rows_of_groups and not (row[0] == "Arguments" and row[2] in group_texts)
    ]
    sections.append(format_rows(own_rows).rstrip())
    if groups:
        sections.append("\n".join(["Setting groups:", *(f"  {group.__name__}" for group in groups)]))
    if hidden & getattr(command.callback, "settings", {}).keys():
        sections.append(f"Hidden settings: {', '.join(sorted(hidden))}")
    if hasattr(command, "list_commands"):
        summaries = [
            f"  {name}\n      {command.get_command(context, name).help.partition(chr(10) * 2)[0]}"
            for name in command.list_commands(context)
            if not command.get_command(context, name).hidden
        ]
        sections.append("\n".join(["Commands:", *summaries]))
    text = "\n\n".join(sections) + "\n"
    compare_with_snapshot(text, SNAPSHOT_FOLDER / "commands" / f"{'-'.join(names) or 'artgen'}.txt")


def test_help_folder_contains_no_other_files() -> None:
    expected = {f"groups/{group.__name__}.txt" for group in OPTION_GROUPS}
    expected |= {f"commands/{'-'.join(names) or 'artgen'}.txt" for names in COMMANDS}
    assert {path.relative_to(SNAPSHOT_FOLDER).as_posix() for path in SNAPSHOT_FOLDER.rglob("*.*")} == expected


def test_every_group_belongs_to_a_command() -> None:
    used = {group for names in COMMANDS for group in setting_groups(load(names)[0])}
    used |= {base for group in used for base in group.__mro__}
    assert set(OPTION_GROUPS) <= used


def test_subcommands_are_complete() -> None:
    for name, subcommands in SUBCOMMANDS.items():
        command, context = load((name,))
        listed = {each for each in command.list_commands(context) if not command.get_command(context, each).hidden}
        assert listed == set(subcommands)


def test_summaries_equal_the_first_line_of_each_command() -> None:
    for name, summary in COMMAND_SUMMARIES.items():
        assert load_command(name).help.splitlines()[0].strip() == summary


def test_every_command_help_contains_an_example() -> None:
    for names in COMMANDS:
        command, _ = load(names)
        if not hasattr(command, "list_commands"):
            assert f"\nartgen {' '.join(names).removesuffix(' run')}" in inspect.cleandoc(command.help), names


def load(names: tuple[str, ...]) -> tuple[Any, Any]:
    """Return the click command and a context for it."""
    command: Any = load_command(names[0]) if names else typer.main.get_command(app)
    context = command.context_class(command, info_name="artgen", **command.context_settings)
    for name in names[1:]:
        command = command.get_command(context, name)
        context = command.context_class(command, info_name=name, parent=context)
    return command, context


def setting_groups(command: Any) -> list[type]:
    """Return the setting groups of a command, in the order of its parameters."""
    if command.callback is None:
        return []
    hints = typing.get_type_hints(inspect.unwrap(command.callback))
    return [hint for hint in hints.values() if hint in SETTING_GROUPS]


def group_rows(group: type) -> Iterator[tuple[str, Row]]:
    """Yield the name and the row of each setting of a group, inherited settings included."""

    def function(settings: Any) -> None: ...

    function.__annotations__ = {"settings": group, "return": None}
    single = App("")
    single.command(cls=AliasCommand)(flatten_settings(typing.cast(Callable[..., None], function)))
    command: Any = typer.main.get_command(single)
    for name, row in command_rows(command, command.context_class(command)):
        if name in group.__dataclass_fields__:
            yield name, row


def command_rows(command: Any, context: Any) -> Iterator[tuple[str, Row]]:
    """Yield the name and the row of each parameter that `--help` shows."""
    for parameter in command.get_params(context):
        if not (parameter.hidden or set(parameter.opts) & EAGER_FLAGS):
            name, text = parameter_row(command, parameter, command.context_class(command), full=True)
            yield parameter.name, (section_title(parameter), name.strip(), text)


def format_rows(rows: typing.Iterable[Row]) -> str:
    sections: dict[str, list[str]] = {}
    for title, option, text in rows:
        wrapped = textwrap.fill(text, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False)
        sections.setdefault(title, []).append(f"  {option}\n{wrapped}".rstrip())
    return "\n\n".join("\n".join([f"{title}:", *lines]) for title, lines in sections.items()) + "\n"


def compare_with_snapshot(text: str, path: Path) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        pytest.fail(f"'{path}' was missing and has been written. Review the file, and run the test again.")
    assert text == path.read_text("utf-8")
