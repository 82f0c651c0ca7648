"""What reading a folder of pictures finds: examples to learn from, files that cannot be used, what was said of both."""

from dataclasses import dataclass
from pathlib import Path

from artgen.errors import InputFileError


@dataclass(frozen=True)
class Provenance:
    """Where a picture comes from, in the words of `provenance.jsonl`; None where it says nothing.

    Attributes:
        source: where it was taken from: an address, a collection, "own work".
        author: who made it.
        licence: an SPDX name or expression (`CC0-1.0`), or other words.
        consent: free text, such as "asked in writing, 2024-03-01".
    """

    source: str | None = None
    author: str | None = None
    licence: str | None = None
    consent: str | None = None


@dataclass(frozen=True)
class TrainingImage:
    """A picture that can be learnt from.

    Attributes:
        path: the file.
        name: relative to the folder, with `/` between parts.
        caption: one line of text; may be empty.
        folder: the sub-folder that it is in, its class; None at the top.
        width, height: upright, in pixels.
        sha256: of the file's bytes, 64 hex digits.
        phash: 64 bits that hardly change when a picture is resized or compressed.
        provenance: None when nothing is said.
        notes: what has to be known of it, one sentence each.
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
    """A file that is not learnt from, and why; `kind` puts equal reasons together."""

    name: str
    reason: str
    kind: str


@dataclass(frozen=True)
class Dataset:
    """A folder, read.

    Attributes:
        folder: as it was named.
        images: in order of name.
        rejected: in order of name.
        duplicate_groups: names of pictures that are the same to the eye, the one that is kept first.
        notes: about the folder as a whole.
    """

    folder: Path
    images: tuple[TrainingImage, ...]
    rejected: tuple[RejectedFile, ...] = ()
    duplicate_groups: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()


class DatasetError(InputFileError):
    """What captions and tables say cannot be used as written; `errors` has all of it, a line each."""

    def __init__(self, folder: Path, errors: tuple[str, ...]) -> None:
        self.errors = errors
        count = "1 mistake" if len(errors) == 1 else f"{len(errors):,} mistakes, the first"
        super().__init__(f"What '{folder}' says of its pictures has {count}: {errors[0]}.", "Mend the files.")


def relative_name(path: Path, folder: Path) -> str:
    """A file's name as it is told: relative, with `/`, bytes that are no text as escapes."""
    return path.relative_to(folder).as_posix().encode("utf-8", "backslashreplace").decode("utf-8")
