"""Parse TOML files of the user."""

from typing import Any

from artgen.errors import InputFileError

_MAX_DOTS = 100
"""Limit for a line of a configuration file. tomllib needs quadratic time for keys with many dots."""


def parse_toml(data: bytes, subject: str) -> dict[str, Any]:
    """Parse a TOML file of the user.

    Args:
        data: content of the file.
        subject: description of the file in the message.

    Raises:
        InputFileError: the content is not valid TOML. The message contains the line.
    """
    import tomllib  # imported here: most users have no configuration file

    try:
        if any(line.count(b".") > _MAX_DOTS for line in data.splitlines()):
            raise ValueError(f"a line has more than {_MAX_DOTS} dots")
        return tomllib.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        reason = "its values are nested too deeply" if isinstance(error, RecursionError) else f"{error}".rstrip(".")
        if "set_int_max_str_digits" in reason:
            reason = "a number has thousands of digits"
        raise InputFileError(f"Cannot read {subject}: it is not valid TOML: {reason}.", "Edit the file.") from error
