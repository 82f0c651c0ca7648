"""Print the log of the server on stderr. Text of clients is sanitized: it cannot control the terminal."""

import contextlib
import sys
import traceback

from artgen.system.terminal import printable

MAX_LOG_CHARS = 500
"""Limit of a line of the log. A longer line is cut."""


def log(text: str) -> None:
    """Print one line on stderr. Control characters and line breaks are replaced."""
    line = printable(text)[:MAX_LOG_CHARS]
    _print_lines([" ".join(line.split())])


def log_exception(error: BaseException) -> None:
    """Print the traceback of a bug. Each line is sanitized."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    _print_lines([printable(line)[:MAX_LOG_CHARS] for line in lines])


def _print_lines(lines: list[str]) -> None:
    with contextlib.suppress(OSError, ValueError):  # stderr is closed: the server continues without a log
        print(*lines, sep="\n", file=sys.stderr, flush=True)
