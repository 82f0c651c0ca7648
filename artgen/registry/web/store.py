"""Store downloaded files in artgen's own model folder, each with a description: `NAME.artgen.json`."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.errors import OutputError, UsageError
from artgen.registry.hashes import compute_sha256
from artgen.registry.model_folders import FOLDER_NAMES, MODEL_SUFFIXES, Kind, own_folder, walk
from artgen.system.external_data import parse_json, read_optional
from artgen.system.files import rename_exclusively, wrap_write_errors, write_atomically

MAX_DESCRIPTION_BYTES = 1 << 20
MAX_NAMES = 100


@dataclass(frozen=True)
class StoredFile:
    """Represent a file in artgen's own model folder.

    Attributes:
        path: path of the file.
        kind: kind of the file.
        name: name for `--model`, `--lora` and other options.
        details: fields of the description; empty if the file has none.
    """

    path: Path
    kind: Kind
    name: str
    details: Mapping[str, Any]

    @property
    def source(self) -> str:
        """Return the origin, such as `civitai:4384@128713` or an address; empty if unknown."""
        return _text(self.details.get("source"))

    @property
    def sha256(self) -> str:
        """Return the hash that the file had after the download; empty if unknown."""
        return _text(self.details.get("sha256"))


def description_path(path: Path) -> Path:
    """Return the path of the description of a model file."""
    return path.with_suffix(".artgen.json")


def stored_files() -> Iterator[StoredFile]:
    """Yield the files in artgen's own model folder, by kind and name.

    Raises:
        InputFileError: the folder is too large.
    """
    for kind in FOLDER_NAMES:
        for file in walk(own_folder(kind)):
            yield StoredFile(file.path, kind, file.stem, read_description(file.path))


def find_stored(name: str) -> StoredFile | None:
    """Return the stored file with a name or a path; None if no file has it."""
    names = (name, os.path.abspath(name))  # noqa: PTH100 - Path.resolve follows links
    return next(
        (file for file in stored_files() if name in (file.name, file.path.name) or str(file.path) in names), None
    )


def downloads_folder() -> Path:
    """Return the folder of incomplete downloads, in the same file system as the model folders."""
    return own_folder("model").parent / ".downloads"


def store(partial: Path, kind: Kind, file_name: str, tag: str, details: Mapping[str, Any]) -> StoredFile:
    """Move a complete download to its place, and write its description.

    If another file has the name, the tag becomes a part of the new name.

    Args:
        partial: complete download.
        kind: kind of the file.
        file_name: safe file name with a suffix.
        tag: text that distinguishes versions, such as the number of the version.
        details: fields of the description.

    Raises:
        OutputError: the folder cannot be written, or too many files have the name.
    """
    folder, stem, suffix = own_folder(kind), Path(file_name).stem, Path(file_name).suffix
    names = [file_name, f"{stem}-{tag}{suffix}", *(f"{stem}-{tag}-{number}{suffix}" for number in range(2, MAX_NAMES))]
    with wrap_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for path in (folder / name for name in names):
            if _has_sibling(path):
                continue
            if rename_exclusively(partial, path):
                partial.unlink(missing_ok=True)
                break
            if path.is_file() and compute_sha256(path) == details["sha256"]:  # an earlier run stored the same file
                partial.unlink()
                break
        else:
            raise OutputError(f"Cannot write '{folder / file_name}': the name is taken.", "Move the other files away.")
    description = {**read_description(path), **details}
    write_atomically(description_path(path), f"{json.dumps(description, indent=1, ensure_ascii=False)}\n")
    return StoredFile(path, kind, path.stem, description)


def _has_sibling(path: Path) -> bool:
    """Return whether a file that differs only in its suffix exists: both would have the same description."""
    return any(os.path.lexists(path.with_suffix(suffix)) for suffix in MODEL_SUFFIXES - {path.suffix})


def remove(stored: StoredFile) -> int:
    """Delete a stored file and its description; return the number of freed bytes.

    Raises:
        UsageError: the file is in a linked folder, or is a folder: artgen did not download it.
        OutputError: a file cannot be deleted.
    """
    folder = os.path.realpath(own_folder(stored.kind))
    is_outside = not Path(os.path.realpath(stored.path.parent)).is_relative_to(folder)
    if is_outside or os.path.isdir(stored.path):  # noqa: PTH112 - Path.is_dir raises without permission
        raise UsageError(
            f"Cannot delete '{stored.path}': it was not downloaded by artgen.", "Delete the files manually."
        )
    freed_bytes = 0
    with wrap_write_errors(stored.path, "Check the folder's permissions."):
        for path in (stored.path, description_path(stored.path)):
            if os.path.lexists(path):
                freed_bytes += path.lstat().st_size
                path.unlink()
    return freed_bytes


def read_description(path: Path) -> dict[str, Any]:
    """Return the description of a model file; an empty dictionary if it is missing or not valid."""
    try:
        table = parse_json(read_optional(description_path(path), MAX_DESCRIPTION_BYTES) or b"{}")
    except ValueError:
        return {}
    return table if isinstance(table, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
