"""Store the descriptors of the images of a folder in an SQLite file, so that each image is read only once.

An image is read again if its size or its time of modification changes. The file is written every `COMMIT_EVERY` images:
an interrupted run resumes. The file takes 6 KB per image and can be deleted.
"""

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from edge_descriptors import DESCRIPTOR_SIZE, SIDE_PX, WINDOWS, Floats, describe_crops, small_copy
from numpy.typing import NDArray

from artgen.dataset.decode import load_rgb_image
from artgen.dataset.duplicates import DuplicateIndex, ImageHash, hash_image
from artgen.dataset.scan import scan_folder
from artgen.dataset.types import relative_name
from artgen.errors import InputFileError
from artgen.images import FORMAT_NAMES

FORMAT_VERSION = 1
COMMIT_EVERY = 256

_TABLES = """
CREATE TABLE image (
    name TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, sha256 TEXT, phash BLOB, mirrored BLOB, thumbnail BLOB,
    small BLOB, edges BLOB, error TEXT
);
CREATE TABLE baseline (files TEXT, number INTEGER, scores BLOB, PRIMARY KEY (files, number));
"""


@dataclass(frozen=True)
class IndexedImages:
    """Store the descriptors of all readable images of a folder; N is their number.

    Attributes:
        folder: the folder.
        names: paths relative to the folder, with `/`, sorted.
        sha256: SHA-256 of each file.
        hashes: artgen's hashes for duplicate detection, in the same order.
        duplicates: the same hashes, for the distances to another hash.
        small: small copies, uint8, shape (N, 32, 32, 3).
        edges: descriptors of the crops, int8, shape (N, windows, values).
        skipped: one sentence per file that cannot be read.
    """

    folder: Path
    names: Sequence[str]
    sha256: Sequence[str]
    hashes: Sequence[ImageHash]
    duplicates: DuplicateIndex
    small: NDArray[np.uint8]
    edges: NDArray[np.int8]
    skipped: Sequence[str]

    def files_hash(self) -> str:
        """Return a hash of the names and the contents of all images."""
        return hashlib.sha256("\n".join(map(" ".join, zip(self.sha256, self.names, strict=True))).encode()).hexdigest()


def index_path(folder: Path, cache: Path) -> Path:
    """Return the path of the index of a folder."""
    return cache / f"{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]}.sqlite"


def open_index(path: Path) -> sqlite3.Connection:
    """Open an index; create it if it does not exist, and create it again if another version wrote it.

    Raises:
        InputFileError: the file is not an index, or the folder is not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, timeout=60)
        if database.execute("PRAGMA user_version").fetchone()[0] != FORMAT_VERSION:
            database.executescript("DROP TABLE IF EXISTS image; DROP TABLE IF EXISTS baseline;" + _TABLES)
            database.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
            database.commit()
    except (sqlite3.Error, OSError) as error:
        raise InputFileError(
            f"Cannot use the index '{path}': {error}.", "Use another --cache; delete the index if it is damaged."
        ) from None
    return database


def update_index(database: sqlite3.Connection, folder: Path, on_progress: Callable[[int, int], object]) -> int:
    """Read new and changed images, and remove the entries of deleted ones. Return the number of images that were read.

    Args:
        database: index of the folder.
        folder: folder of training images; subfolders are included.
        on_progress: called with the numbers of finished and of all new images.

    Raises:
        InputFileError: the folder does not exist or contains no image file.
    """
    files = scan_folder(folder).image_files
    if not files:
        raise InputFileError(f"'{folder}' contains no image.", f"Supported formats: {FORMAT_NAMES}.")
    status = {relative_name(path, folder): (path, _file_status(path)) for path in files}
    known = {name: (size, mtime) for name, size, mtime in database.execute("SELECT name, size, mtime FROM image")}
    removed = [(name,) for name in known if name not in status]
    database.executemany("DELETE FROM image WHERE name = ?", removed)
    database.commit()
    new = [
        (name, path, each)
        for name, (path, each) in status.items()
        if known.get(name) != (each.st_size, each.st_mtime_ns)
    ]
    done = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch in _batches(new):
            rows = list(pool.map(lambda entry: _row(*entry), batch))
            database.executemany(f"INSERT OR REPLACE INTO image VALUES ({','.join('?' * len(rows[0]))})", rows)
            database.commit()
            done += len(rows)
            on_progress(done, len(new))
    return done


def _file_status(path: Path) -> os.stat_result:
    """Return the status of a file; of a link without a target, the status of the link."""
    try:
        return path.stat()
    except OSError:
        return path.lstat()


def _batches(
    entries: Iterable[tuple[str, Path, os.stat_result]],
) -> Iterator[list[tuple[str, Path, os.stat_result]]]:
    iterator = iter(entries)
    while batch := list(islice(iterator, COMMIT_EVERY)):
        yield batch


def _row(name: str, path: Path, status: os.stat_result) -> tuple[object, ...]:
    """Return the row of an image; of a file that cannot be read, only its name and the error."""
    identity = (name, status.st_size, status.st_mtime_ns)
    try:
        loaded = load_rgb_image(path)
    except InputFileError as error:
        return *identity, None, None, None, None, None, None, error.message
    image_hash, small = hash_image(loaded.image), small_copy(loaded.image)
    return (
        *identity,
        loaded.sha256,
        image_hash.phash.to_bytes(8, "big"),
        image_hash.mirrored_phash.to_bytes(8, "big"),
        image_hash.thumbnail,
        small.astype(np.uint8).tobytes(),
        describe_crops(small).tobytes(),
        None,
    )


def load_index(database: sqlite3.Connection, folder: Path) -> IndexedImages:
    """Load the descriptors of all images.

    Raises:
        InputFileError: no image can be read.
    """
    skipped = [text for (text,) in database.execute("SELECT error FROM image WHERE error IS NOT NULL ORDER BY name")]
    count = database.execute("SELECT count(*) FROM image WHERE error IS NULL").fetchone()[0]
    if not count:
        raise InputFileError(f"'{folder}' contains no image that can be read. {skipped[0]}", "Use another folder.")
    small = np.empty((count, SIDE_PX, SIDE_PX, 3), np.uint8)
    edges = np.empty((count, len(WINDOWS), DESCRIPTOR_SIZE), np.int8)
    names, digests, hashes, duplicates = [], [], [], DuplicateIndex(count)
    rows = database.execute(
        "SELECT name, sha256, phash, mirrored, thumbnail, small, edges FROM image WHERE error IS NULL ORDER BY name"
    )
    for number, (name, digest, phash, mirrored, thumbnail, small_bytes, edge_bytes) in enumerate(rows):
        names.append(name)
        digests.append(digest)
        hashes.append(ImageHash(int.from_bytes(phash, "big"), int.from_bytes(mirrored, "big"), thumbnail))
        duplicates.add(hashes[-1])
        small[number] = np.frombuffer(small_bytes, np.uint8).reshape(small.shape[1:])
        edges[number] = np.frombuffer(edge_bytes, np.int8).reshape(edges.shape[1:])
    return IndexedImages(folder, names, digests, hashes, duplicates, small, edges, skipped)


def stored_baseline(database: sqlite3.Connection, files_hash: str, number: int) -> Floats | None:
    """Return the stored scores of the baseline for exactly these files; None if they were not measured."""
    row = database.execute(
        "SELECT scores FROM baseline WHERE files = ? AND number = ?", (files_hash, number)
    ).fetchone()
    return np.frombuffer(row[0], np.float32) if row else None


def store_baseline(database: sqlite3.Connection, files_hash: str, number: int, scores: Floats) -> None:
    """Store the scores of the baseline, and remove the scores of other files."""
    database.execute("DELETE FROM baseline WHERE files != ?", (files_hash,))
    database.execute("INSERT OR REPLACE INTO baseline VALUES (?, ?, ?)", (files_hash, number, scores.tobytes()))
    database.commit()
