"""List the images in folders."""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from artgen.errors import InputFileError
from artgen.images.derived import is_derived
from artgen.images.formats import IMAGE_SUFFIXES
from artgen.system.counts import counted
from artgen.system.input_files import is_stdin

OUTPUT = "image in the output folder"
OWN_RESULT = "image of this batch"
GALLERY = "image of the gallery"
MASK = "mask"
_DERIVED = "frame, sheet or map"
_SPECIAL = "pipe or device"
_LINK = "linked folder"
_UNREADABLE = "unreadable folder"

_PLURALS = {
    OUTPUT: "images in the output folder",
    OWN_RESULT: "images of this batch",
    GALLERY: "images of the gallery",
    _DERIVED: "frames, sheets or maps",
    _SPECIAL: "pipes or devices",
}
"""Plurals of the reasons to skip a file, if they do not end with `s`."""

FileId = tuple[int, int]


def iter_images(
    paths: Sequence[Path],
    *,
    excluded: Mapping[Path, str] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Iterator[tuple[Path, Path]]:
    """Yield each image, sorted by path, with the folder that its name is relative to.

    In a folder, these files are skipped: hidden files and folders, pipes and devices, linked folders, `excluded`, and
    frames, sheets and maps that artgen derived from other images. If the folder contains only derived images, they are
    not skipped.

    Args:
        paths: image files, and folders to search recursively.
        excluded: files and folders to skip, such as the output folder, each with a reason such as `OUTPUT`. They are
            recognized under any name, also through a link.
        on_note: receives a sentence for each folder in which files were skipped.

    Raises:
        InputFileError: A folder contains no images, or cannot be read.
    """
    reasons = {file_id: reason for path, reason in (excluded or {}).items() if (file_id := _file_id(path))}
    for path in paths:
        if is_stdin(path) or not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for long names
            yield path, path.parent
            continue
        search = _FolderSearch(path, reasons)
        images = search.images
        skipped = ", ".join(counted(n, reason, _PLURALS.get(reason, "")) for reason, n in search.skipped.items())
        if not images:
            raise InputFileError(
                f"'{path}' contains no images{f', except {skipped}' if skipped else ''}.",
                f"Image files end with {', '.join(sorted(IMAGE_SUFFIXES))}.",
            )
        if skipped and on_note is not None:
            on_note(f"Skipped in '{path}': {skipped}.")
        yield from ((image, path) for image in images)


class _FolderSearch:
    """Find the images of a folder.

    Attributes:
        images: images to use, sorted by path.
        skipped: number of skipped files and folders by reason.
    """

    def __init__(self, root: Path, excluded: Mapping[FileId, str]) -> None:
        self._root = root
        self._excluded = excluded
        self.skipped: Counter[str] = Counter()
        found: list[Path] = []
        derived: list[Path] = []
        for path in self._walk():
            (derived if is_derived(path) else found).append(path)
        self.images = sorted(found or derived)
        if found and derived:
            self.skipped[_DERIVED] += len(derived)

    def _walk(self) -> Iterator[Path]:
        """Yield the files with an image suffix that are not skipped because of their type or `excluded`."""
        for folder, folders, names in os.walk(self._root, onerror=self._on_error):
            folders[:] = [name for name in folders if not name.startswith(".") and self._enters(Path(folder, name))]
            for name in names:
                path = Path(folder, name)
                if _is_image_name(name) and self._accepts(path):
                    yield path

    def _on_error(self, error: OSError) -> None:
        if Path(error.filename) == self._root:
            raise InputFileError(f"Cannot read '{self._root}': {error.strerror}.", "Check its permissions.") from error
        self.skipped[_UNREADABLE] += 1

    def _enters(self, folder: Path) -> bool:
        if reason := self._excluded.get(_file_id(folder) or (0, 0)):
            names = (name for _, _, names in os.walk(folder) for name in names)
            self.skipped.update({reason: sum(map(_is_image_name, names))})
        elif folder.is_symlink():
            reason = _LINK
            self.skipped[_LINK] += 1
        self.skipped += Counter()  # remove a reason whose folder contains no image
        return reason is None

    def _accepts(self, path: Path) -> bool:
        try:
            status = path.stat()
        except OSError:
            return True  # the error is reported when the image is read
        reason = self._excluded.get((status.st_dev, status.st_ino))
        if reason is None and not stat.S_ISREG(status.st_mode):
            reason = _SPECIAL
        if reason is not None:
            self.skipped[reason] += 1
        return reason is None


def is_special_file(path: Path) -> bool:
    """Return whether a file in a folder is a pipe, a socket or a device. Reading it could block."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:  # reading the file reports the error
        return False


def _is_image_name(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")


def _file_id(path: Path) -> FileId | None:
    """Return device and inode, which are equal for all names of a file; None if the file does not exist."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
