"""Prompt files: `.txt`, `.jsonl`, `.csv` and `.yaml` to entries, each mistake with its line."""

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
from artgen.spec.records import JSON_ONLY_KEYS, PROVENANCE_KEYS
from artgen.spec.requests import TASKS
from artgen.spec.settings import options_of, path_settings

STDIN = "-"
PROMPT_FILE_SUFFIXES = (".txt", ".jsonl", ".csv", ".yaml", ".yml")
_PATH_SETTINGS = tuple(name for name, group in LINE_SETTINGS.items() if name in path_settings(group))

NumberedLine = tuple[int, str]


def read_prompt_file(path: Path) -> Iterator[Entry | LineError]:
    """The entries of a prompt file, in order. `-` is stdin, with a prompt a line.

    A picture that a file names is looked for beside that file, and a LoRA first of all.

    Args:
        path: the file; its suffix says what is in it.

    Raises:
        InputFileError: the file cannot be read, or is none of these formats.
    """
    source = "stdin" if str(path) == STDIN else str(path)
    suffix = ".txt" if str(path) == STDIN else path.suffix.lower()
    if suffix not in PROMPT_FILE_SUFFIXES:
        raise InputFileError(f"'{path}' is no prompt file.", f"Prompt files end in {', '.join(PROMPT_FILE_SUFFIXES)}.")
    found: Iterator[Entry | LineError] = _PARSERS[suffix](source, _read_bytes(path))
    folder = Path() if str(path) == STDIN else path.parent
    for item in found:
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
        raise InputFileError(f"'{path}' cannot be read: {error.strerror or error}.", "Check the path.") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputFileError(f"'{path}' is UTF-16; prompt files are UTF-8.", "Save it as UTF-8.")
    return data.removeprefix(codecs.BOM_UTF8)


def _resolve_paths(folder: Path, setting_values: Mapping[str, Any]) -> Mapping[str, Any]:
    if not any(name in setting_values for name in (*_PATH_SETTINGS, "lora")):
        return setting_values
    found: dict[str, Any] = {
        name: folder / setting_values[name] for name in _PATH_SETTINGS if isinstance(setting_values.get(name), Path)
    }
    if isinstance(setting_values.get("lora"), tuple):
        found["lora"] = tuple(_resolve_lora(folder, text) for text in setting_values["lora"])
    return {**setting_values, **found}


def _resolve_lora(folder: Path, lora_text: Any) -> Any:
    """A LoRA's path beside the file; a bare name that is not there may be one of the user's own folder."""
    try:
        lora = parse_lora(lora_text)
    except (ArtgenError, AttributeError):
        return lora_text  # the request says what is wrong
    beside = folder / lora.name
    bare = Path(lora.name).name == lora.name
    there = any(file.is_file() for file in (beside, Path(f"{beside}.safetensors")))
    return lora_text if bare and not there else str(LoraSpec(str(beside), lora.scale))


def _decode_lines(source: str, data: bytes) -> Iterator[NumberedLine | LineError]:
    """Lines of text with their numbers; those that are none, as mistakes."""
    for number, raw in enumerate(data.split(b"\n"), 1):
        try:
            text = raw.rstrip(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            reason = f"Not UTF-8 text: byte 0x{raw[error.start]:02x} at place {error.start + 1}."
            yield LineError(source, number, InputFileError(reason, "Save the file as UTF-8."))
            continue
        if "\0" in text:
            yield LineError(source, number, InputFileError("A NUL character.", "Remove it."))
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
            item = _entry_or_error(source, number, _parse_settings, item.setting_values["defaults"])
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
        raise UsageError(f"Not JSON: {error}.", 'One object a line: {"prompt": "a red fox", "seed": 7}') from error
    if not isinstance(value, dict):
        raise UsageError(f"A line holds one JSON object, not {type(value).__name__}.", '{"prompt": "a red fox"}')
    return value


def _parse_settings(values: Any) -> dict[str, Any]:
    """Settings from JSON or YAML; what a picture's record says beside its settings is passed over."""
    if not isinstance(values, dict):
        raise UsageError(f"A job is a set of settings, not {type(values).__name__}.", "prompt: a red fox")
    facts = _non_setting_keys(values)
    given: dict[str, Any] = {}
    for key, value in values.items():
        if key in facts:
            continue
        name = setting_name(str(key))
        if value is not None:
            given[name] = parse_data_value(name, value)
    return given


def _non_setting_keys(values: Mapping[str, Any]) -> set[str]:
    """What a picture's record, and `--json`, say beside settings; nothing where the values are no record."""
    task = values.get("task")
    if "artgen" not in values or not isinstance(task, str) or task not in TASKS:
        return set()
    return {*JSON_ONLY_KEYS, *PROVENANCE_KEYS} - {"task", *options_of(TASKS[task])}


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
                header = [setting_name(cell) for cell in row]
            elif header is not None and any(cell.strip() for cell in row):
                yield _entry_or_error(source, start, _parse_csv_row, header, row)
            start = rows.line_num + 1
    except csv.Error as error:
        yield LineError(source, start, UsageError(f"The table cannot be read from here on: {error}."))
    except UsageError as error:
        yield LineError(source, start, UsageError(f"The first row names the settings. {error.message}", error.hint))


def _parse_csv_row(header: list[str], row: list[str]) -> dict[str, Any]:
    if len(row) > len(header):
        raise UsageError(f"{len(row)} cells under {len(header)} names.", "Quote a cell that has commas.")
    return {name: parse_text_value(name, cell.strip()) for name, cell in zip(header, row, strict=False) if cell.strip()}


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
                yield LineError(source, line, UsageError(f"There is no section {name!r}.", "Use defaults: and jobs:."))
            if "defaults" in parts:
                node = parts["defaults"][1]
                item = _entry_or_error(
                    source, node.start_mark.line + 1, _parse_settings, reader.construct_document(node)
                )
                if isinstance(item, LineError):
                    yield item
                else:
                    defaults = dict(item.setting_values)
            jobs = parts["jobs"][1] if "jobs" in parts else top
        if not isinstance(jobs, yaml.SequenceNode):
            line = jobs.start_mark.line + 1
            yield LineError(source, line, UsageError("A YAML prompt file is a list of jobs, or has one under jobs:."))
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
        yield LineError(source, line, InputFileError("Not UTF-8 text.", "Save the file as UTF-8."))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error)
        yield LineError(source, mark.line + 1 if mark else 0, UsageError(f"Not YAML: {reason}."))


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
