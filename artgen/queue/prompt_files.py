"""Parse prompt files (`.txt`, `.jsonl`, `.csv`, `.yaml`) to entries and errors with line numbers."""

import codecs
import csv
import io
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from artgen.errors import ArtgenError, InputFileError, UsageError
from artgen.queue.entries import LINE_SETTINGS, MAX_JOBS, Entry, LineError, parse_text_value, setting_name
from artgen.queue.job_settings import entry_or_error, parse_defaults, parse_record, parse_settings, unique_settings
from artgen.queue.prompt_line import parse_prompt_line
from artgen.spec.fields import describe_value
from artgen.spec.lora import parse_lora
from artgen.spec.settings import path_settings
from artgen.system.external_data import parse_json
from artgen.system.input_files import read_input

STDIN = "-"
MAX_PROMPT_FILE_BYTES = 64 * 2**20
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
    items = itertools.islice(items, MAX_JOBS + 1)  # the planner reports the limit
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
    data = read_input(path, MAX_PROMPT_FILE_BYTES)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputFileError(f"Cannot read '{path}': its encoding is UTF-16, not UTF-8.", "Save it as UTF-8.")
    # a line ends with LF, CR LF, or CR
    return data.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").replace(b"\r", b"\n")


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
    exists = any(os.path.isfile(file) for file in (path, f"{path}.safetensors"))  # noqa: PTH113 - does not raise
    return lora_text if is_name and not exists else str(lora._replace(name=str(path)))


def _decode_lines(source: str, data: bytes) -> Iterator[NumberedLine | LineError]:
    """Yield the lines of a file with their numbers, and an error for each line that is not text."""
    for number, raw in enumerate(io.BytesIO(data), 1):
        try:
            text = raw.removesuffix(b"\n").decode("utf-8")
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
        yield entry_or_error(
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
        item = entry_or_error(source, number, _parse_json_object, text)
        if isinstance(item, Entry) and set(item.setting_values) == {"defaults"}:
            item = entry_or_error(source, number, parse_defaults, item.setting_values["defaults"])
            if isinstance(item, Entry):
                defaults = dict(item.setting_values)
                continue
        elif isinstance(item, Entry):
            item = entry_or_error(source, number, parse_settings, item.setting_values)
        yield Entry(source, number, item.setting_values, defaults) if isinstance(item, Entry) else item


def _parse_json_object(text: str) -> dict[str, Any]:
    try:
        value = parse_json(text, unique_keys=True)
    except ValueError as error:
        raise UsageError(f"Cannot parse the line as JSON: {error}.", '{"prompt": "a red fox", "seed": 7}') from error
    if not isinstance(value, dict):
        raise UsageError(
            f"Cannot use {describe_value(value)} as a line: it is not an object.", '{"prompt": "a red fox"}'
        )
    return value


def _parse_csv(source: str, data: bytes) -> Iterator[Entry | LineError]:
    invalid: list[LineError] = []

    def valid_lines() -> Iterator[str]:
        for line in _decode_lines(source, data):
            if isinstance(line, LineError):
                invalid.append(line)
            yield "\n" if isinstance(line, LineError) else f"{line[1]}\n"

    rows = csv.reader(valid_lines(), strict=True)
    header: list[str] | None = None
    while True:
        start = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            row = []
            invalid.append(LineError(source, start, UsageError(f"Cannot parse the CSV file from this row: {error}.")))
        yield from invalid
        invalid.clear()
        if row is None:
            return
        if header is None and row:
            try:
                header = _parse_csv_header(row)
            except UsageError as error:
                reason = UsageError(f"Cannot parse the header row: {error.message}", error.hint)
                yield LineError(source, start, reason)
                return
        elif header is not None and any(cell.strip() for cell in row):
            yield entry_or_error(source, start, _parse_csv_row, header, row)


def _parse_csv_header(row: list[str]) -> list[str]:
    keys = [cell.strip() for cell in row]
    is_record = "artgen" in keys
    names = unique_settings(keys, allow_unknown=is_record)
    return keys if is_record else list(names.values())


def _parse_csv_row(header: list[str], row: list[str]) -> dict[str, Any]:
    if len(row) > len(header):
        raise UsageError(f"Cannot use {len(row)} cells: the header has {len(header)}.", "Quote cells with commas.")
    cells = {name: cell.strip() for name, cell in zip(header, row, strict=False) if cell.strip()}
    if "artgen" in cells:
        return parse_record(cells, parse_text_value)
    return {name: parse_text_value(name, cell) for key, cell in cells.items() if (name := setting_name(key))}


def _parse_yaml(source: str, data: bytes) -> Iterator[Entry | LineError]:
    from artgen.queue.yaml_jobs import parse_yaml  # PyYAML takes 0.02 s to import

    return parse_yaml(source, data)


_PARSERS: dict[str, Callable[[str, bytes], Iterator[Entry | LineError]]] = {
    ".txt": _parse_txt,
    ".jsonl": _parse_jsonl,
    ".csv": _parse_csv,
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
}
