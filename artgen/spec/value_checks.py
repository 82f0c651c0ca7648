"""Check values that are not settings of a group."""

from artgen.errors import UsageError
from artgen.spec.fields import describe_value


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Check that a value is one of some choices.

    Raises:
        UsageError: the value is not a choice.
    """
    if value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(choices)}, not {describe_value(value)}.")


def check_range(name: str, value: int, minimum: int, maximum: int) -> None:
    """Check that a value is an integer within inclusive limits.

    Raises:
        UsageError: the value is not an integer, or is outside the limits.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise UsageError(f"{name} must be {minimum:,} to {maximum:,}, not {describe_value(value)}.")
