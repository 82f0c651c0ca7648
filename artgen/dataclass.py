"""Define frozen dataclasses that are created faster than those of the standard library.

`dataclasses.dataclass` compiles six methods for each frozen class, which takes up to a third of the time of `--help`.
Here the classes share all methods except `__init__`.
"""

import dataclasses
from collections.abc import Callable
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # same arguments; type checkers know this name
else:

    def dataclass(cls=None, /, *, frozen=False, eq=True, repr=True, **options):  # noqa: A002
        """Return a dataclass, as `dataclasses.dataclass` does.

        Args:
            cls: class to convert; None returns a decorator.
            frozen: raise an error if a field of an instance is assigned.
            eq: compare fields, and make instances of a frozen class hashable.
            repr: show the fields.
            options: other arguments of `dataclasses.dataclass`.
        """
        if not frozen or options.get("slots") or options.get("order"):
            return dataclasses.dataclass(cls, frozen=frozen, eq=eq, repr=repr, **options)

        def convert(cls: type) -> type:
            converted = dataclasses.dataclass(cls, eq=False, repr=False, **options)
            methods = _FROZEN_METHODS | (_COMPARISON_METHODS if eq else {}) | (_REPR_METHODS if repr else {})
            for name, method in methods.items():
                if vars(converted).get(name) is None:
                    setattr(converted, name, method)
            return converted

        return convert if cls is None else convert(cls)


def _set_attribute(self: Any, name: str, value: object) -> None:
    """Set a field for the first time, which `__init__` does."""
    if name in self.__dict__ or name not in self.__dataclass_fields__:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
    object.__setattr__(self, name, value)


def _delete_attribute(self: Any, name: str) -> None:  # noqa: ARG001
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _compared_values(instance: Any) -> tuple[Any, ...]:
    return tuple(getattr(instance, field.name) for field in dataclasses.fields(instance) if field.compare)


def _equals(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return _compared_values(self) == _compared_values(other)


def _hash(self: Any) -> int:
    hashed = (field for field in dataclasses.fields(self) if (field.compare if field.hash is None else field.hash))
    return hash(tuple(getattr(self, field.name) for field in hashed))


@recursive_repr()
def _repr(self: Any) -> str:
    shown = (f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


_FROZEN_METHODS: dict[str, Callable[..., Any]] = {"__setattr__": _set_attribute, "__delattr__": _delete_attribute}
_COMPARISON_METHODS: dict[str, Callable[..., Any]] = {"__eq__": _equals, "__hash__": _hash}
_REPR_METHODS: dict[str, Callable[..., Any]] = {"__repr__": _repr}
