"""Write a record into an image file as PNG text, EXIF and XMP, or into a JSON sidecar."""

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from artgen.errors import UsageError
from artgen.images.derived import derived_comment
from artgen.images.file_attributes import TypedExif
from artgen.metadata.a1111 import format_a1111, public_model_name
from artgen.spec.requests import TASKS
from artgen.spec.tasks import COMPOSITE, ENHANCED, GENERATED

METADATA_LEVELS = ("full", "minimal", "none")
"""full: the complete record; minimal: only the tool and the model; none: no metadata."""

MINIMAL_KEYS = frozenset({"artgen", "model"})
"""Record keys at the level `minimal`, and in an image with a JSON sidecar."""

XMP_NAMESPACE = "urn:artgen:xmp:1.0#"
"""XMP namespace of the property `artgen:record`, which contains the JSON record."""

IPTC_NAMESPACE = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_SOURCE_TYPE_PREFIX = "http://cv.iptc.org/newscodes/digitalsourcetype/"

INPUT_SOURCE_TYPE = "input_source_type"
"""Field of a record: the mark of AI generation of the input images, a digital source type without its prefix."""

INPUT_MANIFESTS = "input_manifests"
"""Field of a record: the names of the input files with a C2PA manifest."""

_AI_SOURCE_TYPES = {GENERATED: GENERATED, COMPOSITE: COMPOSITE, "compositeSynthetic": COMPOSITE}
"""Digital source types that are marks of AI generation, and the type with which artgen replaces each."""

MAX_TEXT_BYTES = 1 << 20
"""Limit of a text that is written into an image or read from an image."""

MAX_SIDECAR_BYTES = 8 << 20
"""Limit of a JSON sidecar."""

# a JPEG segment has 65,533 bytes including overhead; see the JPEG, EXIF and XMP (part 3) specifications
_MAX_JPEG_COMMENT_BYTES = 64_000
_MAX_JPEG_XMP_BYTES = 65_000

# characters that XML 1.0 forbids or changes; in JSON they occur only in strings, where an escape is equivalent
_XML_UNSAFE_PATTERN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class SaveArgs:
    """Store keyword arguments for `Image.save`, and the text of the JSON sidecar or None."""

    save_kwargs: dict[str, object] = field(default_factory=dict)
    sidecar: str | None = None


def sidecar_path(image_path: Path) -> Path:
    """Return the path of the JSON sidecar of an image: `fox.jpg` -> `fox.jpg.json`."""
    return image_path.with_name(image_path.name + ".json")


def needs_sidecar(record: Mapping[str, object], format: str, level: str) -> bool:  # noqa: A002 - Pillow's word
    """Return whether the record is too large for the metadata of the image file.

    The limits are about 32,000 characters of A1111 text and 65,000 bytes of XMP for JPEG, and 1 MiB for PNG and WebP.

    Raises:
        UsageError: The format or the level is unknown, or the record is larger than 8 MiB.
    """
    kind = _validated_format(format, level)
    if level != "full":
        return False
    size = len(_dump_json(record).encode("utf-8"))
    if size > MAX_SIDECAR_BYTES:
        raise UsageError(f"The record has {size} bytes; the limit is {MAX_SIDECAR_BYTES} bytes.", "Shorten the prompt.")
    comment = len(format_a1111(record).encode("utf-16-be"))
    if kind == "jpeg":
        return (
            comment > _MAX_JPEG_COMMENT_BYTES
            or len(_xmp_packet(record, source_type(record), _dump_json(record))) > _MAX_JPEG_XMP_BYTES
        )
    return max(size, comment, len(_xmp_packet(record, source_type(record), _dump_json(record)))) > MAX_TEXT_BYTES


def image_save_args(record: Mapping[str, object], format: str, level: str = "full") -> SaveArgs:  # noqa: A002 - as above
    """Convert a record to arguments of `Image.save`.

    Args:
        record: flat, JSON-serializable; the level `minimal` uses `artgen` (version), `model` and `task`.
        format: `png`, `jpeg` (or `jpg`) or `webp`.
        level: one of `METADATA_LEVELS`. The file contains IPTC's digital source type of generated images: see
            `source_type`. At the level `none`, only images made from a marked input image have it.

    Raises:
        UsageError: The format or the level is unknown, or the record is larger than 8 MiB.
    """
    kind = _validated_format(format, level)
    if level == "none":
        return SaveArgs(mark_save_args(kind, source_type(record)) if record.get(INPUT_SOURCE_TYPE) else {})
    overflow = needs_sidecar(record, kind, level)
    embedded = record if level == "full" and not overflow else _minimal_record(record)
    text = (
        format_a1111(record) if embedded is record and record.get("steps") is not None and "prompt" in record else None
    )
    sidecar = sidecar_text(record) if overflow else None
    digital_source_type = source_type(record)
    if kind == "png":
        return SaveArgs({"pnginfo": _png_info(embedded, digital_source_type, text)}, sidecar)
    xmp = _xmp_packet(embedded, digital_source_type, _dump_json(embedded))
    return SaveArgs({"exif": _build_exif(embedded, text), "xmp": xmp}, sidecar)


def source_type(record: Mapping[str, object]) -> str:
    """Return IPTC's digital source type of a record, a URI (https://cv.iptc.org/newscodes/digitalsourcetype/).

    The table of tasks contains the source types. A txt2img record with an input image, which another tool wrote, has
    the type of tasks with an input image.
    """
    task = TASKS.get(str(record.get("task", "txt2img")))
    has_input = record.get("image") is not None
    if task is None or (has_input and "image" not in task.inputs):
        own = COMPOSITE
    else:
        own = task.source_type_of(record.get("method"))
    return _SOURCE_TYPE_PREFIX + _with_input_mark(own, record)


def _with_input_mark(own: str, record: Mapping[str, object]) -> str:
    """Return the digital source type of an image made from marked input images.

    A change of a generated image is generated too. A task that generates nothing keeps the mark of its input image.
    """
    mark = ai_source_type(str(record.get(INPUT_SOURCE_TYPE) or ""))
    is_derived = bool(mark) and record.get("task", "txt2img") not in TASKS
    return mark if mark == GENERATED or (mark and own == ENHANCED) or is_derived else own


def ai_source_type(value: str) -> str:
    """Return the digital source type of a mark of AI generation, without the prefix; empty for other values.

    Args:
        value: URI or name of a digital source type; untrusted.
    """
    return _AI_SOURCE_TYPES.get(value.strip().rstrip("/").rsplit("/", 1)[-1], "")


def input_mark(record: Mapping[str, object]) -> bytes:
    """Return an XMP packet with the mark of the input images of a record; empty without a mark."""
    return mark_packet(source_type(record)) if record.get(INPUT_SOURCE_TYPE) else b""


def mark_packet(digital_source_type: str) -> bytes:
    """Return an XMP packet with a digital source type and no other property.

    Args:
        digital_source_type: URI, or name without the prefix.
    """
    name = digital_source_type.rsplit("/", 1)[-1]
    return _wrap_xmp("", f"<Iptc4xmpExt:DigitalSourceType>{_SOURCE_TYPE_PREFIX}{name}</Iptc4xmpExt:DigitalSourceType>")


def mark_save_args(format: str, digital_source_type: str) -> dict[str, Any]:  # noqa: A002 - as above
    """Return the arguments of `Image.save` that write only a digital source type.

    Args:
        format: `png`, `jpeg` or `webp`.
        digital_source_type: see `mark_packet`.
    """
    packet = mark_packet(digital_source_type)
    if format != "png":
        return {"xmp": packet}
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet.decode("utf-8"))
    return {"pnginfo": info}


def sidecar_text(record: Mapping[str, object]) -> str:
    """Return the text of the JSON sidecar of a record."""
    return _dump_json(record, indent=1) + "\n"


def record_xmp(record: Mapping[str, object], digital_source_type: str) -> bytes | None:
    """Return an XMP packet that contains the record of a derived image; None if it is larger than the limit of a text.

    The mark of a derived image follows the packet.
    """
    packet = _xmp_packet(record, digital_source_type, _dump_json(record)) + derived_comment()
    return packet if len(packet) <= MAX_TEXT_BYTES else None


def _validated_format(format: str, level: str) -> str:  # noqa: A002 - as above
    kind = {"jpg": "jpeg"}.get(format.lower(), format.lower())
    if kind not in ("png", "jpeg", "webp"):
        raise UsageError(f"'{format}' is not an output format.", "Use png, jpeg or webp.")
    if level not in METADATA_LEVELS:
        raise UsageError(f"'{level}' is not a metadata level.", f"Use {', '.join(METADATA_LEVELS)}.")
    return kind


def stored_record(record: Mapping[str, object], level: str) -> Mapping[str, object]:
    """Return the record that an image and its JSON sidecar contain at a metadata level."""
    return record if level == "full" else _minimal_record(record) if level == "minimal" else {}


def _minimal_record(record: Mapping[str, object]) -> dict[str, object]:
    minimal: dict[str, object] = {"artgen": record.get("artgen", "")}
    if record.get("model") is not None:
        minimal["model"] = public_model_name(record["model"])
    return minimal


def _png_info(
    record: Mapping[str, object], digital_source_type: str, parameters_text: str | None
) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    if parameters_text is not None:
        _add_text(info, "parameters", parameters_text)
    _add_text(info, "artgen", _dump_json(record))
    info.add_itxt("XML:com.adobe.xmp", _xmp_packet(record, digital_source_type, None).decode("utf-8"))
    return info


def _add_text(info: PngImagePlugin.PngInfo, key: str, text: str) -> None:
    """Add a tEXt chunk if the text is Latin-1, else an iTXt chunk, which ImageMagick ignores.

    Latin-1 text whose bytes are also valid UTF-8 is written as iTXt, because other tools write UTF-8 into tEXt chunks.
    """
    data = text.encode("latin-1", "ignore")
    with contextlib.suppress(UnicodeDecodeError):
        if data.decode("utf-8") != text:
            info.add_itxt(key, text)
            return
    info.add_text(key, text)  # Pillow writes iTXt if the text is not Latin-1


def _build_exif(record: Mapping[str, object], parameters_text: str | None) -> Image.Exif:
    exif = TypedExif()
    exif[0x0131] = _software_name(record)
    if parameters_text is not None:
        exif[0x8769] = {0x9286: b"UNICODE\0" + parameters_text.encode("utf-16-be")}
    return exif


def _xmp_packet(record: Mapping[str, object], digital_source_type: str, record_json: str | None) -> bytes:
    body = f"<artgen:record>{escape(record_json, quote=False)}</artgen:record>" if record_json is not None else ""
    return _wrap_xmp(
        f' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:artgen="{XMP_NAMESPACE}"',
        f"<Iptc4xmpExt:DigitalSourceType>{digital_source_type}</Iptc4xmpExt:DigitalSourceType>"
        f"<xmp:CreatorTool>{escape(_software_name(record), quote=False)}</xmp:CreatorTool>{body}",
    )


def _wrap_xmp(namespaces: str, properties: str) -> bytes:
    packet = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{IPTC_NAMESPACE}"{namespaces}>{properties}'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )
    return packet.encode("utf-8")


def _software_name(record: Mapping[str, object]) -> str:
    return f"artgen {record.get('artgen') or ''}".strip().encode("ascii", "replace").decode("ascii")


def _dump_json(record: Mapping[str, object], indent: int | None = None) -> str:
    """Return JSON that can be encoded as UTF-8 and embedded in XML.

    Raises:
        UsageError: a value of the record is not a JSON value.
    """
    try:
        text = json.dumps(dict(record), ensure_ascii=False, allow_nan=False, indent=indent)
    except (TypeError, ValueError) as error:  # a value that a program added
        raise UsageError(
            f"Cannot save the record: {error}.", "Use texts, finite numbers, lists and dictionaries."
        ) from error
    if indent is not None:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    return _XML_UNSAFE_PATTERN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
