"""Generate docs/commands.md from the settings and the commands of artgen.

python docs/generate_commands.py
"""

from pathlib import Path
from typing import Any

import typer

from artgen.cli.main import COMMAND_SUMMARIES, load_command

PAGE = Path(__file__).with_name("commands.md")
HEADER = """# Commands

`docs/generate_commands.py` generates this page from the settings. Do not edit it.

Most options also have an environment variable (`ARTGEN_STEPS`) and a key in the configuration files. The default is in
brackets.
"""


def render() -> str:
    """Return the page: the commands with their arguments, then each group of options once."""
    commands = dict(_all_commands())
    parts = [HEADER]
    groups: dict[str, dict[tuple[str, str], list[str]]] = {}
    for name, command in commands.items():
        arguments, titles = [], []
        with typer.Context(command, info_name=f"artgen {name}") as context:
            usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
            for parameter in command.get_params(context):
                row = parameter.get_help_record(context)
                if row is None or "--help" in parameter.opts:
                    continue
                title = getattr(parameter, "rich_help_panel", None)
                if parameter.param_type_name == "argument":
                    arguments.append(row)
                else:
                    title = title or f"Options of {name}"
                    titles.append(title)
                    groups.setdefault(title, {}).setdefault(row, []).append(name)
        parts.append(_command_section(name, command, usage, arguments, list(dict.fromkeys(titles))))
    parts.append("# Options\n")
    parts += [_group_section(title, rows) for title, rows in groups.items()]
    return "\n".join(parts)


def _all_commands() -> list[tuple[str, Any]]:
    found = []
    for name in COMMAND_SUMMARIES:
        command = load_command(name)
        children = getattr(command, "commands", None)
        found += [(f"{name} {child}", each) for child, each in children.items()] if children else [(name, command)]
    return found


def _command_section(name: str, command: Any, usage: str, arguments: list[tuple[str, str]], titles: list[str]) -> str:
    lines = [f"## {name}\n", " ".join((command.help or "").partition("\n\n")[0].split()) + "\n", f"    {usage}\n"]
    lines += [_bullet(*row) for row in arguments]
    if titles:
        lines += ["", "Options: " + ", ".join(f"[{title}](#{_anchor(title)})" for title in titles), ""]
    return "\n".join(lines)


def _group_section(title: str, rows: dict[tuple[str, str], list[str]]) -> str:
    users = list(dict.fromkeys(name for names in rows.values() for name in names))
    lines = [f"## {title}\n"]
    for row, names in rows.items():
        only = "" if len(names) == len(users) else f" ({', '.join(names)})"
        lines.append(_bullet(*row) + only)
    return "\n".join(lines) + "\n"


def _bullet(name: str, text: str) -> str:
    return f"- `{' '.join(name.split())}`: {' '.join(text.split())}"


def _anchor(title: str) -> str:
    return "".join(letter for letter in title.lower().replace(" ", "-") if letter.isalnum() or letter == "-")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
