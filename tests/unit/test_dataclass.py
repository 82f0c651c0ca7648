"""Test that frozen dataclasses of artgen behave as those of the standard library."""

import copy
import dataclasses
import inspect
import pickle
import re
from dataclasses import FrozenInstanceError, field
from pathlib import Path

import pytest

import artgen
from artgen.dataclass import dataclass


@dataclass(frozen=True)
class Point:
    """Represent a point."""

    x: int
    y: int = 0
    name: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Circle(Point):
    """Represent a circle."""

    radius: float
    area: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "area", 3 * self.radius**2)


@dataclasses.dataclass(frozen=True)
class Reference:
    x: int
    y: int = 0
    name: str = field(default="", compare=False, repr=False)


def test_frozen_dataclass_equals_the_standard_one() -> None:
    point, reference = Point(1, name="p"), Reference(1, name="p")
    assert repr(point) == repr(reference).replace("Reference", "Point")
    assert hash(point) == hash(reference)
    assert point == Point(1, name="other")
    assert point != Point(2)
    assert point.__eq__(reference) is NotImplemented
    assert inspect.signature(Point).parameters.keys() == inspect.signature(Reference).parameters.keys()
    assert dataclasses.asdict(point) == dataclasses.asdict(reference)


def test_fields_of_frozen_dataclasses_are_set_once() -> None:
    for instance in (Point(1), Circle(x=1, radius=2.0), copy.copy(Point(1)), pickle.loads(pickle.dumps(Point(1)))):
        for name in ("x", "y", "new"):
            with pytest.raises(FrozenInstanceError):
                setattr(instance, name, 5)
            with pytest.raises(FrozenInstanceError):
                delattr(instance, name)
    assert dataclasses.replace(Circle(x=1, radius=2.0), radius=1.0) == Circle(x=1, radius=1.0)
    assert Circle(x=1, radius=2.0).area == 12


def test_methods_of_the_class_are_kept() -> None:
    @dataclass(frozen=True)
    class Named:
        name: str

        def __repr__(self) -> str:
            return self.name

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Named) and self.name.lower() == other.name.lower()

    assert repr(Named("A")) == "A"
    assert Named("A") == Named("a")
    assert hash(Named("A")) == hash(Named("A"))

    @dataclass(frozen=True, eq=False)
    class ByIdentity:
        name: str

    assert ByIdentity("a") != ByIdentity("a")
    assert len({ByIdentity("a"), ByIdentity("a")}) == 2


def test_frozen_classes_of_artgen_are_fast_dataclasses() -> None:
    root = Path(artgen.__file__).parent
    texts = {path.relative_to(root): path.read_text(encoding="utf-8") for path in root.rglob("*.py")}
    imports = re.compile(r"^from dataclasses import .*\bdataclass\b", re.MULTILINE)
    slow = [path for path, text in texts.items() if imports.search(text) and "@dataclass(frozen=True" in text]
    assert slow == []
