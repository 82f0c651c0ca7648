"""Parse `.jsonl` and `.json` prompt files."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from artgen.errors import InputFileError, UsageError
from artgen.queue.entries import Entry, LineError
from artgen.queue.job_settings import entry_or_error, parse_defaults, parse_settings
from artgen.queue.keys import Keys
from artgen.queue.line_sources import decode_lines
from artgen.spec.fields import describe_value
from artgen.system.external_data import parse_json

_HINT = '{"prompt": "a red fox", "seed": 7}'
_JSON_TOKEN = re.compile(r'"(?:\\.|[^"\\])*+"|[\[\]{},:]|[^\s\[\]{},:"]++')


def parse_jsonl(source: str, data: bytes, keys: Keys) -> Iterator[Entry | LineError]:
    """Yield the jobs of a `.jsonl` file: one object per line; an object `{"defaults": {...}}` sets defaults."""
    defaults: dict[str, Any] = {}
    for line in decode_lines(source, data):
        if isinstance(line, LineError):
            yield line
            continue
        number, text = line
        if not text.strip():
            continue
        item = entry_or_error(source, number, _parse_object, text)
        if isinstance(item, Entry) and set(item.setting_values) == {"defaults"}:
            item = entry_or_error(source, number, parse_defaults, item.setting_values["defaults"], keys)
            if isinstance(item, Entry):
                defaults = dict(item.setting_values)
                continue
        elif isinstance(item, Entry):
            item = entry_or_error(source, number, parse_settings, item.setting_values, keys)
        yield item if isinstance(item, LineError) else Entry(source, number, item.setting_values, defaults, item.notes)


def _parse_object(text: str, on_note: Callable[[str], None]) -> dict[str, Any]:  # noqa: ARG001
    try:
        value = parse_json(text, unique_keys=True)
    except ValueError as error:
        raise UsageError(f"Cannot parse the line as JSON: {error}.", _HINT) from error
    if not isinstance(value, dict):
        raise UsageError(
            f"Cannot use {describe_value(value)} as a line: it is not an object.", '{"prompt": "a red fox"}'
        )
    return value


def parse_json_file(source: str, data: bytes, keys: Keys) -> Iterator[Entry | LineError]:
    """Yield the jobs of a `.json` file: a list of prompts and objects, an object, or `{"defaults": {}, "jobs": []}`."""
    try:
        text = data.decode("utf-8")
        value = parse_json(text, unique_keys=True)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        yield LineError(source, line, InputFileError("Cannot decode the file as UTF-8.", "Save the file as UTF-8."))
        return
    except ValueError as error:
        yield LineError(source, 1, UsageError(f"Cannot parse the file as JSON: {error}.", f"[{_HINT}]"))
        return
    defaults: dict[str, Any] = {}
    jobs, depth = [value], 0
    if isinstance(value, list):
        jobs, depth = value, 1
    elif isinstance(value, dict) and isinstance(value.get("jobs"), list) and set(value) <= {"jobs", "defaults"}:
        jobs, depth = value["jobs"], 2
        item = entry_or_error(source, 1, parse_defaults, value.get("defaults", {}), keys)
        if isinstance(item, LineError):
            yield item
        else:
            defaults = dict(item.setting_values)
    elif isinstance(value, dict) and _is_graph(value):
        reason = UsageError("Cannot use a ComfyUI graph as a prompt file.", f"artgen replay '{source}'")
        yield LineError(source, 1, reason)
        return
    for number, job in zip(_lines_of_items(text, depth), jobs, strict=False):
        item = entry_or_error(source, number, parse_settings, {"prompt": job} if isinstance(job, str) else job, keys)
        yield item if isinstance(item, LineError) else Entry(source, number, item.setting_values, defaults, item.notes)


def _is_graph(value: dict[str, Any]) -> bool:
    return "nodes" in value or any(isinstance(node, dict) and "class_type" in node for node in value.values())


def _lines_of_items(text: str, depth: int) -> Iterator[int]:
    """Yield the line of each item of the list at nesting level `depth` (`{"jobs": [...]}` is 2); of the value at 0."""
    if depth == 0:
        yield text.count("\n", 0, len(text) - len(text.lstrip())) + 1
        return
    level, line, position, expects_item, in_jobs = 0, 1, 0, False, depth == 1
    previous = ["", ""]
    for match in _JSON_TOKEN.finditer(text):
        line += text.count("\n", position, match.start())
        position = match.start()
        token = match[0]
        if depth == 2 and level == 1 and token == "[":
            in_jobs = previous == ['"jobs"', ":"]
        if level == depth and expects_item and in_jobs and token != "]":
            yield line
            expects_item = False
        if token in "[{":
            level += 1
            expects_item = level == depth
        elif token in "]}":
            level -= 1
        elif token == "," and level == depth:
            expects_item = True
        previous = [previous[1], token]
