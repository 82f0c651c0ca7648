"""Read the styles in the user's `style_folder`: `styles.csv` of A1111 and JSON lists of Fooocus."""

import csv
import difflib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, UsageError
from artgen.spec.fields import describe_value
from artgen.system.external_data import decode_text, parse_json, read_regular
from artgen.system.files import wrap_read_errors

MAX_FILE_BYTES = 16 << 20
MAX_FILES = 1000
PLACEHOLDER = "{prompt}"
_SET_FOLDER_HINT = "Set the folder of your styles: artgen config set style_folder FOLDER"
_CSV_HINT = "Write the columns name, prompt and negative_prompt."
_JSON_HINT = '[{"name": "cinematic", "prompt": "film still of {prompt}", "negative_prompt": "drawing"}]'


@dataclass(frozen=True)
class Style:
    """Represent a style.

    Attributes:
        name: name of the style.
        prompt: text that replaces the prompt if it contains `{prompt}`, else text that is added to the prompt.
        negative_prompt: the same for the negative prompt.
        file: name of the file in the `style_folder`.
    """

    name: str
    prompt: str
    negative_prompt: str
    file: str


def add_style(style_text: str, prompt: str) -> str:
    """Return a prompt with the text of a style, as A1111 does."""
    if PLACEHOLDER in style_text:
        return style_text.replace(PLACEHOLDER, prompt)
    return ", ".join(text for text in (prompt.strip(), style_text.strip()) if text) if style_text.strip() else prompt


class StyleFolder:
    """Find and read styles. The folder is read when it is first needed, and only once.

    Attributes:
        notes: notes about files that are ignored.
        errors: errors of files that are not valid.
    """

    def __init__(self, folder: Path | None) -> None:
        """Store the folder, or one file; None if it is not set."""
        self._folder = folder
        self.notes: list[str] = []
        self.errors: list[InputFileError] = []

    @cached_property
    def styles(self) -> list[Style]:
        """Return all styles, in the order of the file names.

        Raises:
            InputFileError: the folder is not set or cannot be read.
        """
        if self._folder is None:
            raise InputFileError("Cannot find styles: style_folder is not set.", _SET_FOLDER_HINT)
        found: list[Style] = []
        for path in self._files(self._folder):
            try:
                found += _read_csv(path) if path.suffix.lower() == ".csv" else self._read_json(path)
            except InputFileError as error:
                self.errors.append(error)
        return found

    def find(self, name: str) -> Style:
        """Return the style with a name. If no name is equal, case, dashes and underscores are ignored.

        Raises:
            UsageError: no style has the name.
            InputFileError: different styles have the name, or a file is not valid and no other file has the name.
        """
        if self._folder is None:
            raise UsageError(f"Cannot use the style {describe_value(name)}: style_folder is not set.", _SET_FOLDER_HINT)
        wanted = name.strip()
        matches = [style for style in self.styles if style.name == wanted]
        matches = matches or [style for style in self.styles if _folded(style.name) == _folded(wanted)]
        if len({(style.prompt, style.negative_prompt) for style in matches}) > 1:
            files = " and ".join(dict.fromkeys(f"'{style.file}'" for style in matches))
            raise InputFileError(
                f"Cannot use the style {describe_value(name)}: {len(matches)} styles in {files} have this name.",
                "Rename or remove one of them.",
            )
        if matches:
            return matches[0]
        if self.errors:  # the file that cannot be read may contain the style
            raise self.errors[0]
        known = {_folded(style.name): style.name for style in self.styles}
        close = [known[each] for each in difflib.get_close_matches(_folded(wanted), list(known)[:5000], n=3)]
        similar = f"Similar names: {', '.join(close)}." if close else "`artgen styles` lists the names."
        raise UsageError(f"No style has the name {describe_value(name)} in '{self._folder}'.", similar)

    def _files(self, folder: Path) -> list[Path]:
        """Return the CSV and JSON files of the folder, sorted by name."""
        if os.path.isfile(folder):  # noqa: PTH113 - Path.is_file raises for long names
            return [folder]
        if not os.path.isdir(folder):  # noqa: PTH112
            state = "it is not a folder" if os.path.lexists(folder) else "it does not exist"
            raise InputFileError(f"Cannot read the style_folder '{folder}': {state}.", _SET_FOLDER_HINT)
        with wrap_read_errors(folder):
            names = sorted(os.listdir(folder))  # noqa: PTH208 - consistent with isdir
        files = [folder / name for name in names if Path(name).suffix.lower() in (".csv", ".json")]
        if len(files) > MAX_FILES:
            raise InputFileError(
                f"Cannot read the style_folder '{folder}': the number of files is {len(files):,} (at most "
                f"{MAX_FILES:,}).",
                "Set a folder that contains only styles.",
            )
        inside = []
        for file in files:
            real_folder, real_path = os.path.realpath(folder), os.path.realpath(file)
            if os.path.commonpath([real_folder, real_path]) == real_folder:
                inside.append(file)
            else:
                self.notes.append(f"'{file}' is ignored: it is a link to another folder.")
        return inside

    def _read_json(self, path: Path) -> Iterator[Style]:
        try:
            content = parse_json(read_regular(path, MAX_FILE_BYTES))
        except ValueError as error:
            raise InputFileError(f"Cannot read '{path}': {error}.", _JSON_HINT) from error
        if not isinstance(content, list):  # a folder of A1111 contains other JSON files
            self.notes.append(f"'{path}' is ignored: it is not a list of styles.")
            return
        for number, item in enumerate(content, 1):
            yield _style_of(path, f"item {number}", item, _JSON_HINT)


def _read_csv(path: Path) -> Iterator[Style]:
    try:
        text = decode_text(read_regular(path, MAX_FILE_BYTES))
        rows = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
        header = [cell.strip() for cell in next(rows, [])]
        if "name" not in header or not {"prompt", "text"} & set(header):
            raise InputFileError(f"Cannot read '{path}': its first row lacks the columns name and prompt.", _CSV_HINT)
        for row in rows:
            place = f"line {rows.line_num}"
            if not any(cell.strip() for cell in row):
                continue
            if len(row) > len(header):
                raise InputFileError(
                    f"Cannot read '{path}': {place} has {len(row)} cells, and the header has {len(header)}.",
                    "Quote cells with commas.",
                )
            yield _style_of(path, place, dict(zip(header, row, strict=False)), _CSV_HINT)
    except csv.Error as error:
        raise InputFileError(
            f"Cannot read '{path}': line {rows.line_num}: {error}.", "Quote cells with commas."
        ) from error
    except ValueError as error:
        raise InputFileError(f"Cannot read '{path}': {error}.", "Save the file as UTF-8.") from error


def _style_of(path: Path, place: str, item: Any, hint: str) -> Style:
    if not isinstance(item, dict):
        raise InputFileError(f"Cannot read '{path}': {place} is {describe_value(item)}, not a style.", hint)
    name, negative = item.get("name"), item.get("negative_prompt") or ""
    prompt = item.get("prompt", item.get("text")) or ""
    if not isinstance(name, str) or not name.strip():
        raise InputFileError(f"Cannot read '{path}': {place} has no name.", hint)
    if not isinstance(prompt, str) or not isinstance(negative, str):
        raise InputFileError(f"Cannot read '{path}': a prompt of the style {describe_value(name)} is not text.", hint)
    return Style(name.strip(), prompt, negative, path.name)


def _folded(name: str) -> str:
    return name.casefold().replace("-", " ").replace("_", " ")
