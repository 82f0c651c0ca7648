"""Print the log of the server on stderr. Text of clients is sanitized: it cannot control the terminal."""

import sys
import traceback

from artgen.system.terminal import printable

MAX_LOG_CHARS = 500
"""Limit of a line of the log. A longer line is cut."""


def log(text: str) -> None:
    """Print one line on stderr. Control characters and line breaks are replaced."""
    line = printable(text)[:MAX_LOG_CHARS]
    print(" ".join(line.split()), file=sys.stderr, flush=True)


def log_exception(error: BaseException) -> None:
    """Print the traceback of a bug. Each line is sanitized."""
    for line in "".join(traceback.format_exception(error)).splitlines():
        print(printable(line)[:MAX_LOG_CHARS], file=sys.stderr)
    sys.stderr.flush()
