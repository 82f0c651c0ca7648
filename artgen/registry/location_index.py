"""Remember where the models and LoRAs of this machine are, by hash, so that `replay` finds them.

`model-index.json` in the state folder is `{"schema": 1, "locations": {SHA256: [PATH, ...]}}`, the newest path last. The
index is optional: artgen works without it, and whoever uses a location must verify the hash of the file.
"""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from artgen.errors import ArtgenError
from artgen.registry.hub.names import SHA256_PATTERN
from artgen.system.external_data import parse_json, read_optional
from artgen.system.file_locks import locked
from artgen.system.files import write_atomically
from artgen.system.paths import user_state_folder
from artgen.system.temporary import NOFOLLOW

Found = TypeVar("Found")

INDEX_SCHEMA = 1
MAX_INDEX_BYTES = 4 << 20
MAX_HASHES = 2000
MAX_PATHS_PER_HASH = 4
LOCK_SECONDS = 5.0
"""Longest time that a writer waits for another one. Then the location is not saved."""


def index_path() -> Path:
    """Return the path of the index. The file may be missing."""
    return user_state_folder() / "model-index.json"


def locations(digest: object) -> list[Path]:
    """Return the known paths of a hash, the newest first. The files may be missing or changed.

    Args:
        digest: SHA-256, 64 lower-case hex digits; other values have no paths.
    """
    table = _read_index()[0]["locations"]
    return [Path(path) for path in reversed(table.get(digest, ()))] if isinstance(digest, str) else []


def find_by_hash(digest: object, load: Callable[[Path], Found], hash_of: Callable[[Found], str]) -> list[Found]:
    """Return what was loaded from the known paths that still have a hash, the newest first.

    Args:
        digest: SHA-256, 64 lower-case hex digits; other values have no paths.
        load: describes the file or folder at a path. A path that cannot be described is left out.
        hash_of: returns the SHA-256 of the weights of what was loaded.
    """
    found = []
    for path in locations(digest):
        with contextlib.suppress(ArtgenError, OSError):
            loaded = load(path)
            if hash_of(loaded) == digest:
                found.append(loaded)
    return found


def damage_note() -> str | None:
    """Return a note if the index exists and cannot be read, else None."""
    return _read_index()[1]


def save_location(digest: str, path: Path) -> str | None:
    """Add a path of a hash as the newest one. A damaged index is replaced; other errors are ignored.

    Args:
        digest: SHA-256, 64 lower-case hex digits; other values are ignored.
        path: model folder or file.

    Returns:
        A note if the index was damaged, else None.
    """
    location = str(path.absolute())
    index, note = _read_index()
    if not SHA256_PATTERN.fullmatch(digest) or location in index["locations"].get(digest, ())[-1:]:
        return note
    with contextlib.suppress(OSError, ArtgenError):
        index_path().parent.mkdir(parents=True, exist_ok=True)
        lock = index_path().with_suffix(".lock")
        with locked(os.open(lock, os.O_RDWR | os.O_CREAT | NOFOLLOW, 0o600), lock, LOCK_SECONDS):
            index, _ = _read_index()
            table: dict[str, list[str]] = index["locations"]
            paths = [each for each in table.pop(digest, ()) if each != location]
            table[digest] = [*paths, location][-MAX_PATHS_PER_HASH:]
            index["locations"] = dict(list(table.items())[-MAX_HASHES:])
            # ASCII keeps file names that are not valid UTF-8.
            write_atomically(index_path(), json.dumps(index, indent=1) + "\n")
    return note


def _read_index() -> tuple[dict[str, Any], str | None]:
    """Return the index and a note about damage. An index of a newer schema keeps its other keys."""
    path = index_path()
    content = read_optional(path, MAX_INDEX_BYTES)
    empty: dict[str, Any] = {"schema": INDEX_SCHEMA, "locations": {}}
    if content is None:
        exists = os.path.lexists(path)
        return empty, _damage_note(path, "it cannot be read") if exists else None
    try:
        index = parse_json(content)
    except ValueError as error:
        return empty, _damage_note(path, str(error))
    table = index.get("locations") if isinstance(index, dict) else None
    if not isinstance(table, dict):
        return empty, _damage_note(path, "it has no object 'locations'")
    valid = {digest: paths for digest, paths in table.items() if _is_valid_entry(digest, paths)}
    note = _damage_note(path, "some entries are invalid") if len(valid) < len(table) else None
    return {**index, "locations": valid}, note


def _is_valid_entry(digest: str, paths: object) -> bool:
    return (
        bool(SHA256_PATTERN.fullmatch(digest))
        and isinstance(paths, list)
        and all(isinstance(path, str) and Path(path).is_absolute() and "\0" not in path for path in paths)
    )


def _damage_note(path: Path, reason: str) -> str:
    return f"The index of models '{path}' is ignored where it is damaged: {reason}."
