"""Create the notes about marks of input images: which marks the output keeps, and which are not copied."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from artgen.metadata.input_marks import combined_source_type, find_marks
from artgen.metadata.writing import INPUT_MANIFESTS, INPUT_SOURCE_TYPE, source_type
from artgen.outputs.encoding import EncodingOptions


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
    found = combined_source_type(marks.values())
    has_manifest = any(each.has_manifest for each in marks.values())
    return SourceMarks(found, (_manifest_note(has_mark=bool(found), can_sign=False),) if has_manifest else ())


def mark_notes(record: Mapping[str, object], encoding: EncodingOptions) -> tuple[str, ...]:
    """Return notes about the marks of the input images of a result.

    Args:
        record: record of the result, or its provenance.
        encoding: format and options.
    """
    notes = []
    if record.get(INPUT_MANIFESTS) and encoding.signing is None:
        has_mark = encoding.metadata != "none" or bool(record.get(INPUT_SOURCE_TYPE))
        notes.append(_manifest_note(has_mark=has_mark, can_sign=True))
    if encoding.metadata == "none" and record.get(INPUT_SOURCE_TYPE):
        name = source_type(record).rsplit("/", 1)[-1]
        notes.append(f"The output has IPTC's mark '{name}', also with metadata none: the input image has such a mark.")
    return tuple(notes)


def _manifest_note(*, has_mark: bool, can_sign: bool) -> str:
    """Return the note about C2PA manifests. It contains no file names, so that a batch prints it once.

    Args:
        has_mark: whether the output has IPTC's digital source type.
        can_sign: whether the command has the option --sign.
    """
    mark = " The output has IPTC's digital source type." if has_mark else ""
    hint = " --sign adds the manifest as an ingredient." if can_sign else ""
    text = "The C2PA manifest of the input image is not copied, because it is not valid for changed pixels."
    return f"{text}{mark}{hint}"
