"""Create the notes about marks of input images: which marks the output keeps, and which are not copied."""

from collections.abc import Mapping, Sequence

from artgen.metadata.writing import INPUT_MANIFESTS, INPUT_SOURCE_TYPE, source_type
from artgen.outputs.encoding import EncodingOptions

MAX_NAMES = 3


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


def manifest_note(names: Sequence[object], *, has_mark: bool) -> str:
    """Return the note about the C2PA manifests of input images, which are not valid for changed pixels.

    Args:
        names: names of the files.
        has_mark: whether the output has IPTC's digital source type.
    """
    shown = ", ".join(f"'{name}'" for name in names[:MAX_NAMES])
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    mark = " The output has IPTC's digital source type." if has_mark else ""
    return (
        f"The C2PA manifest of {shown}{more} is not copied, because it is not valid for changed pixels.{mark} --sign "
        "adds the manifest as an ingredient."
    )
