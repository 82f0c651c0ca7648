"""Parse prompt files (`.txt`, `.jsonl`, `.csv`, `.yaml`) to entries and errors with line numbers."""

import codecs
import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from artgen.errors import ArtgenError, InputFileError, UsageError
from artgen.queue.entries import LINE_SETTINGS, Entry, LineError, parse_data_value, parse_text_value, setting_name
from artgen.queue.prompt_line import parse_prompt_line
from artgen.spec.lora import LoraSpec, parse_lora
from artgen.spec.records import JSON_ONLY_KEYS, PROVENANCE_FIELDS, RECORD_SCHEMA, check_provenance
from artgen.spec.requests import TASKS
from artgen.spec.settings import options_of, path_settings, unknown_setting_error

STDIN = "-"
PROMPT_FILE_SUFFIXES = (".txt", ".jsonl", ".csv", ".yaml", ".yml")
_PATH_SETTINGS = tuple(name for name, group in LINE_SETTINGS.items() if name in path_settings(group))

NumberedLine = tuple[int, str]


def read_prompt_file(path: Path) -> Iterator[Entry | LineError]:
    """Yield the entries of a prompt file in order, and an error for each invalid line.

    Paths of images are relative to the prompt file. Paths of LoRAs are first tried relative to the prompt file.

    Args:
        path: the file; its suffix selects the format. `-` is stdin in the `.txt` format.

    Raises:
        InputFileError: the file cannot be read, or its format is unknown.
    """
    source = "stdin" if str(path) == STDIN else str(path)
    suffix = ".txt" if str(path) == STDIN else path.suffix.lower()
    if suffix not in PROMPT_FILE_SUFFIXES:
        raise InputFileError(
            f"Cannot read '{path}' as a prompt file: its suffix is unknown.",
            f"Use one of the suffixes {', '.join(PROMPT_FILE_SUFFIXES)}.",
        )
    items: Iterator[Entry | LineError] = _PARSERS[suffix](source, _read_bytes(path))
    folder = Path() if str(path) == STDIN else path.parent
    for item in items:
        if isinstance(item, LineError):
            yield item
        else:
            yield Entry(
                item.source,
                item.line,
                _resolve_paths(folder, item.setting_values),
                _resolve_paths(folder, item.defaults),
            )


def _read_bytes(path: Path) -> bytes:
    try:
        data = sys.stdin.buffer.read() if str(path) == STDIN else path.read_bytes()
    except OSError as error:
        raise InputFileError(f"Cannot read '{path}': {error.strerror or error}.", "Check the path.") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputFileError(f"Cannot read '{path}': its encoding is UTF-16, not UTF-8.", "Save it as UTF-8.")
    return data.removeprefix(codecs.BOM_UTF8)


def _resolve_paths(folder: Path, setting_values: Mapping[str, Any]) -> Mapping[str, Any]:
    if not any(name in setting_values for name in (*_PATH_SETTINGS, "lora")):
        return setting_values
    resolved: dict[str, Any] = {
        name: folder / setting_values[name] for name in _PATH_SETTINGS if isinstance(setting_values.get(name), Path)
    }
    if isinstance(setting_values.get("lora"), tuple):
        resolved["lora"] = tuple(_resolve_lora(folder, text) for text in setting_values["lora"])
    return {**setting_values, **resolved}


def _resolve_lora(folder: Path, lora_text: Any) -> Any:
    """Return the path of a LoRA relative to the prompt file. A name without a file there can be in the LoRA folder."""
    try:
        lora = parse_lora(lora_text)
    except (ArtgenError, AttributeError):
        return lora_text  # the validation of the request reports the error
    path = folder / lora.name
    is_name = Path(lora.name).name == lora.name
    exists = any(file.is_file() for file in (path, Path(f"{path}.safetensors")))
    return lora_text if is_name and not exists else str(LoraSpec(str(path), lora.scale))


def _decode_lines(source: str, data: bytes) -> Iterator[NumberedLine | LineError]:
    """Yield the lines of a file with their numbers, and an error for each line that is not text."""
    for number, raw in enumerate(data.split(b"\n"), 1):
        try:
            text = raw.rstrip(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            reason = f"Cannot decode the line as UTF-8: byte 0x{raw[error.start]:02x} in column {error.start + 1}."
            yield LineError(source, number, InputFileError(reason, "Save the file as UTF-8."))
            continue
        if "\0" in text:
            yield LineError(
                source,
                number,
                InputFileError("Cannot parse the line: it contains a NUL character.", "Remove the character."),
            )
        else:
            yield number, text


def _parse_txt(source: str, data: bytes) -> Iterator[Entry | LineError]:
    for line in _decode_lines(source, data):
        if isinstance(line, LineError):
            yield line
            continue
        number, text = line
        text = text.strip()
        if not text or text.startswith("#"):
            continue
        yield _entry_or_error(
            source, number, parse_prompt_line, text.removeprefix("\\") if text.startswith("\\#") else text
        )


def _parse_jsonl(source: str, data: bytes) -> Iterator[Entry | LineError]:
    defaults: dict[str, Any] = {}
    for line in _decode_lines(source, data):
        if isinstance(line, LineError):
            yield line
            continue
        number, text = line
        if not text.strip():
            continue
        item = _entry_or_error(source, number, _parse_json_object, text)
        if isinstance(item, Entry) and set(item.setting_values) == {"defaults"}:
            item = _entry_or_error(source, number, _parse_defaults, item.setting_values["defaults"])
            if isinstance(item, Entry):
                defaults = dict(item.setting_values)
                continue
        elif isinstance(item, Entry):
            item = _entry_or_error(source, number, _parse_settings, item.setting_values)
        yield Entry(source, number, item.setting_values, defaults) if isinstance(item, Entry) else item


def _parse_json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"Cannot parse the line as JSON: {error}.", '{"prompt": "a red fox", "seed": 7}') from error
    if not isinstance(value, dict):
        raise UsageError(
            f"Cannot use {type(value).__name__} as a line: it is not an object.", '{"prompt": "a red fox"}'
        )
    return value


def _parse_settings(values: Any) -> dict[str, Any]:
    """Return the settings of a JSON or YAML job."""
    if not isinstance(values, dict):
        raise UsageError(f"Cannot use {type(values).__name__} as a job: it is not a mapping.", "prompt: a red fox")
    fields = {str(key): value for key, value in values.items() if value is not None}
    if "artgen" not in fields:
        return {name: parse_data_value(name, value) for key, value in fields.items() if (name := setting_name(key))}
    for name in _non_setting_keys(fields) & PROVENANCE_FIELDS.keys() & fields.keys():
        check_provenance(name, fields[name])
    return _parse_record(fields, parse_data_value)


def _parse_defaults(values: Any) -> dict[str, Any]:
    """Return the settings of the defaults section, which may be a record without unknown fields."""
    parsed = _parse_settings(values)
    for name in parsed.get("unknown_fields", ()):
        raise UsageError(*unknown_setting_error(name, LINE_SETTINGS))
    return parsed


def _parse_record(fields: Mapping[str, Any], parse_value: Callable[[str, Any], Any]) -> dict[str, Any]:
    """Return the settings of a job that is the record of an image. The provenance is ignored.

    The result also contains `unknown_fields` if there are any, and `schema` if it is newer than `RECORD_SCHEMA`.
    """
    ignored, task = _non_setting_keys(fields), _record_task(fields)
    all_settings = {name for each in TASKS.values() for name in options_of(each.request_class)}
    settings_of_other_tasks = all_settings - options_of(TASKS[task].request_class).keys() if task else set()
    parsed: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for key, value in fields.items():
        if key in ignored:
            continue
        try:
            name = setting_name(key)
        except UsageError:
            unknown[key] = value
            continue
        if name in settings_of_other_tasks:
            unknown[key] = value
        else:
            parsed[name] = parse_value(name, value)
    if unknown:
        parsed["unknown_fields"] = unknown
    schema = fields.get("schema")
    return {**parsed, "schema": schema} if isinstance(schema, int) and schema > RECORD_SCHEMA else parsed


def _record_task(fields: Mapping[str, Any]) -> str | None:
    task = fields.get("task")
    return task if isinstance(task, str) and task in TASKS else None


def _non_setting_keys(fields: Mapping[str, Any]) -> set[str]:
    """Return the keys of an image record that are not settings."""
    task = _record_task(fields)
    setting_names = options_of(TASKS[task].request_class) if task else LINE_SETTINGS
    return {*JSON_ONLY_KEYS, *PROVENANCE_FIELDS} - {"task", *setting_names}


def _parse_csv(source: str, data: bytes) -> Iterator[Entry | LineError]:
    text: list[str] = []
    for line in _decode_lines(source, data):
        if isinstance(line, LineError):
            yield line
        text.append("" if isinstance(line, LineError) else line[1])
    rows = csv.reader(io.StringIO("\n".join(text)), strict=True)
    header: list[str] | None = None
    start = 1
    try:
        for row in rows:
            if header is None and row:
                is_record = "artgen" in row
                header = [cell.strip() if is_record else setting_name(cell) for cell in row]
            elif header is not None and any(cell.strip() for cell in row):
                yield _entry_or_error(source, start, _parse_csv_row, header, row)
            start = rows.line_num + 1
    except csv.Error as error:
        yield LineError(source, start, UsageError(f"Cannot parse the CSV file from this row: {error}."))
    except UsageError as error:
        yield LineError(source, start, UsageError(f"Cannot parse the header row: {error.message}", error.hint))


def _parse_csv_row(header: list[str], row: list[str]) -> dict[str, Any]:
    if len(row) > len(header):
        raise UsageError(f"Cannot use {len(row)} cells: the header has {len(header)}.", "Quote cells with commas.")
    cells = {name: cell.strip() for name, cell in zip(header, row, strict=False) if cell.strip()}
    if "artgen" in cells:
        return _parse_record(cells, parse_text_value)
    return {name: parse_text_value(name, cell) for key, cell in cells.items() if (name := setting_name(key))}


def _parse_yaml(source: str, data: bytes) -> Iterator[Entry | LineError]:
    import yaml

    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    try:
        reader = loader(data.decode("utf-8"))
        top = reader.get_single_node()
        if top is None:
            return
        defaults: dict[str, Any] = {}
        jobs = top
        if isinstance(top, yaml.MappingNode):
            parts = {key.value: (key, value) for key, value in top.value}
            for name in parts.keys() - {"defaults", "jobs"}:
                line = parts[name][0].start_mark.line + 1
                yield LineError(
                    source,
                    line,
                    UsageError(f"Cannot use the section {name!r}: it is unknown.", "Use defaults: and jobs:."),
                )
            if "defaults" in parts:
                node = parts["defaults"][1]
                item = _entry_or_error(
                    source, node.start_mark.line + 1, _parse_defaults, reader.construct_document(node)
                )
                if isinstance(item, LineError):
                    yield item
                else:
                    defaults = dict(item.setting_values)
            jobs = parts["jobs"][1] if "jobs" in parts else top
        if not isinstance(jobs, yaml.SequenceNode):
            line = jobs.start_mark.line + 1
            yield LineError(
                source, line, UsageError("Cannot find the list of jobs.", "Write a list, or a list under jobs:.")
            )
            return
        for node in jobs.value:
            line = node.start_mark.line + 1
            value = reader.construct_document(node)
            item = _entry_or_error(
                source, line, _parse_settings, {"prompt": value} if isinstance(value, str) else value
            )
            yield Entry(source, line, item.setting_values, defaults) if isinstance(item, Entry) else item
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        yield LineError(source, line, InputFileError("Cannot decode the file as UTF-8.", "Save the file as UTF-8."))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error)
        yield LineError(source, mark.line + 1 if mark else 0, UsageError(f"Cannot parse the file as YAML: {reason}."))


def _entry_or_error(source: str, line: int, parse: Callable[..., dict[str, Any]], *arguments: Any) -> Entry | LineError:
    try:
        return Entry(source, line, parse(*arguments))
    except ArtgenError as error:
        return LineError(source, line, error)


_PARSERS: dict[str, Callable[[str, bytes], Iterator[Entry | LineError]]] = {
    ".txt": _parse_txt,
    ".jsonl": _parse_jsonl,
    ".csv": _parse_csv,
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
}
