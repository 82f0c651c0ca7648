"""Lay out a help page: headings, paragraphs, examples and rows of a name and a text, within the width of the page."""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from artgen.cli.console import styled
from artgen.system.terminal import printable

MIN_COLUMNS = 40
MAX_COLUMNS = 100
MAX_NAME_COLUMNS = 28
"""Maximum width of the first of two columns."""
MIN_TEXT_COLUMNS = 36
"""Minimum width of the second column. If the page has less space, the text is below the name."""
INDENT = "  "

Row = tuple[str, str]
"""Name and text."""

_EXAMPLE_WORDS = re.compile(r'-\S+ (?!-)(?:"[^"]*"|\S)+|(?:"[^"]*"|\S)+')
"""Words of a command; an option and its value are one word."""


def page_columns() -> int:
    """Return the width of help pages: the width of the terminal, within limits."""
    return min(max(shutil.get_terminal_size((80, 24)).columns, MIN_COLUMNS), MAX_COLUMNS)


def wrap(text: str, columns: int, indent: str = "", hanging_indent: str | None = None) -> list[str]:
    """Return the lines of a paragraph. Words are not broken, also not at hyphens, so that options can be copied."""
    return textwrap.wrap(
        text,
        columns,
        initial_indent=indent,
        subsequent_indent=indent if hanging_indent is None else hanging_indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


class Page:
    """Collect the lines of a help page."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self._lines: list[str] = []

    def __str__(self) -> str:
        """Return the page."""
        return "\n".join(self._lines)

    def add_usage(self, program: str, arguments: str) -> None:
        """Add the line that shows how a command is called."""
        head = "Usage: "
        first, *rest = wrap(f"{head}{program} {arguments}", self.columns, "", " " * len(head))
        self._lines += [f"{_heading(head.rstrip())}{first[len(head) - 1 :]}", *rest]

    def add_paragraph(self, text: str) -> None:
        """Add a blank line and a paragraph."""
        self._lines += ["", *wrap(text, self.columns)]

    def add_examples(self, examples: Sequence[str]) -> None:
        """Add a section of commands. A line that continues a command can be copied into a shell."""
        if not examples:
            return
        self._add_heading("Examples" if len(examples) > 1 else "Example")
        for example in examples:
            self._lines += self._example_lines(example)

    def _example_lines(self, example: str) -> list[str]:
        if len(INDENT) + len(example) <= self.columns:
            return [f"{INDENT}{example}"]
        first, *words = _EXAMPLE_WORDS.findall(example)
        lines = [f"{INDENT}{first}"]
        for word in words:
            if len(lines[-1]) + len(word) + len(" \\") < self.columns:
                lines[-1] += f" {word}"
            else:
                lines[-1] += " \\"
                lines.append(f"{INDENT * 2}{word}")
        return lines

    def add_sections(self, sections: Mapping[str, Sequence[Row]], *, align: bool = False) -> None:
        """Add sections of a heading and rows of a name and a text.

        Args:
            sections: rows by heading.
            align: whether the texts of all sections start in the same column.
        """
        names = [name for rows in sections.values() for name, _ in rows] if align else []
        for title, rows in sections.items():
            self._add_heading(title)
            text_column = _text_column(names or [name for name, _ in rows])
            for name, text in rows:
                self._lines += self._row_lines(name, printable(text), text_column)

    def _row_lines(self, name: str, text: str, text_column: int) -> list[str]:
        plain = name.lstrip()
        if self.columns - text_column < MIN_TEXT_COLUMNS:
            names = [f"{INDENT}{styled(sys.stdout, part, fg='cyan')}" for part in self._split_name(plain)]
            return [*names, *wrap(text, self.columns, INDENT * 3)]
        shown = styled(sys.stdout, plain, fg="cyan")
        shown = f"{INDENT}{' ' * (len(name) - len(plain))}{shown}"
        lines = wrap(text, self.columns, " " * text_column)
        if len(INDENT) + len(name) + 2 > text_column or not lines:
            return [shown, *lines]
        padding = " " * (text_column - len(INDENT) - len(name))
        return [f"{shown}{padding}{lines[0].lstrip()}", *lines[1:]]

    def _split_name(self, name: str) -> list[str]:
        """Split a name that is longer than a line, at spaces or after `|`."""
        parts = [""]
        for piece in re.split(r"(?<=[ |])", name):
            if len(INDENT) + len((parts[-1] + piece).rstrip()) > self.columns:
                parts.append("")
            parts[-1] += piece
        return [part.rstrip() for part in parts]

    def _add_heading(self, title: str) -> None:
        self._lines += ["", f"{_heading(title)}:"]


def _text_column(names: Iterable[str]) -> int:
    """Return the column of the texts beside names. Longer names have their text on the next line."""
    widest = max((len(name) for name in names if len(name) <= MAX_NAME_COLUMNS), default=MAX_NAME_COLUMNS)
    return len(INDENT) + widest + 2


def _heading(text: str) -> str:
    return styled(sys.stdout, text, bold=True)
