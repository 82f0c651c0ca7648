"""Read the generation metadata of images. Metadata is untrusted: the size and the depth of the values are limited."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from artgen.errors import InputFileError
from artgen.metadata.comfy import parse_comfy
from artgen.metadata.containers import RawTexts, extract_texts, text_file_texts
from artgen.metadata.external_record import ExternalRecord
from artgen.metadata.json_texts import json_object
from artgen.metadata.stealth import find_stealth_signature
from artgen.metadata.tools import read_external
from artgen.metadata.writing import MAX_SIDECAR_BYTES, MINIMAL_KEYS, sidecar_path
from artgen.metadata.xmp import RECORD as XMP_RECORD
from artgen.metadata.xmp import xmp_texts
from artgen.spec.requests import TASKS
from artgen.system.external_data import parse_json, read_optional

INVALID_RECORD_NOTE = "The artgen record is ignored: it is not a JSON object."

NEIGHBOR_SUFFIXES = (".txt", ".json", ".swarm.json", ".metadata.json")
"""Suffixes of the files that AUTOMATIC1111, Easy Diffusion, SwarmUI and mflux write beside an image."""

SIDECAR_ONLY_SUFFIXES = (".gif", ".mp4")
"""Suffixes of animations of artgen whose record is only in the JSON sidecar."""

MAX_SHOWN_TEXTS = 5
MAX_SHOWN_CHARS = 60


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
    """Read an image, an animation of artgen, a JSON record or a text file with A1111 parameters.

    Images are PNG, JPEG, WebP, AVIF, HEIC and TIFF. The limit is 1 MiB per text in an image and 8 MiB per text file;
    larger data is ignored with a note. The JSON sidecar is read only if the image does not contain a full record. A
    text file of another tool beside an image is read only if the image has no generation metadata.

    Raises:
        InputFileError: The file is missing, unreadable, damaged, or contains no generation metadata.
    """
    if path.suffix.lower() in SIDECAR_ONLY_SUFFIXES and (found := read_sidecar(path)) is not None:
        return ImageMetadata("sidecar", found, None, ())
    raw = extract_texts(path)
    notes = list(raw.notes)
    record = _parse_record(_record_text(raw), notes)
    source = "artgen"
    if raw.is_image and (record is None or record.keys() <= MINIMAL_KEYS):
        sidecar_record = read_sidecar(path, notes)
        if sidecar_record is not None:
            record, source = sidecar_record, "sidecar"
    external = read_external(raw.texts)
    if external is None:
        external = _read_comfy(raw.texts, notes)
    elif record is None and raw.is_image and _comfy_graphs(raw.texts):
        notes.append("The image also contains a graph of ComfyUI, which is not read.")
    if record is None and external is None and raw.is_image:
        external = _read_neighbor(path, notes)
    if record is None and external is None:
        raise _no_metadata_error(path, raw, notes)
    return ImageMetadata(source if record or external is None else external.tool, record, external, tuple(notes))


def embedded_metadata(raw: RawTexts) -> tuple[dict[str, object] | None, ExternalRecord | None]:
    """Return the record of artgen and the record of another tool in the texts of an image, without files beside it."""
    return _parse_record(_record_text(raw), []), read_external(raw.texts) or _read_comfy(raw.texts, [])


def _record_text(raw: RawTexts) -> str | None:
    """Return the text of artgen's record. A JSON file is a record if it has the keys of a record."""
    text = raw.texts.get("artgen") or raw.texts.get(XMP_RECORD)
    if text is None and not raw.is_image:
        data = json_object(raw.texts, "json")
        is_record = "artgen" in data or data.get("task") in TASKS or isinstance(data.get("prompt"), str)
        if is_record and read_external(raw.texts) is None:
            return raw.texts["json"]
    return text


def _read_comfy(texts: Mapping[str, str], notes: list[str]) -> ExternalRecord | None:
    graphs = _comfy_graphs(texts)
    prompt, workflow = (_parse_graph(graphs.get(name), notes) for name in ("prompt", "workflow"))
    return parse_comfy(prompt, workflow)


def _comfy_graphs(texts: Mapping[str, str]) -> dict[str, str]:
    """Return the graphs of ComfyUI: PNG texts, EXIF texts that start with the name of the graph, or a JSON file."""
    graphs = {name: texts[name] for name in ("prompt", "workflow") if name in texts}
    for value in (texts.get("Make", ""), texts.get("Model", ""), texts.get("ImageDescription", "")):
        name, colon, text = value.partition(":")
        if colon and name.lower() in ("prompt", "workflow") and text.lstrip().startswith("{"):
            graphs.setdefault(name.lower(), text)
    if '"class_type"' in (text := texts.get("json", "")):
        graphs["prompt"] = text
    elif '"widgets_values"' in text or '"nodes"' in text:
        graphs["workflow"] = text
    return {name: text for name, text in graphs.items() if text.lstrip().startswith("{")}


def _read_neighbor(path: Path, notes: list[str]) -> ExternalRecord | None:
    """Read the text file that other tools write beside an image: `fox.txt`, or the JSON of the image."""
    for suffix in NEIGHBOR_SUFFIXES:
        neighbor = path.with_suffix(suffix) if path.suffix else path.with_name(path.name + suffix)
        data = read_optional(neighbor, MAX_SIDECAR_BYTES)
        if not data:
            continue
        try:
            texts = text_file_texts(data, neighbor).texts
        except InputFileError:
            continue
        record = read_external(texts) or _read_comfy(texts, [])
        if record is not None:
            notes.append(f"The metadata is from '{neighbor.name}' next to the image.")
            return record
    return None


def _no_metadata_error(path: Path, raw: RawTexts, notes: list[str]) -> InputFileError:
    """Return the error for a file without a prompt. The message contains what was found instead."""
    message = f"'{path}' contains no generation metadata."
    found = [
        f"{name.removeprefix('xmp:')} {text.strip()[:MAX_SHOWN_CHARS]!r}"
        for name, text in raw.texts.items()
        if name != "C2PA"
    ]
    if found:
        more = f" and {len(found) - MAX_SHOWN_TEXTS} more" if len(found) > MAX_SHOWN_TEXTS else ""
        message += f" Its texts are not prompts: {', '.join(found[:MAX_SHOWN_TEXTS])}{more}."
    if "C2PA" in raw.texts:
        message += f" It has C2PA content credentials of {raw.texts['C2PA']}, which contain no prompt."
    if raw.is_image and (signature := find_stealth_signature(path)):
        message += f" It has stealth metadata ('{signature}') in its pixels, which artgen does not support."
    return InputFileError(
        " ".join([message, *notes]),
        "Use an image saved by artgen, AUTOMATIC1111, ComfyUI or another tool that embeds the prompt; editors and "
        "messengers remove it.",
    )


def has_sidecar(image_path: Path) -> bool:
    """Return whether artgen's JSON sidecar exists for an image path. The image itself may be missing."""
    return read_sidecar(image_path) is not None


def read_sidecar(path: Path, notes: list[str] | None = None) -> dict[str, object] | None:
    """Return the record in artgen's JSON sidecar of an image; None without a sidecar of artgen.

    Args:
        path: the image; it may be missing.
        notes: receives the reason if the sidecar is ignored.
    """
    notes = [] if notes is None else notes
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
        notes.append(INVALID_RECORD_NOTE)
        return None
    return decoded or None


def _xmp_payload(text: str) -> str:
    """Return the JSON inside an XMP packet. Text that is not XMP is returned unchanged."""
    is_packet = text.lstrip("\ufeff \n\r\t").startswith("<")
    return xmp_texts(text).get(XMP_RECORD, "") if is_packet else text


def _parse_graph(text: str | None, notes: list[str]) -> object:
    """Parse a graph. Python writes NaN and Infinity into JSON, for example for nodes that are always computed again."""
    try:
        return parse_json(text) if text else None
    except ValueError:
        value = _parse_json(text, notes, unset_non_finite=True)
    if value is not None:
        notes.append("Numbers of the graph that are not finite, such as NaN, are unset.")
    return value


def _parse_json(text: str | None, notes: list[str], *, unset_non_finite: bool = False) -> object:
    if not text:
        return None
    try:
        return parse_json(text, unset_non_finite=unset_non_finite)
    except ValueError as error:
        notes.append(f"A JSON text is ignored: {error}.")
        return None
