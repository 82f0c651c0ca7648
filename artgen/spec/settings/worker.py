"""Declare the settings of the worker."""

import re
from dataclasses import dataclass

from artgen.errors import UsageError
from artgen.spec.fields import describe_value, option

MAX_KEEP_ALIVE_SECONDS = 30 * 86_400.0

_TIME = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smhd])", re.ASCII)
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """Store the settings of the worker. Only configuration files and the environment set them."""

    worker: bool | None = option(
        None,
        "Run commands in a resident process, and start it if none runs. If unset, commands use a process that `artgen "
        "worker start` started.",
        recorded=False,
        in_prompt_file=False,
        affects=(),
    )
    max_loaded: int = option(
        2,
        "Maximum number of models that the worker keeps loaded. [2]",
        minimum=1,
        maximum=100,
        recorded=False,
        in_prompt_file=False,
        affects=(),
    )
    keep_alive: str = option(
        "10m",
        "Idle time after which the worker exits, such as 90s, 10m, 1.5h or 1d. [10m]",
        metavar="TIME",
        recorded=False,
        in_prompt_file=False,
        affects=(),
    )


def parse_keep_alive(text: str) -> float:
    """Return the seconds of a time such as `90s`, `10m`, `1.5h` or `1d`.

    Raises:
        UsageError: the text is not a time of 1 second to 30 days.
    """
    seconds = _seconds(text)
    if seconds is None:
        is_minutes = 1 <= (_seconds(f"{text.strip()}m") or 0) <= MAX_KEEP_ALIVE_SECONDS
        hint = f"Did you mean {text.strip()}m?" if is_minutes else "Units: s, m, h, d."
        raise UsageError(f"keep_alive must be a time such as 10m, not {describe_value(text)}.", hint)
    if not 1 <= seconds <= MAX_KEEP_ALIVE_SECONDS:
        raise UsageError(f"keep_alive must be 1s to 30d, not {describe_value(text)}.")
    return seconds


def _seconds(text: str) -> float | None:
    match = _TIME.fullmatch(text.strip().lower())
    return float(match[1]) * _UNIT_SECONDS[match[2]] if match else None
