"""Create the notes about marks of input images: which marks the output keeps, and which are not copied."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from artgen.metadata.input_marks import combined_source_type, find_marks
from artgen.metadata.writing import INPUT_MANIFESTS, INPUT_SOURCE_TYPE, source_type
from artgen.outputs.encoding import EncodingOptions

MAX_NAMES = 3


@dataclass(frozen=True)
class SourceMarks:
    """Store the marks of the images from which a sheet, a map or another derived image is made.

    Attributes:
        source_type: digital source type of the derived image; empty without a mark.
        notes: notes about marks that are not copied, one sentence each.
    """

    source_type: str
    notes: tuple[str, ...] = ()


def source_marks(files: Iterable[Path]) -> SourceMarks:
    """Return the marks of image files for an image that is derived from them."""
    marks = {file: find_marks(file) for file in dict.fromkeys(files)}
    names = [file.name for file, each in marks.items() if each.has_manifest]
    found = combined_source_type(marks.values())
    notes = (manifest_note(names, has_mark=bool(found), can_sign=False),) if names else ()
    return SourceMarks(found, notes)


def mark_notes(record: Mapping[str, object], encoding: EncodingOptions) -> tuple[str, ...]:
    """Return notes about the marks of the input images of a result.

    Args:
        record: record of the result, or its provenance.
        encoding: format and options.
    """
    notes = []
    names = record.get(INPUT_MANIFESTS)
    if isinstance(names, list) and names and encoding.signing is None:
        has_mark = encoding.metadata != "none" or bool(record.get(INPUT_SOURCE_TYPE))
        notes.append(manifest_note(names, has_mark=has_mark))
    if encoding.metadata == "none" and record.get(INPUT_SOURCE_TYPE):
        name = source_type(record).rsplit("/", 1)[-1]
        notes.append(f"The output has IPTC's mark '{name}', also with metadata none: the input image has such a mark.")
    return tuple(notes)


def manifest_note(names: Sequence[object], *, has_mark: bool, can_sign: bool = True) -> str:
    """Return the note about the C2PA manifests of input images, which are not valid for changed pixels.

    Args:
        names: names of the files.
        has_mark: whether the output has IPTC's digital source type.
        can_sign: whether the command has the option --sign.
    """
    shown = ", ".join(f"'{name}'" for name in names[:MAX_NAMES])
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    mark = " The output has IPTC's digital source type." if has_mark else ""
    hint = " --sign adds the manifest as an ingredient." if can_sign else ""
    return f"The C2PA manifest of {shown}{more} is not copied, because it is not valid for changed pixels.{mark}{hint}"
