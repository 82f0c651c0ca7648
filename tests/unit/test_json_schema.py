"""Test the derivation of JSON Schemas from data classes, and the conversion of values to JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import pytest
from jsonschema import Draft202012Validator

from artgen.spec.json_schema import nullable, object_schema, record_properties, to_json, type_schema
from artgen.spec.records import PROVENANCE_FIELDS
from artgen.spec.requests import TASKS
from artgen.spec.settings import settings_of


@dataclass(frozen=True)
class Inner:
    """Store a value.

    Attributes:
        state: good: the value is valid. bad: it is not.
    """

    state: Literal["good", "bad"]


@dataclass(frozen=True)
class Outer:
    """Store values.

    Attributes:
        class_: name of the class; None if it is unknown.
        path: path of a file
            that has a long description. None is a missing file.
        width, height: size in pixels.
        inner: values by name.
    """

    class_: str | None
    path: Path | None
    width: int
    height: float
    inner: Mapping[str, tuple[Inner, ...]]


class Partial(TypedDict):
    """Store values.

    Attributes:
        first: first value.
        second: second value.
    """

    first: int
    second: NotRequired[int]


def test_a_data_class_gives_descriptions_and_required_keys() -> None:
    schema = object_schema(Outer)
    assert list(schema["properties"]) == schema["required"] == ["class", "path", "width", "height", "inner"]
    descriptions = {name: each["description"] for name, each in schema["properties"].items()}
    assert descriptions == {
        "class": "Name of the class; null if it is unknown.",
        "path": "Path of a file that has a long description. Null is a missing file.",
        "width": "Size in pixels.",
        "height": "Size in pixels.",
        "inner": "Values by name.",
    }
    inner = schema["properties"]["inner"]["additionalProperties"]["items"]
    assert inner["properties"]["state"]["description"] == "good: the value is valid. bad: it is not."
    assert object_schema(Outer, ["width"])["required"] == ["width"]


def test_a_typed_dictionary_has_optional_keys() -> None:
    schema = object_schema(Partial)
    assert list(schema["properties"]) == ["first", "second"]
    assert schema["required"] == ["first"]


@pytest.mark.parametrize(
    ("hint", "valid", "invalid"),
    [
        (str, "a", 1),
        (Path, "a", None),
        (bool, True, 1),
        (int, 2**64, 1.5),
        (float, 1, "1"),
        (int | None, None, "1"),
        (Any, object, ...),
        (tuple[str, ...], ["a", "b"], [1]),
        (list[int] | None, None, ["a"]),
        (tuple[int, int], [1, 2], [1]),
        (dict[str, int | None], {"a": None}, {"a": "b"}),
        (Literal["a", "b"], "a", "c"),
        (int | list[int], [1], ["a"]),
        (Inner | None, None, {"state": "other"}),
        (Partial, {"first": 1}, {"second": 1}),
    ],
)
def test_type_schemas_accept_valid_values_only(hint: Any, valid: object, invalid: object) -> None:
    schema = type_schema(hint)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert validator.is_valid(valid)
    assert invalid is ... or not validator.is_valid(invalid)


def test_types_without_a_json_form_are_refused() -> None:
    with pytest.raises(TypeError, match="no JSON form"):
        type_schema(bytes)


def test_nullable_schemas_accept_null_in_an_enumeration() -> None:
    validator = Draft202012Validator(nullable({"type": "string", "enum": ["a"]}))
    assert validator.is_valid(None)
    assert validator.is_valid("a")
    assert not validator.is_valid("b")


def test_values_fit_the_schema_of_their_class_and_are_finite() -> None:
    value = Outer("x", Path("a/b"), 2**64, float("inf"), {"a": (Inner("good"),)})
    printed = to_json(value)
    assert printed == {"class": "x", "path": "a/b", "width": 2**64, "height": None, "inner": {"a": [{"state": "good"}]}}
    assert to_json([float("nan"), (), {}, True, 1.5]) == [None, [], {}, True, 1.5]
    json.dumps(printed, allow_nan=False)


@pytest.mark.parametrize("task", TASKS)
def test_the_schema_of_a_record_has_all_fields(task: str) -> None:
    properties = record_properties([task])
    recorded = {name for name, each in settings_of(TASKS[task].request_class).items() if each.recorded}
    assert properties.keys() == recorded | PROVENANCE_FIELDS.keys()
    assert all(each["description"] and "type" in each for each in properties.values())
    assert properties["seed"]["maximum"] == 2**64 - 1
    Draft202012Validator.check_schema({"properties": properties})


def test_settings_of_several_tasks_have_one_type() -> None:
    """`batch` and `replay` have one schema for all tasks."""
    merged = record_properties(TASKS)
    for task in TASKS:
        for name, each in record_properties([task]).items():
            assert each.get("type") == merged[name].get("type"), name
