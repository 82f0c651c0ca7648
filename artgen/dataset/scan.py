"""Which files of a folder are pictures, and which of the others say something about them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from artgen.dataset.types import RejectedFile, relative_name
from artgen.errors import InputFileError, UsageError
from artgen.images import IMAGE_SUFFIXES

METADATA_FILES = ("metadata.jsonl", "provenance.jsonl")
"""Files that speak of the pictures of their folder and of the folders below it."""

TRAINING_OUTPUT_MARKER = "datasheet.json"
"""A folder with this file is what an earlier training wrote, and is not read."""

CAPTION_SUFFIX = ".txt"

_IMAGE_SUFFIXES = IMAGE_SUFFIXES | {
    ".jpe", ".jfif", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".tga", ".ppm", ".pgm", ".ico", ".exr",
    ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".xcf",
}  # fmt: skip
"""Suffixes of what somebody would call a picture, whether it can be read or not."""

_IMAGE_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")


@dataclass
class ScannedFolder:
    """What is in a folder and its sub-folders, each list in order of name.

    Attributes:
        image_files: what is a picture by its suffix or by its first bytes.
        caption_files: text files.
        metadata_files: `metadata.jsonl` and `provenance.jsonl`.
        other_files: files that are none of these; hidden ones are not counted.
        rejected: folders that may not be read.
        notes: one sentence each.
    """

    image_files: list[Path] = field(default_factory=list)
    caption_files: list[Path] = field(default_factory=list)
    metadata_files: list[Path] = field(default_factory=list)
    other_files: list[Path] = field(default_factory=list)
    rejected: list[RejectedFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def scan_folder(folder: Path | None) -> ScannedFolder:
    """Look through a folder; links to folders are followed once.

    Raises:
        UsageError: no folder is named.
        InputFileError: there is no such folder, or it may not be read.
    """
    if folder is None:
        raise UsageError("A folder of pictures is wanted.", "Name it: artgen train photos/")
    if not folder.is_dir():
        what = "is a file; a folder of pictures is wanted" if folder.exists() else "does not exist"
        raise InputFileError(f"'{folder}' {what}.", "Name the folder that holds the pictures.")
    found = ScannedFolder()
    for path in _walk_files(folder, found):
        if path.name in METADATA_FILES:
            found.metadata_files.append(path)
        elif path.suffix.lower() == CAPTION_SUFFIX:
            found.caption_files.append(path)
        elif path.suffix.lower() in _IMAGE_SUFFIXES or _has_image_signature(path):
            found.image_files.append(path)
        else:
            found.other_files.append(path)
    return found


def _walk_files(folder: Path, scanned: ScannedFolder) -> Iterator[Path]:
    """Every file that is not hidden, in order of the whole name."""
    seen: set[tuple[int, int]] = set()

    def refused(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise InputFileError(f"'{folder}' may not be read: {error.strerror}.", "Check its permissions.") from error
        scanned.rejected.append(
            RejectedFile(relative_name(Path(error.filename), folder), f"{error.strerror}", "unreadable")
        )

    files = []
    for root, folders, names in os.walk(folder, onerror=refused, followlinks=True):
        within = Path(root)
        status = within.stat()
        if (status.st_dev, status.st_ino) in seen:
            scanned.notes.append(f"'{relative_name(within, folder)}' leads to a folder that is read already")
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        if TRAINING_OUTPUT_MARKER in names and within != folder:
            scanned.notes.append(f"'{relative_name(within, folder)}' is the result of a training and is left out")
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        files += [within / name for name in names if not name.startswith(".")]
    return iter(sorted(files, key=lambda path: path.relative_to(folder).as_posix()))


def _has_image_signature(path: Path) -> bool:
    """A picture under a name that does not say so."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return False
    return start.startswith(_IMAGE_SIGNATURES) or (start[:4] == b"RIFF" and start[8:] == b"WEBP")
