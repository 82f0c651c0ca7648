"""Putting the record into a picture file: PNG text, EXIF, XMP, or a JSON file beside it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from PIL import Image, PngImagePlugin

from artgen.errors import UsageError
from artgen.metadata.a1111 import format_a1111, public_model_name

METADATA_LEVELS = ("full", "minimal", "none")
"""full: everything needed to make the picture again; minimal: who made it; none: nothing at all."""

MINIMAL_KEYS = frozenset({"artgen", "model"})
"""Keys of a record at the level minimal, and of what stays in a picture whose record lies beside it."""

XMP_NAMESPACE = "urn:artgen:xmp:1.0#"
"""XMP namespace of the property `artgen:record`, which holds the JSON record."""

IPTC_NAMESPACE = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_SOURCE_TYPE_PREFIX = "http://cv.iptc.org/newscodes/digitalsourcetype/"

MAX_TEXT_BYTES = 1 << 20
"""Largest text, in bytes, that is written into a picture or read from one."""

MAX_SIDECAR_BYTES = 8 << 20
"""Largest JSON file beside a picture, in bytes."""

# a JPEG segment holds 65,533 bytes with its own overhead; see the JPEG, EXIF and XMP (part 3) specifications
_MAX_JPEG_COMMENT_BYTES = 64_000
_MAX_JPEG_XMP_BYTES = 65_000

# what XML 1.0 cannot hold or may change; inside JSON these stand only in strings, where an escape means the same
_XML_UNSAFE_PATTERN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class SaveArgs:
    """Keyword arguments for `Image.save`, and the text of the JSON file beside the picture if one is needed."""

    save_kwargs: dict[str, object] = field(default_factory=dict)
    sidecar: str | None = None


def sidecar_path(image_path: Path) -> Path:
    """Where the record lies that a picture's own file cannot hold: `fox.jpg` -> `fox.jpg.json`."""
    return image_path.with_name(image_path.name + ".json")


def needs_sidecar(record: Mapping[str, object], format: str, level: str) -> bool:  # noqa: A002 - Pillow's word
    """Whether the record overflows the picture's own metadata; known before anything is drawn.

    JPEG holds about 32,000 characters of A1111 text and 65,000 bytes of XMP; PNG and WebP take up to 1 MiB here.

    Raises:
        UsageError: unknown format or level, or a record of more than 8 MiB.
    """
    kind = _validated_format(format, level)
    if level != "full":
        return False
    size = len(_dump_json(record).encode("utf-8"))
    if size > MAX_SIDECAR_BYTES:
        raise UsageError(f"the record has {size} bytes; at most {MAX_SIDECAR_BYTES} are kept", "Shorten the prompt.")
    comment = len(format_a1111(record).encode("utf-16-be"))
    if kind == "jpeg":
        return (
            comment > _MAX_JPEG_COMMENT_BYTES
            or len(_xmp_packet(record, source_type(record), _dump_json(record))) > _MAX_JPEG_XMP_BYTES
        )
    return max(size, comment, len(_xmp_packet(record, source_type(record), _dump_json(record)))) > MAX_TEXT_BYTES


def image_save_args(record: Mapping[str, object], format: str, level: str = "full") -> SaveArgs:  # noqa: A002 - as above
    """Turn a record into what `Image.save` takes.

    Args:
        record: flat, JSON-serialisable; `artgen` (version), `model` and `task` are used at the level minimal.
        format: png, jpeg (or jpg) or webp.
        level: one of `LEVELS`. Except at `none`, the file says that the picture was generated (IPTC's digital source
            type: trainedAlgorithmicMedia for txt2img, compositeWithTrainedAlgorithmicMedia for everything that began
            with a picture).

    Raises:
        UsageError: unknown format or level, or a record of more than 8 MiB.
    """
    kind = _validated_format(format, level)
    if level == "none":
        return SaveArgs()
    overflow = needs_sidecar(record, kind, level)
    kept = record if level == "full" and not overflow else _minimal_record(record)
    text = format_a1111(record) if kept is record and record.get("steps") is not None and "prompt" in record else None
    sidecar = _dump_json(record, indent=1) + "\n" if overflow else None
    made = source_type(record)
    if kind == "png":
        return SaveArgs({"pnginfo": _png_info(kept, made, text)}, sidecar)
    return SaveArgs({"exif": _build_exif(kept, text), "xmp": _xmp_packet(kept, made, _dump_json(kept))}, sidecar)


def source_type(record: Mapping[str, object]) -> str:
    """IPTC's digital source type of a record, a URI (https://cv.iptc.org/newscodes/digitalsourcetype/)."""
    made = "trainedAlgorithmicMedia"
    if record.get("task") == "denoise" and record.get("method") != "latent":
        made = "algorithmicallyEnhanced"
    elif record.get("task", "txt2img") != "txt2img" or record.get("image") is not None:
        made = "compositeWithTrainedAlgorithmicMedia"
    return _SOURCE_TYPE_PREFIX + made


def _validated_format(format: str, level: str) -> str:  # noqa: A002 - as above
    kind = {"jpg": "jpeg"}.get(format.lower(), format.lower())
    if kind not in ("png", "jpeg", "webp"):
        raise UsageError(f"'{format}' is not a format that is written", "Use png, jpeg or webp.")
    if level not in METADATA_LEVELS:
        raise UsageError(f"'{level}' is not a metadata level", f"Use {', '.join(METADATA_LEVELS)}.")
    return kind


def _minimal_record(record: Mapping[str, object]) -> dict[str, object]:
    kept: dict[str, object] = {"artgen": record.get("artgen", "")}
    if record.get("model") is not None:
        kept["model"] = public_model_name(record["model"])
    return kept


def _png_info(
    record: Mapping[str, object], digital_source_type: str, parameters_text: str | None
) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    if parameters_text is not None:
        info.add_itxt("parameters", parameters_text)
    info.add_itxt("artgen", _dump_json(record))
    info.add_itxt("XML:com.adobe.xmp", _xmp_packet(record, digital_source_type, None).decode("utf-8"))
    return info


def _build_exif(record: Mapping[str, object], parameters_text: str | None) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0131] = _software_name(record)
    if parameters_text is not None:
        exif[0x8769] = {0x9286: b"UNICODE\0" + parameters_text.encode("utf-16-be")}
    return exif


def _xmp_packet(record: Mapping[str, object], digital_source_type: str, record_json: str | None) -> bytes:
    body = f"<artgen:record>{escape(record_json, quote=False)}</artgen:record>" if record_json is not None else ""
    packet = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:Iptc4xmpExt="{IPTC_NAMESPACE}" '
        f'xmlns:artgen="{XMP_NAMESPACE}">'
        f"<Iptc4xmpExt:DigitalSourceType>{digital_source_type}</Iptc4xmpExt:DigitalSourceType>"
        f"<xmp:CreatorTool>{escape(_software_name(record), quote=False)}</xmp:CreatorTool>{body}"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )
    return packet.encode("utf-8")


def _software_name(record: Mapping[str, object]) -> str:
    return f"artgen {record.get('artgen') or ''}".strip().encode("ascii", "replace").decode("ascii")


def _dump_json(record: Mapping[str, object], indent: int | None = None) -> str:
    """JSON that UTF-8 and XML can hold, whatever is in the strings."""
    text = json.dumps(dict(record), ensure_ascii=False, allow_nan=False, indent=indent)
    if indent is not None:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    return _XML_UNSAFE_PATTERN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
