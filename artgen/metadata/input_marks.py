"""Find the marks of AI generation in an input image, so that images made from it keep a mark.

A mark is one of: IPTC's digital source type, a C2PA manifest with such a type, IPTC's properties of AI systems, the
credit that Google's tools write, the record of artgen, the metadata of another generator, or stealth metadata.
"""

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from artgen.errors import InputFileError
from artgen.metadata.containers import RawTexts, extract_texts
from artgen.metadata.content_credentials.manifest_store import find_manifest_store, manifests
from artgen.metadata.exif_texts import exif_texts
from artgen.metadata.reading import embedded_metadata, read_sidecar
from artgen.metadata.stealth import find_stealth_signature
from artgen.metadata.writing import MAX_TEXT_BYTES, ai_source_type, source_type
from artgen.metadata.xmp import AI_PROMPT, AI_SYSTEM, CREDIT, SOURCE_TYPE, xmp_texts
from artgen.spec.tasks import COMPOSITE, GENERATED
from artgen.system.command_state import cleared_after_command
from artgen.system.files import FileIdentity, file_identity
from artgen.system.input_files import is_regular_file, read_input
from artgen.system.memory_file import file_content

MAX_INPUT_BYTES = 1 << 30
MAX_CACHED_FILES = 4096

_CREDITS = {"made with google ai": GENERATED, "edited with google ai": COMPOSITE}
"""Values of XMP's `photoshop:Credit` in images of Google's tools."""

_TYPE_IN_MANIFEST = re.compile(
    rb"digitalsourcetype/(trainedAlgorithmicMedia|compositeWithTrainedAlgorithmicMedia|compositeSynthetic)\b"
)
_XMP_END = b"</x:xmpmeta>"
_EDITING_TASKS = ("img2img", "inpaint", "outpaint", "edit")


@dataclass(frozen=True)
class InputMarks:
    """Store the marks of an image.

    Attributes:
        source_type: `trainedAlgorithmicMedia` or `compositeWithTrainedAlgorithmicMedia`; empty without a mark.
        origin: where the mark was found, as a phrase for messages.
        has_manifest: whether the file contains a C2PA manifest, with or without a mark of AI generation.
        is_in_pixels: whether the mark is only in the pixels (stealth metadata).
    """

    source_type: str = ""
    origin: str = ""
    has_manifest: bool = False
    is_in_pixels: bool = False


def find_marks(path: Path) -> InputMarks:
    """Return the marks of an image file. The files beside it are not read, except artgen's JSON sidecar.

    Args:
        path: an image file, a file in memory, or `-`.

    Returns:
        The marks; no marks for a file that cannot be read.
    """
    try:
        if file_content(path) is None and is_regular_file(path):
            return _marks_of_file(file_identity(path), path)
        return _find_marks(path, read_input(path, MAX_INPUT_BYTES))
    except (InputFileError, OSError):
        return InputMarks()


@cleared_after_command
@lru_cache(maxsize=MAX_CACHED_FILES)
def _marks_of_file(_: FileIdentity, path: Path) -> InputMarks:
    """Return the marks of a file on the disk. A command needs them for its notes and for each of its outputs."""
    return _find_marks(path, read_input(path, MAX_INPUT_BYTES))


def _find_marks(path: Path, data: bytes) -> InputMarks:
    store = find_manifest_store(data)
    raw = _texts(path, data)
    found, origin = _embedded_mark(raw, store, path)
    if not found and (signature := find_stealth_signature(path)):
        return InputMarks(GENERATED, f"stealth metadata ('{signature}')", store is not None, True)
    return InputMarks(found, origin, store is not None)


def mark_in_memory(image: Image.Image) -> str:
    """Return the mark of a PIL image: of the texts, the EXIF data and the XMP packet that Pillow read from its file.

    Pillow does not read C2PA manifests.
    """
    info = image.info
    texts = {name: str(text) for name, text in info.items() if isinstance(name, str) and isinstance(text, str)}
    packet = texts.pop("XML:com.adobe.xmp", None) or info.get("xmp")
    packet = packet.decode("utf-8", "replace") if isinstance(packet, bytes) else packet
    if isinstance(packet, str) and len(packet) <= MAX_TEXT_BYTES:
        texts |= xmp_texts(packet)
    if isinstance(exif := info.get("exif"), bytes):
        with contextlib.suppress(Exception):  # Pillow raises many exception types on damaged data
            texts = exif_texts(exif, []) | texts
    return _mark_in_texts(RawTexts(True, texts))[0]


def combined_source_type(marks: Iterable[InputMarks]) -> str:
    """Return the mark of an image that is made from several images, before the effect of artgen's own model.

    `trainedAlgorithmicMedia` if a model generated all images, else `compositeWithTrainedAlgorithmicMedia` if one image
    has a mark, else an empty text.
    """
    types = [each.source_type for each in marks]
    if not any(types):
        return ""
    return GENERATED if all(each == GENERATED for each in types) else COMPOSITE


def _texts(path: Path, data: bytes) -> RawTexts:
    try:
        raw = extract_texts(path)
    except InputFileError:  # a format without texts, such as GIF
        raw = RawTexts(False)
    if raw.is_image:
        return raw
    start = data.find(b"<x:xmpmeta")
    end = data.find(_XMP_END, start, start + MAX_TEXT_BYTES) if start >= 0 else -1
    packet = data[start : end + len(_XMP_END)] if end >= 0 else b""
    return RawTexts(True, xmp_texts(packet.decode("utf-8", "replace")))


def _embedded_mark(raw: RawTexts, store: bytes | None, path: Path) -> tuple[str, str]:
    """Return the digital source type of the first mark, and where it was found."""
    if (found := _mark_in_texts(raw))[0]:
        return found
    if store is not None and (kind := _manifest_type(store)):
        return kind, f"the C2PA manifest of {raw.texts.get('C2PA') or 'an unknown tool'}"
    if not raw.texts and (record := read_sidecar(path)) is not None:
        return _record_type(record), "the record of artgen"
    return "", ""


def _mark_in_texts(raw: RawTexts) -> tuple[str, str]:
    texts = raw.texts
    if found := ai_source_type(texts.get(SOURCE_TYPE, "")):
        return found, "IPTC's digital source type"
    if AI_SYSTEM in texts or AI_PROMPT in texts:
        return GENERATED, "IPTC's properties of AI systems"
    if found := _CREDITS.get(texts.get(CREDIT, "").strip().lower(), ""):
        return found, f"the credit '{texts[CREDIT][:40]}'"
    record, external = embedded_metadata(raw)
    if record is not None:
        found = _record_type(record)
        return found, "the record of artgen" if found else ""
    if external is not None:
        is_edit = external.fields.get("task") in _EDITING_TASKS
        return COMPOSITE if is_edit else GENERATED, f"the metadata of {external.tool_name}"
    return "", ""


def _record_type(record: Mapping[str, object]) -> str:
    """Return the mark of a record of artgen; empty for a task that generates nothing, such as `denoise`."""
    return ai_source_type(source_type(record)) if "task" in record or "prompt" in record else ""


def _manifest_type(store: bytes) -> str:
    """Return the digital source type of the last manifest that has one. Texts in CBOR are stored unchanged."""
    for manifest in reversed(manifests(store) or [store]):
        types = [each.decode() for each in _TYPE_IN_MANIFEST.findall(manifest)]
        if types:
            return ai_source_type(types[-1]) if len(set(types)) == 1 else COMPOSITE
    return ""
