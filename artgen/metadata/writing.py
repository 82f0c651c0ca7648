"""Putting the record into a picture file: PNG text, EXIF, XMP, or a JSON file beside it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from PIL import Image, PngImagePlugin

from artgen.errors import UsageError
from artgen.metadata.a1111 import a1111_text, model_label

LEVELS = ("full", "minimal", "none")
"""full: everything needed to make the picture again; minimal: who made it; none: nothing at all."""

MINIMAL = frozenset({"artgen", "model"})
"""Keys of a record at the level minimal, and of what stays in a picture whose record lies beside it."""

NAMESPACE = "urn:artgen:xmp:1.0#"
"""XMP namespace of the property `artgen:record`, which holds the JSON record."""

IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"

MAX_TEXT = 1 << 20
"""Largest text, in bytes, that is written into a picture or read from one."""

MAX_SIDECAR = 8 << 20
"""Largest JSON file beside a picture, in bytes."""

# a JPEG segment holds 65,533 bytes with its own overhead; see the JPEG, EXIF and XMP (part 3) specifications
_MAX_JPEG_COMMENT = 64_000
_MAX_JPEG_XMP = 65_000

# what XML 1.0 cannot hold or may change; inside JSON these stand only in strings, where an escape means the same
_NOT_XML = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Embedded:
    """Keyword arguments for `Image.save`, and the text of the JSON file beside the picture if one is needed."""

    arguments: dict[str, object] = field(default_factory=dict)
    sidecar: str | None = None


def sidecar_path(picture: Path) -> Path:
    """Where the record lies that a picture's own file cannot hold: `fox.jpg` -> `fox.jpg.json`."""
    return picture.with_name(picture.name + ".json")


def needs_sidecar(record: Mapping[str, object], format: str, level: str) -> bool:  # noqa: A002 - Pillow's word
    """Whether the record overflows the picture's own metadata; known before anything is drawn.

    JPEG holds about 32,000 characters of A1111 text and 65,000 bytes of XMP; PNG and WebP take up to 1 MiB here.

    Raises:
        UsageError: unknown format or level, or a record of more than 8 MiB.
    """
    kind = _checked(format, level)
    if level != "full":
        return False
    size = len(_json(record).encode("utf-8"))
    if size > MAX_SIDECAR:
        raise UsageError(f"the record has {size} bytes; at most {MAX_SIDECAR} are kept", "Shorten the prompt.")
    comment = len(a1111_text(record).encode("utf-16-be"))
    if kind == "jpeg":
        return comment > _MAX_JPEG_COMMENT or len(_packet(record, source_type(record), _json(record))) > _MAX_JPEG_XMP
    return max(size, comment, len(_packet(record, source_type(record), _json(record)))) > MAX_TEXT


def embed(record: Mapping[str, object], format: str, level: str = "full") -> Embedded:  # noqa: A002 - as above
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
    kind = _checked(format, level)
    if level == "none":
        return Embedded()
    overflow = needs_sidecar(record, kind, level)
    kept = record if level == "full" and not overflow else _minimal(record)
    text = a1111_text(record) if kept is record and record.get("steps") is not None and "prompt" in record else None
    sidecar = _json(record, indent=1) + "\n" if overflow else None
    made = source_type(record)
    if kind == "png":
        return Embedded({"pnginfo": _png(kept, made, text)}, sidecar)
    return Embedded({"exif": _exif(kept, text), "xmp": _packet(kept, made, _json(kept))}, sidecar)


def source_type(record: Mapping[str, object]) -> str:
    """IPTC's digital source type of a record, a URI (https://cv.iptc.org/newscodes/digitalsourcetype/)."""
    made = "trainedAlgorithmicMedia"
    if record.get("task") == "denoise" and record.get("method") != "latent":
        made = "algorithmicallyEnhanced"
    elif record.get("task", "txt2img") != "txt2img" or record.get("image") is not None:
        made = "compositeWithTrainedAlgorithmicMedia"
    return _SOURCE + made


def _checked(format: str, level: str) -> str:  # noqa: A002 - as above
    kind = {"jpg": "jpeg"}.get(format.lower(), format.lower())
    if kind not in ("png", "jpeg", "webp"):
        raise UsageError(f"'{format}' is not a format that is written", "Use png, jpeg or webp.")
    if level not in LEVELS:
        raise UsageError(f"'{level}' is not a metadata level", f"Use {', '.join(LEVELS)}.")
    return kind


def _minimal(record: Mapping[str, object]) -> dict[str, object]:
    kept: dict[str, object] = {"artgen": record.get("artgen", "")}
    if record.get("model") is not None:
        kept["model"] = model_label(record["model"])
    return kept


def _png(record: Mapping[str, object], made: str, text: str | None) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    if text is not None:
        info.add_itxt("parameters", text)
    info.add_itxt("artgen", _json(record))
    info.add_itxt("XML:com.adobe.xmp", _packet(record, made, None).decode("utf-8"))
    return info


def _exif(record: Mapping[str, object], text: str | None) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0131] = _software(record)
    if text is not None:
        exif[0x8769] = {0x9286: b"UNICODE\0" + text.encode("utf-16-be")}
    return exif


def _packet(record: Mapping[str, object], made: str, payload: str | None) -> bytes:
    body = f"<artgen:record>{escape(payload, quote=False)}</artgen:record>" if payload is not None else ""
    packet = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:Iptc4xmpExt="{IPTC}" '
        f'xmlns:artgen="{NAMESPACE}">'
        f"<Iptc4xmpExt:DigitalSourceType>{made}</Iptc4xmpExt:DigitalSourceType>"
        f"<xmp:CreatorTool>{escape(_software(record), quote=False)}</xmp:CreatorTool>{body}"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )
    return packet.encode("utf-8")


def _software(record: Mapping[str, object]) -> str:
    return f"artgen {record.get('artgen') or ''}".strip().encode("ascii", "replace").decode("ascii")


def _json(record: Mapping[str, object], indent: int | None = None) -> str:
    """JSON that UTF-8 and XML can hold, whatever is in the strings."""
    text = json.dumps(dict(record), ensure_ascii=False, allow_nan=False, indent=indent)
    if indent is not None:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    return _NOT_XML.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
