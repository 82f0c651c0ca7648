"""Enter the images of folders in the history, from their metadata and their hashes."""

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from artgen.errors import ArtgenError, InputFileError
from artgen.image_history.connection import HistoryDamagedError, convert_errors, history_path
from artgen.image_history.database import History, open_history
from artgen.image_history.entry import MAX_RATING, MIN_RATING, HistoryEntry, create_entry, utc_text
from artgen.image_history.recording import set_seconds, stored_seconds
from artgen.images import load_lossless
from artgen.images.folders import iter_images
from artgen.images.thumbnails import encode_thumbnail
from artgen.metadata import ImageMetadata, read_metadata

OnProgress = Callable[[int, int], object]
"""Receives the number of files that were read, and the number of all files."""


@dataclass(frozen=True)
class SkippedFile:
    """Describe a file that cannot be entered.

    Attributes:
        path: path of the file.
        reason: one sentence.
    """

    path: Path
    reason: str


@dataclass(frozen=True)
class ScanResult:
    """Count the files of a scan. Each file is in one of the counts.

    Attributes:
        added: number of new entries.
        moved: number of entries whose file was at another path.
        updated: number of entries whose file has another modification time.
        unchanged: number of files whose entry has the same path, time and size; they are not read.
        copies: number of files with the content of a newer file.
        without_metadata: number of images without a record.
        skipped: files that cannot be read.
        notes: sentences about skipped files of the folders.
        damaged: path to which a damaged history was moved, or None.
        num_marks: number of ratings and tags that were read from the damaged history.
    """

    added: int = 0
    moved: int = 0
    updated: int = 0
    unchanged: int = 0
    copies: int = 0
    without_metadata: int = 0
    skipped: tuple[SkippedFile, ...] = ()
    notes: tuple[str, ...] = ()
    damaged: Path | None = None
    num_marks: int = 0

    @property
    def num_files(self) -> int:
        """Return the number of all image files."""
        counts = (self.added, self.moved, self.updated, self.unchanged, self.copies, self.without_metadata)
        return sum(counts) + len(self.skipped)


def scan(folders: Sequence[Path], on_progress: OnProgress = lambda _, __: None) -> ScanResult:
    """Enter the images of folders in the user's history. Move a damaged history away at the end, and replace it.

    Args:
        folders: image files, and folders to search recursively.
        on_progress: called after each file.

    Raises:
        InputFileError: A folder contains no images or cannot be read, or a newer version of artgen wrote the history.
        OutputError: The history is locked, or it cannot be read or written.
    """
    path = history_path()
    try:
        history = _open_checked(path)
    except HistoryDamagedError:
        return _replace_damaged(path, folders, on_progress)
    with history:
        return scan_folders(history, folders, on_progress)


def _replace_damaged(path: Path, folders: Sequence[Path], on_progress: OnProgress) -> ScanResult:
    """Write a new history beside a damaged history, then replace it. After an interruption, a scan starts again.

    Raises:
        InputFileError, OutputError: See `scan`.
    """
    new_path = path.with_name(f"{path.name}.new")
    with convert_errors(path):
        for each in _files_of(new_path):  # of an interrupted scan
            each.unlink()
    with open_history(new_path) as history:
        result = scan_folders(history, folders, on_progress)
        num_marks = sum(history.import_marks(*each) for each in _read_marks(path))
    with convert_errors(path):
        damaged = _move_away(path)
        for each in _files_of(new_path):
            each.rename(path.with_name(path.name + each.name.removeprefix(new_path.name)))
    return replace(result, damaged=damaged, num_marks=num_marks)


def _open_checked(path: Path) -> History:
    """Open a history, and check its structure. Close a damaged history, because its file will be renamed.

    Raises:
        HistoryDamagedError: The file is damaged.
        InputFileError, OutputError: See `scan`.
    """
    history = open_history(path)
    try:
        history.check()
    except BaseException:
        with contextlib.suppress(ArtgenError):
            history.close()
        raise
    return history


def scan_folders(history: History, folders: Sequence[Path], on_progress: OnProgress = lambda _, __: None) -> ScanResult:
    """Enter the images of folders in a history, in the order of their modification times.

    Images of artgen and of other tools are entered; see `artgen.metadata.read_metadata`. Hidden files and derived
    images, such as sheets, are skipped. Ratings and tags of existing entries are kept.

    Args:
        history: open history.
        folders: image files, and folders to search recursively.
        on_progress: called after each file.

    Raises:
        InputFileError, OutputError: See `scan`.
    """
    notes: list[str] = []
    skipped: list[SkippedFile] = []
    counts = dict.fromkeys(("added", "moved", "updated", "unchanged", "copies", "without_metadata"), 0)
    paths = dict.fromkeys(path.absolute() for path, _ in iter_images(folders, on_note=notes.append))
    files = sorted((_modification_time(path), path) for path in paths)
    known = history.file_states()
    for number, (time_ns, path) in enumerate(files, 1):
        try:
            if known.get(path) == (utc_text(time_ns), path.stat().st_size):
                counts["unchanged"] += 1
            else:
                counts[_enter_file(history, path)] += 1
        except InputFileError as error:
            skipped.append(SkippedFile(path, error.message))
        except OSError as error:
            skipped.append(SkippedFile(path, f"'{path}' cannot be read: {error.strerror or error}."))
        on_progress(number, len(files))
    return ScanResult(
        counts["added"],
        counts["moved"],
        counts["updated"],
        counts["unchanged"],
        counts["copies"],
        counts["without_metadata"],
        tuple(skipped),
        tuple(notes),
    )


def _enter_file(history: History, path: Path) -> str:
    """Enter one file, and return the count of `ScanResult` that it belongs to.

    Raises:
        InputFileError: The file cannot be decoded.
        OSError: The file cannot be read.
    """
    try:
        metadata = read_metadata(path)
    except InputFileError:
        load_lossless(path)  # raises an error for a file that is not an image
        return "without_metadata"
    loaded = load_lossless(path)
    entry = _create_entry(path, loaded.sha256, metadata, loaded.image.size)
    existing = next(iter(history.find_sha256(loaded.sha256)), None)
    if existing is None:
        outcome = "added"
    elif existing.path == path:
        outcome = "updated"
    elif existing.path.is_file() and existing.made_utc >= entry.made_utc:
        return "copies"
    else:
        outcome = "moved"
    history.add(entry, path.stat().st_size, encode_thumbnail(loaded.image))
    if existing is not None and entry.seconds is None:
        set_seconds(path, existing.seconds)  # a copy has lost the attribute
    return outcome


def _create_entry(path: Path, sha256: str, metadata: ImageMetadata, size: tuple[int, int]) -> HistoryEntry:
    entry = create_entry(path, sha256, metadata.values, size, stored_seconds(path))
    is_of_other_tool = metadata.record is None
    return replace(entry, task=entry.task or "txt2img") if is_of_other_tool else entry


def _modification_time(path: Path) -> int:
    """Return a modification time in nanoseconds; 0 for a file that cannot be read."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


class _Marks(NamedTuple):
    """Store what only the history contains: the rating and the tags of an image with a hash."""

    sha256: str
    rating: int | None
    tags: tuple[str, ...]


def _read_marks(path: Path) -> list[_Marks]:
    """Return the ratings and the tags that a damaged history still contains."""
    ratings: dict[str, int] = {}
    tags: dict[str, list[str]] = {}
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    except sqlite3.Error:
        return []
    try:
        for sha256, rating in connection.execute("SELECT sha256, rating FROM image WHERE rating IS NOT NULL"):
            if isinstance(rating, int) and MIN_RATING <= rating <= MAX_RATING:
                ratings[sha256] = rating
    except sqlite3.Error:
        pass
    try:
        for sha256, name in connection.execute("SELECT sha256, name FROM tag JOIN image ON image.id = tag.image_id"):
            if isinstance(name, str):
                tags.setdefault(sha256, []).append(name)
    except sqlite3.Error:
        pass
    connection.close()
    return [_Marks(each, ratings.get(each), tuple(tags.get(each, ()))) for each in {**ratings, **tags}]


def _move_away(path: Path) -> Path:
    """Rename a damaged history and its journals, and return the new path."""
    number = 1
    while (target := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for each in _files_of(path):
        each.rename(target.with_name(target.name + each.name.removeprefix(path.name)))
    return target


def _files_of(path: Path) -> list[Path]:
    """Return the existing files of a history: the SQLite file and its journals."""
    paths = [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm", "-journal")]
    return [each for each in paths if each.exists()]
