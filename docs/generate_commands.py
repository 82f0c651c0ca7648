"""Generate docs/commands.md and docs/record-fields.md from the settings and the commands of artgen.

python docs/generate_commands.py
"""

from pathlib import Path
from typing import Any

import typer

from artgen.cli.help_pages import (
    defaults_of_all_tasks,
    description_and_examples,
    parameter_row,
    section_title,
    text_and_default,
)
from artgen.cli.main import COMMAND_SUMMARIES, load_command
from artgen.spec.records import PROVENANCE_FIELDS
from artgen.spec.requests import TASKS
from artgen.spec.settings import describe_limits, settings_of, type_of

PAGE = Path(__file__).with_name("commands.md")
RECORD_PAGE = Path(__file__).with_name("record-fields.md")
HEADER = """# Commands

`docs/generate_commands.py` generates this page from the settings. Do not edit it.

Most options also have an environment variable (`ARTGEN_STEPS`) and a key in the configuration files. The default is in
brackets.
"""

RECORD_HEADER = """# Fields of a record

`docs/generate_commands.py` generates this page from the settings. Do not edit it.

A record is one flat JSON object. A field without a value is left out. [records.md](records.md) explains where the
record is and how it is read.
"""

TYPE_NAMES = {
    str: "text", int: "integer", float: "number", bool: "true or false", Path: "file name", tuple: "list of texts",
    list: "list of texts",
}  # fmt: skip

UNITS = {
    "by": "factor", "image_guidance_scale": "factor", "sharpen": "percent", "tile_overlap": "pixels",
    "tile_size": "pixels",
    "seed": "", "steps": "denoising steps", "guidance_scale": "factor", "guidance_rescale": "fraction",
    "pag_scale": "factor", "width": "pixels", "height": "pixels", "strength": "fraction", "feather": "pixels",
    "max_side": "pixels", "expand": "pixels", "only_masked": "pixels",
    "target_size": "pixels", "sigma": "gray levels of 255", "eta": "fraction", "self_ensemble": "runs",
    "fidelity": "fraction", "clip_skip": "layers", "best_of": "images", "grow": "pixels", "mask_threshold": "fraction",
    "hires_steps": "denoising steps",
    "variation_seed": "", "variation_strength": "fraction", "morph_position": "fraction",
}  # fmt: skip
"""Units of the settings. Each setting that is a number has an entry."""


def render() -> str:
    """Return the page: the commands with their arguments, then each group of options once."""
    commands = dict(all_commands())
    parts = [HEADER]
    groups: dict[str, dict[tuple[str, str], list[str]]] = {}
    for name, command in commands.items():
        arguments, titles = [], []
        with typer.Context(command, info_name=f"artgen {name}") as context:
            usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
            for parameter in command.get_params(context):
                if parameter.hidden or parameter.is_eager:  # such as `--help`
                    continue
                row = parameter_row(command, parameter, context, full=True)
                title = section_title(parameter)
                if title == "Arguments":
                    arguments.append(row)
                else:
                    title = f"Options of {name}" if title == "Options" else title
                    titles.append(title)
                    groups.setdefault(title, {}).setdefault(row, []).append(name)
        parts.append(_command_section(name, command, usage, arguments, list(dict.fromkeys(titles))))
    parts.append("# Options\n")
    parts += [_group_section(title, rows) for title, rows in groups.items()]
    return "\n".join(parts)


def render_record_fields() -> str:
    """Return the page with all fields of a record: the provenance, then the settings."""
    provenance = [
        f"| `{name}` | {TYPE_NAMES[field.kind]} | {field.unit} | {field.meaning} |"
        for name, field in PROVENANCE_FIELDS.items()
    ]
    tasks_of: dict[str, list[str]] = {}
    for task in TASKS.values():
        for name, setting in settings_of(task.request_class).items():
            if setting.recorded:
                tasks_of.setdefault(name, []).append(task.name)
    rows = [_setting_row(name, tasks) for name, tasks in tasks_of.items()]
    parts = [
        RECORD_HEADER,
        "## Provenance\n",
        "| field | type | unit | meaning |\n|---|---|---|---|\n" + "\n".join(provenance) + "\n",
        "## Settings\n",
        "Values in brackets are the defaults of the setting; a record contains the value that was used.\n",
        "| field | type | unit | values | tasks | meaning |\n|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n",
    ]
    return "\n".join(parts)


def _setting_row(name: str, tasks: list[str]) -> str:
    group = TASKS[tasks[0]].request_class
    setting, kind = settings_of(group)[name], type_of(group, name)[0]
    unit = UNITS[name] if kind in (int, float) else UNITS.get(name, "")
    values = ", ".join(setting.choices) or describe_limits(setting)
    users = "all" if len(tasks) == len(TASKS) else ", ".join(tasks)
    text, _ = text_and_default(setting.help)
    default = defaults_of_all_tasks(setting)
    meaning = (f"{text} [{default}]" if default else text).replace("|", "\\|")
    return f"| `{name}` | {TYPE_NAMES[kind]} | {unit} | {values} | {users} | {meaning} |"


def all_commands() -> list[tuple[str, Any]]:
    """Return the name and the click command of each command, without groups of commands."""
    found = []
    for name in COMMAND_SUMMARIES:
        command = load_command(name)
        children = getattr(command, "commands", None)
        found += (
            [(f"{name} {child}", each) for child, each in children.items() if not each.hidden]
            if children
            else [(name, command)]
        )
    return found


def _command_section(name: str, command: Any, usage: str, arguments: list[tuple[str, str]], titles: list[str]) -> str:
    paragraphs, examples = description_and_examples(command)
    lines = [f"## {name}\n", paragraphs[0] + "\n", f"    {usage}\n"]
    lines += [_bullet(*row) for row in arguments]
    lines += ["", "Examples:\n", *(f"    {example}" for example in examples)]
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
    RECORD_PAGE.write_text(render_record_fields(), encoding="utf-8")
