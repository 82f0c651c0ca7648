"""Describe the limits of a setting for messages."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from artgen.spec.fields import Setting


def nearest_value(name: str, setting: "Setting", is_minimum: bool) -> str:
    """Return the option with the limit that a value is beyond, such as `--steps 1`."""
    flag = setting.flags[-1].partition("/")[0] if setting.flags else f"--{name.replace('_', '-')}"
    limit = setting.minimum if is_minimum else setting.maximum
    return f"{flag} {limit if isinstance(limit, int) else f'{limit:g}'}"


def describe_limits(setting: "Setting") -> str:
    """Return the limits as `1 to 1,000`, or an empty string for a setting without limits."""
    if setting.minimum is None or setting.maximum is None:
        return ""
    return f"{setting.minimum:,} to {setting.maximum:,}".removesuffix(".0")
