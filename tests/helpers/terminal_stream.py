"""Represent a terminal in the process of the tests."""

import io


class TerminalStream(io.StringIO):
    """Represent a stream that is connected to a terminal with UTF-8."""

    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True
