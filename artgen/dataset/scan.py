"""Find the image files, caption files and metadata files of a folder."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from artgen.dataset.types import RejectedFile, relative_name
from artgen.errors import InputFileError, UsageError
from artgen.images import IMAGE_SUFFIXES
from artgen.images.derived import is_derived
from artgen.images.folders import is_special_file
from artgen.images.heif import heif_format

METADATA_FILES = ("metadata.jsonl", "provenance.jsonl")
"""Files that describe the images of their folder and its subfolders."""

TRAINING_OUTPUT_MARKER = "datasheet.json"
"""A subfolder with this file is the output of a training and is skipped."""

CAPTION_SUFFIX = ".txt"

_IMAGE_SUFFIXES = IMAGE_SUFFIXES | {
    ".jpe", ".jfif", ".jxl", ".jp2", ".svg", ".psd", ".tga", ".ppm", ".pgm", ".ico", ".exr",
    ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".xcf",
}  # fmt: skip
"""Suffixes of image files, including formats that cannot be read."""

_IMAGE_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")


@dataclass
class ScannedFolder:
    """Store the files of a folder and its subfolders, sorted by name.

    Attributes:
        image_files: images, detected by the suffix or the first bytes.
        caption_files: text files.
        metadata_files: `metadata.jsonl` and `provenance.jsonl` files.
        other_files: all other files except hidden files.
        rejected: folders that cannot be read.
        notes: one sentence per skipped folder.
    """

    image_files: list[Path] = field(default_factory=list)
    caption_files: list[Path] = field(default_factory=list)
    metadata_files: list[Path] = field(default_factory=list)
    other_files: list[Path] = field(default_factory=list)
    rejected: list[RejectedFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def scan_folder(folder: Path | None) -> ScannedFolder:
    """Scan a folder recursively. Links to folders are followed once.

    Raises:
        UsageError: `folder` is None.
        InputFileError: the folder does not exist or cannot be read.
    """
    if folder is None:
        raise UsageError("Cannot train without images: the folder argument is missing.", "artgen train photos/ -o NAME")
    if not folder.is_dir():
        reason = "is not a folder" if folder.exists() else "does not exist"
        raise InputFileError(f"'{folder}' {reason}.", "Use a folder that contains the training images.")
    scanned = ScannedFolder()
    for path in _walk_files(folder, scanned):
        if path.name in METADATA_FILES:
            scanned.metadata_files.append(path)
        elif path.suffix.lower() == CAPTION_SUFFIX:
            scanned.caption_files.append(path)
        elif path.suffix.lower() not in _IMAGE_SUFFIXES and not _has_image_signature(path):
            scanned.other_files.append(path)
        elif is_derived(path):
            scanned.notes.append(f"'{relative_name(path, folder)}' is a frame, sheet or map of artgen and is skipped")
        else:
            scanned.image_files.append(path)
    return scanned


def _walk_files(folder: Path, scanned: ScannedFolder) -> Iterator[Path]:
    """Return all files that are not hidden, sorted by their relative path."""
    seen: set[tuple[int, int]] = set()

    def handle_error(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise InputFileError(f"Cannot read '{folder}': {error.strerror}.", "Check its permissions.") from error
        scanned.rejected.append(
            RejectedFile(relative_name(Path(error.filename), folder), f"{error.strerror}", "unreadable")
        )

    files = []
    for root, folders, names in os.walk(folder, onerror=handle_error, followlinks=True):
        current = Path(root)
        status = current.stat()
        if (status.st_dev, status.st_ino) in seen:
            scanned.notes.append(f"'{relative_name(current, folder)}' is a link to a folder that is already scanned")
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        if TRAINING_OUTPUT_MARKER in names and current != folder:
            scanned.notes.append(f"'{relative_name(current, folder)}' is the output of a training and is skipped")
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        for path in (current / name for name in names if not name.startswith(".")):
            if is_special_file(path):
                scanned.notes.append(f"'{relative_name(path, folder)}' is not a regular file and is skipped")
            else:
                files.append(path)
    return iter(sorted(files, key=lambda path: path.relative_to(folder).as_posix()))


def _has_image_signature(path: Path) -> bool:
    """Return whether a file starts with the signature of an image format."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return False
    is_webp = start[:4] == b"RIFF" and start[8:] == b"WEBP"
    return start.startswith(_IMAGE_SIGNATURES) or is_webp or bool(heif_format(start))
