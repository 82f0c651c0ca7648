"""Derive JSON Schemas (draft 2020-12) from data classes, typed dictionaries and settings, and convert values to JSON.

The description of a field is its entry in the section "Attributes" of the docstring. A field named `class_` has the key
`class` in JSON.
"""

import dataclasses
import inspect
import math
import re
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from artgen.spec.fields import Setting, options_of, settings_of, type_of

if TYPE_CHECKING:
    from artgen.spec.records import RecordField

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

_JSON_TYPES: Mapping[Any, str] = {
    str: "string",
    Path: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}


def object_schema(cls: type, fields: Collection[str] = ()) -> Schema:
    """Return the schema of the objects of a data class or of a typed dictionary.

    All fields of a data class are required. Objects may contain further keys, so that fields can be added.

    Args:
        cls: data class or typed dictionary.
        fields: names of the fields of the objects; empty for all.
    """
    descriptions = field_descriptions(cls)
    if dataclasses.is_dataclass(cls):
        names = required = [field.name for field in dataclasses.fields(cls)]
    else:
        names = list(typing.get_type_hints(cls))
        required = [name for name in names if name in cast(Any, cls).__required_keys__]
    hints = typing.get_type_hints(cls)
    properties = {
        _key(name): _described(type_schema(hints[name]), descriptions.get(name, ""))
        for name in names
        if not fields or name in fields
    }
    return {
        "type": "object",
        "properties": properties,
        "required": [_key(name) for name in required if _key(name) in properties],
    }


def type_schema(hint: Any) -> Schema:
    """Return the schema of the JSON values of a type.

    Raises:
        TypeError: values of the type have no JSON form.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in (Any, object):
        return {}
    if hint in _JSON_TYPES:
        return {"type": _JSON_TYPES[hint]}
    if origin in (types.UnionType, typing.Union):
        return _union_schema([type_schema(part) for part in arguments])
    if origin is Literal:
        return {"enum": list(arguments)}
    if dataclasses.is_dataclass(hint) or typing.is_typeddict(hint):
        return object_schema(cast(type, hint))
    if origin is tuple and Ellipsis not in arguments:
        items = [type_schema(part) for part in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin in (tuple, list) or (isinstance(origin, type) and issubclass(origin, Sequence)):
        return {"type": "array", "items": type_schema(arguments[0])}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": type_schema(arguments[1])}
    raise TypeError(f"{hint} has no JSON form")


def _union_schema(parts: list[Schema]) -> Schema:
    """Return the schema of a value that fits one of the schemas."""
    if all(part.keys() == {"type"} for part in parts):
        return {"type": [part["type"] for part in parts]}
    if len(parts) == 2 and {"type": "null"} in parts:
        return nullable(next(part for part in parts if part != {"type": "null"}))
    return {"anyOf": parts}


def nullable(schema: Schema) -> Schema:
    """Return the schema of a value that fits a schema or is null."""
    kinds = schema.get("type", [])
    if isinstance(kinds, str):
        kinds = [kinds]
    found = schema | ({"type": [*kinds, "null"]} if kinds and "null" not in kinds else {})
    return found | ({"enum": [*schema["enum"], None]} if "enum" in schema else {})


def settings_schema(group: type) -> Schema:
    """Return the schemas of the settings of a group or request that a record contains, by name."""
    return {name: _setting_schema(group, name) for name, setting in settings_of(group).items() if setting.recorded}


def record_properties(tasks: Iterable[str]) -> Schema:
    """Return the schemas of the fields of a record, by name: the provenance, and the settings of tasks."""
    from artgen.spec.records import PROVENANCE_FIELDS
    from artgen.spec.requests import TASKS

    properties = {name: _provenance_schema(field) for name, field in PROVENANCE_FIELDS.items()}
    for task in tasks:
        properties |= settings_schema(TASKS[task].request_class)
    return properties


def _provenance_schema(field: "RecordField") -> Schema:
    unit = f" Unit: {field.unit}." if field.unit else ""
    return type_schema(list[str] if field.kind is list else field.kind) | {"description": f"{field.meaning}{unit}"}


def _setting_schema(group: type, name: str) -> Schema:
    kind, setting = type_of(group, name)[0], settings_of(group)[name]
    schema: Schema = {"type": "array", "items": {"type": "string"}} if kind is tuple else {"type": _JSON_TYPES[kind]}
    for keyword, limit in (("minimum", setting.minimum), ("maximum", setting.maximum)):
        if limit is not None:
            schema[keyword] = limit
    if setting.choices:
        schema["enum"] = list(setting.choices)
    return schema | {"description": _without_default(setting)}


def _without_default(setting: Setting) -> str:
    """Return the help text of a setting without its default: JSON contains the value that is used."""
    return re.sub(r"\s*\[[^\[\]]*\]$", "", setting.help)


def group_schema(*groups: type) -> Schema:
    """Return the schema of an object with the settings of groups; a setting may be null."""
    properties: Schema = {}
    for group in groups:
        for name in options_of(group):
            schema = _setting_schema(group, name)
            properties[name] = nullable(schema) if type_of(group, name)[1] else schema
    return {"type": "object", "properties": properties, "required": list(properties)}


def field_descriptions(cls: type) -> dict[str, str]:
    """Return the texts of the section "Attributes" of a docstring, by name. `width, height: TEXT` describes two."""
    _, _, section = (inspect.getdoc(cls) or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if line.strip() and not line.startswith("    "):
            break
        if match := re.match(r"    (\w+(?:, \w+)*): (.*)", line):
            names = match[1].split(", ")
            found |= dict.fromkeys(names, match[2])
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def _described(schema: Schema, text: str) -> Schema:
    """Add the text of a docstring as the description. JSON has null instead of None."""
    text = re.sub(r"\bNone\b", "null", re.sub(r"(?<=\. )None\b", "Null", text))
    starts_with_value = any(text.startswith(f"{value}:") for value in schema.get("enum", ()))
    return schema | {"description": text if starts_with_value else text[:1].upper() + text[1:]}


def to_json(value: Any) -> Any:
    """Return a value as JSON: data classes as objects, paths as texts, and numbers that are not finite as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {_key(field.name): to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return [to_json(item) for item in value]


def _key(name: str) -> str:
    return name.rstrip("_")
