"""Reading back what made a picture. What is read is data: capped in size, plain values only, never acted upon."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from artgen.errors import InputFileError
from artgen.metadata.a1111 import parse_a1111
from artgen.metadata.comfy import parse_comfy
from artgen.metadata.containers import extract_texts
from artgen.metadata.writing import MAX_SIDECAR_BYTES, MINIMAL_KEYS, XMP_NAMESPACE, sidecar_path


@dataclass(frozen=True)
class ImageMetadata:
    """What a file says about how a picture was made. All of it is untrusted.

    Attributes:
        source: what `fields` comes from: "artgen" (the record in the file), "sidecar" (the JSON file beside it),
            "a1111" or "comfyui".
        record: artgen's own record, flat; values are strings, finite numbers, booleans, None or lists of them.
        parameters: fields read from A1111 text; see `parse_a1111`.
        comfy: fields read from a ComfyUI graph; see `parse_comfy`.
        notes: what was left out and why, one sentence each.
    """

    source: str
    record: dict[str, object] | None = None
    parameters: dict[str, object] | None = None
    comfy: dict[str, object] | None = None
    notes: tuple[str, ...] = ()

    @property
    def fields(self) -> dict[str, object]:
        """The best that was found: the record, else the A1111 parameters, else the ComfyUI fields."""
        return self.record or self.parameters or self.comfy or {}


def read_metadata(path: Path) -> ImageMetadata:
    """Read a PNG, JPEG or WebP picture, a `.json` record or ComfyUI graph, or a text file of A1111 parameters.

    Text in a picture is read up to 1 MiB an entry, other files up to 8 MiB; more is left out with a note. The JSON
    file beside a picture is read only when the picture holds no full record of its own.

    Raises:
        InputFileError: the file is missing, unreadable, damaged, or says nothing about how it was made.
    """
    texts = extract_texts(path)
    notes = list(texts.notes)
    record = _parse_record(texts.record, notes)
    source = "artgen"
    if texts.is_image and (record is None or record.keys() <= MINIMAL_KEYS):
        beside = _read_sidecar(path, notes)
        if beside is not None:
            record, source = beside, "sidecar"
    parameters = parse_a1111(texts.parameters) if texts.parameters else None
    if parameters is not None and not texts.is_image and len(parameters) < 3:
        parameters = None  # any text at all would do for a prompt
    comfy = parse_comfy(_parse_json(texts.prompt, notes), _parse_json(texts.workflow, notes))
    if record is None:
        source = "a1111" if parameters is not None else "comfyui"
    if record is None and parameters is None and comfy is None:
        because = f" ({'; '.join(notes)})" if notes else ""
        raise InputFileError(
            f"'{path}' does not say how it was made{because}",
            "Use a picture saved by artgen, AUTOMATIC1111 or ComfyUI that was not edited or sent through a messenger.",
        )
    return ImageMetadata(source, record, parameters, comfy, tuple(notes))


def has_sidecar(image_path: Path) -> bool:
    """Whether a JSON file that artgen wrote lies beside a picture, or where a picture could be."""
    return _read_sidecar(image_path, []) is not None


def _read_sidecar(path: Path, notes: list[str]) -> dict[str, object] | None:
    beside = sidecar_path(path)
    try:
        if not beside.is_file():
            return None
        if beside.stat().st_size > MAX_SIDECAR_BYTES:
            notes.append(f"'{beside.name}' has more than {MAX_SIDECAR_BYTES} bytes and is not read")
            return None
        record = _parse_record(beside.read_text("utf-8"), notes)
        return record if record and "artgen" in record else None  # other tools call files so, too
    except (OSError, UnicodeDecodeError):
        notes.append(f"'{beside.name}' cannot be read")
        return None


def _parse_record(text: str | None, notes: list[str]) -> dict[str, object] | None:
    """Check a decoded record: a flat object of plain values."""
    if text is None:
        return None
    decoded = _parse_json(_xmp_payload(text), notes)
    if not isinstance(decoded, dict):
        notes.append("the artgen record is not a JSON object")
        return None
    kept = {key: value for key, value in decoded.items() if _is_plain_value(value)}
    if len(kept) < len(decoded):
        notes.append("entries of the artgen record that are no plain values are left out")
    return kept or None


def _xmp_payload(text: str) -> str:
    """The JSON inside an XMP packet, or the text itself."""
    if not text.lstrip("\ufeff \n\r\t").startswith("<"):
        return text
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        return ""
    try:
        tree = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError):
        return ""
    for element in tree.iter():
        if element.tag == f"{{{XMP_NAMESPACE}}}record":
            return element.text or ""
        if (value := element.get(f"{{{XMP_NAMESPACE}}}record")) is not None:
            return value
    return ""


def _is_plain_value(value: object) -> bool:
    if isinstance(value, list):
        return len(value) <= 256 and all(item is None or isinstance(item, str | int | float | bool) for item in value)
    return value is None or isinstance(value, str | int | float | bool)


def _parse_json(text: str | None, notes: list[str]) -> object:
    if not text:
        return None
    try:
        return json.loads(text, parse_constant=_reject_constant, parse_float=_parse_finite)
    except (ValueError, RecursionError, MemoryError):
        notes.append("an entry that should be JSON cannot be read")
        return None


def _reject_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _parse_finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("number too large")
    return value
