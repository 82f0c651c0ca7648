"""Define the types of a data set: training images, their provenance, and rejected files."""

from dataclasses import dataclass
from pathlib import Path

from artgen.errors import InputFileError
from artgen.system.counts import counted


@dataclass(frozen=True)
class Provenance:
    """Store the origin of an image as `provenance.jsonl` states it. Values that are not stated are None.

    Attributes:
        source: free text, such as a URL, a collection or "own work".
        author: name of the author.
        license: SPDX name or expression (`CC0-1.0`), or other text.
        consent: free text, such as "asked in writing, 2024-03-01".
    """

    source: str | None = None
    author: str | None = None
    license: str | None = None
    consent: str | None = None


@dataclass(frozen=True)
class TrainingImage:
    """Represent a usable training image.

    Attributes:
        path: the file.
        name: path relative to the folder of the data set, with `/`.
        caption: one line of text; can be empty.
        folder: relative path of the subfolder, which is the class of the image; None for the top folder.
        width: width of the upright image in pixels.
        height: height of the upright image in pixels.
        sha256: SHA-256 of the file, 64 hex digits.
        phash: 64-bit perceptual hash; nearly invariant to resizing and compression.
        provenance: origin of the image; None if it is not stated.
        notes: warnings and conversions, one sentence each.
    """

    path: Path
    name: str
    caption: str
    folder: str | None
    width: int
    height: int
    sha256: str
    phash: int
    provenance: Provenance | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RejectedFile:
    """Represent a rejected file.

    Attributes:
        name: path relative to the folder of the data set.
        reason: predicate of a sentence about the file, such as "is empty".
        kind: category of the reason, for summaries.
    """

    name: str
    reason: str
    kind: str


@dataclass(frozen=True)
class Dataset:
    """Store a data set.

    Attributes:
        folder: the folder of the request.
        images: usable images, sorted by name.
        rejected: rejected files, sorted by name.
        duplicate_groups: image names of each group of duplicates; the largest image is first.
        notes: warnings about the folder, one sentence each.
    """

    folder: Path
    images: tuple[TrainingImage, ...]
    rejected: tuple[RejectedFile, ...] = ()
    duplicate_groups: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()


class DatasetError(InputFileError):
    """Report invalid caption and metadata files. `errors` contains one message per error."""

    def __init__(self, folder: Path, errors: tuple[str, ...]) -> None:
        self.errors = errors
        count = counted(len(errors), "error", "errors, the first one")
        super().__init__(
            f"Cannot read the captions and metadata of '{folder}': {count}: {errors[0]}.", "Correct the files."
        )


def relative_name(path: Path, folder: Path) -> str:
    """Return the relative path of a file with `/`. Bytes that are not text are escaped."""
    return path.relative_to(folder).as_posix().encode("utf-8", "backslashreplace").decode("utf-8")
