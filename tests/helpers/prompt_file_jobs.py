"""Write prompt files, and return their jobs, errors and notes."""

from pathlib import Path
from typing import Any

from artgen.queue import prompt_files
from artgen.queue.entries import Entry, LineError


def read(name: str, text: str, ignore_columns: str | None = None) -> list[Entry | LineError]:
    Path(name).write_text(text, "utf-8")
    return list(prompt_files.read_prompt_file(Path(name), ignore_columns))


def jobs(name: str, text: str, ignore_columns: str | None = None) -> list[tuple[int, dict[str, Any]]]:
    items = read(name, text, ignore_columns)
    assert not [item.error.message for item in items if isinstance(item, LineError)]
    return [(item.line, {**item.defaults, **item.setting_values}) for item in items if isinstance(item, Entry)]


def errors(name: str, text: str, ignore_columns: str | None = None) -> list[tuple[int, str]]:
    items = read(name, text, ignore_columns)
    return [(item.line, f"{item.error.message} {item.error.hint}") for item in items if isinstance(item, LineError)]


def notes(name: str, text: str, ignore_columns: str | None = None) -> str:
    items = read(name, text, ignore_columns)
    return " ".join(note for item in items if isinstance(item, Entry) for note in item.notes)
