"""Generate docs/json.md from the declarations of the JSON objects.

python docs/generate_json.py
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from generate_commands import all_commands

from artgen.cli.json_output import JsonOutput, json_output
from artgen.spec.json_schema import record_properties
from artgen.spec.requests import TASKS

PAGE = Path(__file__).with_name("json.md")
HEADER = """# JSON output

`docs/generate_json.py` generates this page from the code. Do not edit it.

With `--json`, a command prints JSON objects to stdout: one object per line (JSON Lines). Everything else is on stderr.
`artgen COMMAND --json-schema` prints the JSON Schema (draft 2020-12) of the objects of a command, for example
`artgen models list --json-schema`.

```sh
artgen txt2img "a small green tree" --seed 7 --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["file"])'
artgen txt2img --json-schema > image.schema.json
```

## Rules

- **Schema number.** Each object has the key `schema`. The number increases if a field is removed, is renamed, or has
  another type or meaning. A new field does not change the number: ignore unknown fields.
- **Missing values.** A field without a value is `null`, and a list without values is `[]`. Fields of a
  [record](record-fields.md) and fields that are marked as optional are left out instead.
- **Errors.** A failed image or file has no object. The message is on stderr, and the
  [exit code](scripting.md#exit-codes) is not 0. The objects of the other images and files are printed. With exit code
  5, `models verify`, `batch verify` and `doctor` print all objects.
- **Batches.** An image that exists already has no object. `artgen info --json FOLDER/*.png` prints the records of all
  images.
- **Numbers** are finite: a value such as an infinite PSNR is `null`. A seed can have 64 bits. Some programs, such as jq
  before 1.7, round numbers above 2^53.
- **Texts** are printed in ASCII with escapes such as `\\u00e9`. A byte of a file name that is not valid UTF-8 is one of
  the escapes `\\udc80` to `\\udcff`, as in `os.fsdecode` of Python.
- **Paths** are relative to the working directory if the path on the command line is relative.
- **Dry run.** With `--dry-run`, the objects have the same schema. Fields that only the generation determines are left
  out or `null`.
- **Secrets**, such as tokens of Civitai, are never printed.

An object of an image is a line of a [prompt file](batches.md): `artgen batch` reads the output of `--json`, and of
`artgen info --json`.
"""

FOLLOW = {"[]": "items", ".*": "additionalProperties"}
"""Suffix of a name in the tables, and the keyword of the schema of the values."""


def render() -> str:
    """Return the page: one section for each command with `--json`; commands with the same fields share a section."""
    sections: dict[str, list[str]] = {}
    outputs: dict[str, JsonOutput] = {}
    for name, command in all_commands():
        if found := json_output(command):
            table = _table(found, name)
            sections.setdefault(table, []).append(name)
            outputs[table] = found
    parts = [HEADER]
    for table, names in sections.items():
        found = outputs[table]
        count = "one object per line" if found.is_list else "one object"
        parts.append(f"## {', '.join(names)}\n\nSchema {found.number}, {count}.\n\n{table}")
    return "\n".join(parts)


def _table(output: JsonOutput, name: str) -> str:
    """Return the fields as a table. Fields of records are on another page."""
    schema = output.schema(name)
    recorded = record_properties(TASKS) if output.has_record else {}
    properties = {key: value for key, value in schema["properties"].items() if key == "schema" or key not in recorded}
    rows = _rows({**schema, "properties": properties}, "")
    lines = ["| field | type | meaning |", "|---|---|---|"]
    lines += [f"| `{field}` | {kind} | {' '.join(text.split())} |" for field, kind, text in rows]
    if output.has_record:
        lines.append("\nThe objects also contain the fields of the [record](record-fields.md).")
    return "\n".join(lines) + "\n"


def _rows(schema: dict[str, Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, type and description of each field of an object, and of the objects in it."""
    for key, value in schema["properties"].items():
        optional = "" if key in schema["required"] else ", optional"
        yield prefix + key, _type_name(value) + optional, value.get("description", "").replace("|", "\\|")
        inner, suffix = value, ""
        while follow := next((each for each, keyword in FOLLOW.items() if inner.get(keyword)), None):
            inner, suffix = inner[FOLLOW[follow]], suffix + follow
        if "properties" in inner:
            yield from _rows(inner, f"{prefix}{key}{suffix}.")


def _type_name(schema: dict[str, Any]) -> str:
    """Return the type of a value in words, such as `list of text, or null`."""
    if "anyOf" in schema:
        return " or ".join(map(_type_name, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join("null" if value is None else f"`{value}`" for value in schema["enum"])
    kinds = schema.get("type", "any")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return ", or ".join(_kind_name(kind, schema) for kind in kinds)


def _kind_name(kind: str, schema: dict[str, Any]) -> str:
    if kind == "array" and "prefixItems" in schema:
        return f"list of {len(schema['prefixItems'])} values: {_type_name(schema['prefixItems'][0])}"
    if kind == "array":
        return f"list of {_type_name(schema['items']).replace(', or ', ' or ')}"
    if kind == "object" and schema.get("additionalProperties"):
        return f"map of {_type_name(schema['additionalProperties']).replace(', or ', ' or ')}"
    return {"string": "text", "boolean": "true or false"}.get(kind, kind)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
