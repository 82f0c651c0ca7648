"""Generate docs/names-of-other-tools.md from `artgen.spec.synonyms`.

python docs/generate_names.py
"""

from pathlib import Path

from artgen.spec.settings import CONFIGURED_GROUPS, SETTING_GROUPS, options_of, settings_of
from artgen.spec.synonyms.commands import COMMAND_ROWS
from artgen.spec.synonyms.options import OPTION_ROWS
from artgen.spec.synonyms.unsupported import UNSUPPORTED_ROWS

PAGE = Path(__file__).with_name("names-of-other-tools.md")

HEADER = """# Names of other tools

`docs/generate_names.py` generates this page. Do not edit it.

The hint of an error about an unknown option, key or command contains the name in artgen. Case, dashes and underscores
have no meaning in these names.
"""


def render() -> str:
    """Return the content of the page."""
    options = [
        (_words(row.words), f"`{_flag(row.setting)}`", row.note, row.tools)
        for row in sorted(OPTION_ROWS, key=lambda row: row.setting)
    ]
    unsupported = [(_words(row.words), row.feature, row.alternative, row.tools) for row in UNSUPPORTED_ROWS]
    commands = [(_words(row.words, row.group), row.hint, row.tools) for row in COMMAND_ROWS]
    return "\n".join(
        [
            HEADER,
            *_table("Options", ("name", "option of artgen", "difference", "tools"), options),
            *_table("Not supported", ("name", "feature", "alternative", "tools"), unsupported),
            *_table("Commands", ("name", "hint", "tools"), commands),
        ]
    )


def _words(text: str, group: str = "") -> str:
    return ", ".join(f"`{group} {word}`".replace("` ", "`") for word in text.split())


def _flag(setting: str) -> str:
    name, _, value = setting.partition("=")
    if any(name in options_of(group) for group in CONFIGURED_GROUPS):
        return f"artgen config set {name}"
    spec = next(settings_of(group)[name] for group in SETTING_GROUPS if name in options_of(group))
    dashed = next(reversed(spec.flags), f"--{name.replace('_', '-')}").partition("/")[0][2:]
    return f"--no-{dashed}" if value == "false" else f"--{dashed} {value}".rstrip()


def _table(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [f"## {title}", "", f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    return [*lines, *(f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows), ""]


if __name__ == "__main__":
    PAGE.write_text(render(), "utf-8")
