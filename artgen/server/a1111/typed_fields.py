"""Read the typed fields of a request. Numbers may be texts, as in A1111. Null is a missing field."""

from collections.abc import Mapping
from typing import Any

from artgen.metadata.external_record import coerce
from artgen.server.a1111.errors import FieldError
from artgen.spec.fields import describe_value


def read_integer(body: Mapping[str, Any], name: str, default: int, minimum: int, maximum: int) -> int:
    """Return a whole number.

    Raises:
        FieldError: the value is not a whole number, or outside the limits.
    """
    value = body.get(name)
    if value is None:
        return default
    number = coerce(value, int)
    if not isinstance(number, int):
        raise FieldError(f"{name} must be a whole number, not {describe_value(value)}.", name)
    if not minimum <= number <= maximum:
        raise FieldError(f"{name} must be {minimum} to {maximum}, not {number}.", name)
    return number


def read_number(body: Mapping[str, Any], name: str, default: float, minimum: float, maximum: float) -> float:
    """Return a finite number.

    Raises:
        FieldError: the value is not a number, or outside the limits.
    """
    value = body.get(name)
    if value is None:
        return default
    number = coerce(value, float)
    if not isinstance(number, float):
        raise FieldError(f"{name} must be a number, not {describe_value(value)}.", name)
    if not minimum <= number <= maximum:
        raise FieldError(f"{name} must be {minimum:g} to {maximum:g}, not {number:g}.", name)
    return number


def read_text(body: Mapping[str, Any], name: str) -> str:
    """Return a text; an empty text for a missing field.

    Raises:
        FieldError: the value is not a text.
    """
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FieldError(f"{name} must be a text, not {describe_value(value)}.", name)
    return value


def read_flag(body: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    """Return a truth value. 0 and 1 are also accepted.

    Raises:
        FieldError: the value is not a truth value.
    """
    value = body.get(name)
    if value is None:
        return default
    if value not in (False, True):
        raise FieldError(f"{name} must be true or false, not {describe_value(value)}.", name)
    return bool(value)


def read_object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object; an empty one for a missing field.

    Raises:
        FieldError: the value is not an object.
    """
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise FieldError(f"{name} must be an object, not {describe_value(value)}.", name)
    return value


def read_list(body: Mapping[str, Any], name: str) -> list[Any]:
    """Return a list; an empty one for a missing field.

    Raises:
        FieldError: the value is not a list.
    """
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise FieldError(f"{name} must be a list, not {describe_value(value)}.", name)
    return value
