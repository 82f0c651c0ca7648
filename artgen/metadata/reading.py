"""Read the generation metadata of images. Metadata is untrusted: the size and the depth of the values are limited."""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from artgen.errors import InputFileError
from artgen.metadata.a1111 import parse_a1111
from artgen.metadata.comfy import parse_comfy
from artgen.metadata.containers import extract_texts
from artgen.metadata.external_record import ExternalRecord
from artgen.metadata.writing import MAX_SIDECAR_BYTES, MINIMAL_KEYS, XMP_NAMESPACE, sidecar_path
from artgen.system.external_data import parse_json


@dataclass(frozen=True)
class ImageMetadata:
    """Store the generation metadata of a file. All values are untrusted.

    Attributes:
        source: "artgen" (record in the file), "sidecar" (JSON file next to the image), or the identifier of another
            tool; see `TOOL_NAMES`.
        record: artgen's record. Numbers are finite, and values are nested at most `MAX_JSON_DEPTH` levels.
        external: record of another tool. Images of artgen have one too: the A1111 text.
        notes: ignored data with the reason, one sentence each.
    """

    source: str
    record: dict[str, object] | None = None
    external: ExternalRecord | None = None
    notes: tuple[str, ...] = ()

    @property
    def fields(self) -> dict[str, object]:
        """Return the record, else the fields of the other tool's record."""
        return self.record or (dict(self.external.fields) if self.external else {})

    @property
    def values(self) -> dict[str, object]:
        """Return all values as JSON: the record, else the record of the other tool."""
        return self.record or (self.external.to_dict() if self.external else {})


def read_metadata(path: Path) -> ImageMetadata:
    """Read a PNG, JPEG or WebP image, a `.json` record or ComfyUI graph, or a text file with A1111 parameters.

    The limit is 1 MiB per text in an image and 8 MiB per text file; larger data is ignored with a note. The JSON
    sidecar is read only if the image does not contain a full record.

    Raises:
        InputFileError: The file is missing, unreadable, damaged, or contains no generation metadata.
    """
    texts = extract_texts(path)
    notes = list(texts.notes)
    record = _parse_record(texts.record, notes)
    source = "artgen"
    if texts.is_image and (record is None or record.keys() <= MINIMAL_KEYS):
        sidecar_record = _read_sidecar(path, notes)
        if sidecar_record is not None:
            record, source = sidecar_record, "sidecar"
    external = parse_a1111(texts.parameters) if texts.parameters else None
    if external is not None and not texts.is_image and len(external.fields) < 3:
        external = None  # any text file can be parsed as a prompt
    if external is None:
        external = parse_comfy(_parse_json(texts.prompt, notes), _parse_json(texts.workflow, notes))
    if record is None and external is None:
        raise InputFileError(
            " ".join([f"'{path}' contains no generation metadata.", *notes]),
            "Use an image saved by artgen, AUTOMATIC1111 or ComfyUI; editors and messengers remove the metadata.",
        )
    return ImageMetadata(source if record or external is None else external.tool, record, external, tuple(notes))


def has_sidecar(image_path: Path) -> bool:
    """Return whether artgen's JSON sidecar exists for an image path. The image itself may be missing."""
    return _read_sidecar(image_path, []) is not None


def _read_sidecar(path: Path, notes: list[str]) -> dict[str, object] | None:
    sidecar = sidecar_path(path)
    try:
        if not sidecar.is_file():
            return None
        if sidecar.stat().st_size > MAX_SIDECAR_BYTES:
            notes.append(f"'{sidecar.name}' is ignored: it has more than {MAX_SIDECAR_BYTES} bytes.")
            return None
        record = _parse_record(sidecar.read_text("utf-8"), notes)
        return record if record and "artgen" in record else None  # other tools use the same file name
    except (OSError, UnicodeDecodeError):
        notes.append(f"'{sidecar.name}' cannot be read.")
        return None


def _parse_record(text: str | None, notes: list[str]) -> dict[str, object] | None:
    if text is None:
        return None
    decoded = _parse_json(_xmp_payload(text), notes)
    if not isinstance(decoded, dict):
        notes.append("The artgen record is ignored: it is not a JSON object.")
        return None
    return decoded or None


def _xmp_payload(text: str) -> str:
    """Return the JSON inside an XMP packet. Text that is not XMP is returned unchanged."""
    if not text.lstrip("\ufeff \n\r\t").startswith("<"):
        return text
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        return ""
    finder = _RecordFinder()
    try:
        parser = ElementTree.XMLParser(target=finder)
        parser.feed(text)
        parser.close()
    except (ElementTree.ParseError, ValueError):
        return ""
    return finder.record or ""


class _RecordFinder:
    """Collect the first record of an XMP packet, an attribute or the text of an element, without building a tree."""

    NAME = f"{{{XMP_NAMESPACE}}}record"

    def __init__(self) -> None:
        self.record: str | None = None
        self._texts: list[str] | None = None

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if self.record is None and self._texts is None:
            self.record = attributes.get(self.NAME)
            if tag == self.NAME:
                self._texts = []

    def data(self, text: str) -> None:
        if self._texts is not None:
            self._texts.append(text)

    def end(self, tag: str) -> None:
        if tag == self.NAME and self._texts is not None:
            self.record, self._texts = "".join(self._texts), None

    def close(self) -> None:
        """Finish the parsing, as the parser requires."""


def _parse_json(text: str | None, notes: list[str]) -> object:
    if not text:
        return None
    try:
        return parse_json(text)
    except ValueError as error:
        notes.append(f"A JSON text is ignored: {error}.")
        return None
