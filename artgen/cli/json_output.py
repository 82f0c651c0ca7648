"""Declare and print the JSON objects of `--json`, and print their JSON Schema for `--json-schema`.

A command declares its objects once, as a data class. The declaration gives the printed keys, the JSON Schema and
docs/json.md. Each object contains its schema number. The number increases if a field is removed, renamed or has another
type, not if a field is added.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from artgen.cli.console import print_json, print_text
from artgen.errors import UsageError

Function = TypeVar("Function", bound=Callable[..., None])


@dataclass(frozen=True)
class JsonOutput:
    """Declare the objects that a command prints with `--json`. Use it as a decorator of the command.

    Attributes:
        declare: returns the data class or the typed dictionary of the objects, or their JSON Schema. Slow modules are
            imported in this function.
        number: schema number of the objects.
        is_list: whether the command prints one object per line, instead of one object.
        has_record: whether the objects contain the fields of a record, which docs/record-fields.md lists.
    """

    declare: Callable[[], type | Mapping[str, Any]]
    number: int = 1
    is_list: bool = True
    has_record: bool = False

    def __call__(self, command: Function) -> Function:
        command.json_output = self  # type: ignore[attr-defined]
        return command

    def print(self, value: Any) -> None:
        """Print one object: a data class or a mapping."""
        print_json(self.json_object(value))

    def json_object(self, value: Any) -> dict[str, Any]:
        """Return the printed object of a data class or a mapping."""
        from artgen.spec.json_schema import to_json

        number = {"schema": self.number}
        return {**number, **to_json(value), **number}

    def schema(self, command_path: str) -> dict[str, Any]:
        """Return the JSON Schema of the objects.

        Args:
            command_path: name of the command, such as `artgen models list`.
        """
        from artgen.spec.json_schema import DIALECT, object_schema

        declared = self.declare()
        found = object_schema(declared) if isinstance(declared, type) else declared
        number = {"const": self.number, "type": "integer", "description": "Schema number of the object."}
        kind = "Each line" if self.is_list else "The object"
        return {
            "$schema": DIALECT,
            "$id": f"urn:{command_path.replace(' ', ':')}:{self.number}",
            "title": command_path,
            "description": f"{kind} that `{command_path} --json` prints.",
            **found,
            "properties": {"schema": number} | found["properties"] | {"schema": number},
            "required": ["schema", *found["required"]],
        }


def json_output(command: Any) -> JsonOutput | None:
    """Return the declaration of the objects of a command; None if it has no `--json`."""
    return getattr(command.callback, "json_output", None)


def print_schema(context: Any) -> None:
    """Print the JSON Schema of the objects that `--json` of a command prints.

    Raises:
        UsageError: the command has no `--json`.
    """
    found = json_output(context.command)
    if found is not None:
        print_text(json.dumps(found.schema(context.command_path), indent=2))
        return
    children = getattr(context.command, "commands", {})
    examples = [name for name, child in children.items() if json_output(child)] or ["txt2img"]
    prefix = context.command_path if children else "artgen"
    raise UsageError(
        f"Cannot print a JSON Schema: `{context.command_path}` has no --json.",
        f"Run for example `{prefix} {examples[0]} --json-schema`.",
    )
