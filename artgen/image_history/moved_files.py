"""Find image files that were moved, by their hash."""

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path


def find_moved_file(
    path: Path, sha256: str, num_bytes: int | None, known_paths: Callable[[], Iterable[Path]]
) -> Path | None:
    """Return the path of the file with a hash, or None.

    Args:
        path: last known path. It is tried first.
        sha256: hash of the file, 64 hex digits.
        num_bytes: size of the file; None if it is unknown: only `path` is tried.
        known_paths: returns the paths of other images, whose folders are searched; called if `path` has another hash.
    """
    if _has_content(path, sha256, num_bytes):
        return path
    if num_bytes is None:
        return None
    folders = dict.fromkeys([path.parent, path.parent.parent, *(each.parent for each in known_paths())])
    for folder in folders:
        for candidate in _files(folder):
            if candidate != path and _has_content(candidate, sha256, num_bytes):
                return candidate
    return None


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _has_content(path: Path, sha256: str, num_bytes: int | None) -> bool:
    try:
        if not path.is_file() or (num_bytes is not None and path.stat().st_size != num_bytes):
            return False
        return file_sha256(path) == sha256
    except OSError:
        return False


def _files(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_file())
    except OSError:
        return []
