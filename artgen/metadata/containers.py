"""Extract the metadata texts of image files and text files without decoding pixels."""

import codecs
import io
import struct
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from artgen.errors import InputFileError
from artgen.images.heif import HEIF_HINT, heif_format, open_heif
from artgen.images.structure import check_structure
from artgen.metadata.exif_texts import exif_texts
from artgen.metadata.json_texts import is_json
from artgen.metadata.writing import MAX_SIDECAR_BYTES, MAX_TEXT_BYTES
from artgen.metadata.xmp import xmp_texts
from artgen.system.files import wrap_read_errors
from artgen.system.input_files import empty_input_error, open_input

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_PNG_CHUNKS = 100_000
_MAX_WEBP_CHUNKS = 1_000_000
_MAX_HEADER_BYTES = 4 << 20
_MAX_TEXTS = 200
MAX_PIPE_BYTES = 1 << 27
"""Limit of an image that is read from a pipe."""

C2PA_VENDORS = {
    b"OpenAI": "OpenAI (ChatGPT, DALL-E)", b"ChatGPT": "OpenAI (ChatGPT, DALL-E)", b"DALL": "OpenAI (ChatGPT, DALL-E)",
    b"Firefly": "Adobe Firefly", b"Adobe": "Adobe", b"Google": "Google", b"Microsoft": "Microsoft",
}  # fmt: skip
"""Names in a C2PA manifest (https://c2pa.org) and the tools that write them. The manifest contains no prompt."""


@dataclass(frozen=True)
class RawTexts:
    """Store the metadata texts of a file.

    Attributes:
        is_image: the file is an image.
        texts: texts by name: the keywords of PNG chunks (`parameters`), the EXIF tags (`UserComment`), XMP properties
            (`xmp:UserComment`), `comment` (JPEG, GIF), and `text` or `json` of a text file.
        notes: ignored data with the reason, one sentence each.
    """

    is_image: bool
    texts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def extract_texts(path: Path) -> RawTexts:
    """Read the metadata texts of a file.

    Raises:
        InputFileError: The file is missing, a folder, unreadable, empty, damaged, or neither an image nor text.
    """
    with open_input(path, MAX_PIPE_BYTES) as file, wrap_read_errors(path):
        head = file.read(256)
        file.seek(0)
        if head.startswith(_PNG_SIGNATURE):
            return _read_png_texts(file)
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return _read_webp_texts(file, path)
        if head.startswith(b"\xff\xd8\xff"):
            return _read_with_pillow(file.read(_MAX_HEADER_BYTES), "JPEG", path)
        if (heif := heif_format(head)) != "":
            return _read_with_pillow(file.read(MAX_PIPE_BYTES), heif, path)
        if head[:4] in (b"II*\0", b"MM\0*"):
            return _read_with_pillow(file.read(MAX_PIPE_BYTES), "TIFF", path)
        data = file.read(MAX_SIDECAR_BYTES + 1)
    return text_file_texts(data, path)


def text_file_texts(data: bytes, path: Path) -> RawTexts:
    """Return the text of a file in UTF-8 or, with a byte order mark, UTF-16: `json` or `text`.

    Raises:
        InputFileError: The file is empty, too large or not text.
    """
    if not data:
        raise empty_input_error(path, "Use an image or a text file with a prompt.")
    if len(data) > MAX_SIDECAR_BYTES:
        raise InputFileError(
            f"'{path}' has more than {MAX_SIDECAR_BYTES} bytes and is not a PNG, JPEG, WebP, AVIF, HEIC or TIFF file.",
            "Other formats contain no record.",
        )
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InputFileError(
            f"'{path}' is not a PNG, JPEG, WebP, AVIF, HEIC or TIFF image and not UTF-8 text.",
            "Other formats contain no record.",
        )
    starts_like_json = text.lstrip().startswith(("{", "["))
    # A prompt can start with a bracket. Damaged JSON has no line "Steps:".
    kind = "json" if starts_like_json and ("\nSteps:" not in text or is_json(text)) else "text"
    return RawTexts(False, {kind: text})


def _read_png_texts(file: BinaryIO) -> RawTexts:
    """Read the text chunks of a PNG (https://www.w3.org/TR/png-3/#11textinfo), before and after the pixels."""
    texts: dict[str, str] = {}
    exif: dict[str, str] = {}
    notes: list[str] = []
    num_bytes = 0
    file.seek(len(_PNG_SIGNATURE))
    for _ in range(_MAX_PNG_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            notes.append("The file is truncated.")
            break
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            break
        if kind not in (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"caBX"):
            file.seek(length + 4, io.SEEK_CUR)
            continue
        body = file.read(min(length, MAX_TEXT_BYTES + 1024))
        file.seek(length - len(body) + 4, io.SEEK_CUR)
        if kind == b"caBX":
            texts |= _c2pa_text(body)
        elif kind == b"eXIf":
            exif = _png_exif_texts(body, notes)
        elif len(texts) < _MAX_TEXTS and num_bytes <= MAX_SIDECAR_BYTES:
            name = body.split(b"\0", 1)[0].decode("latin-1")
            text = _decode_chunk(kind, body) if length <= MAX_TEXT_BYTES + 1024 else None
            if text is None:
                notes.append(
                    f"The text '{name[:80]}' is ignored: it is damaged or has more than {MAX_TEXT_BYTES} bytes."
                )
            elif name not in texts:
                texts[name] = text
                num_bytes += len(text)
    return _image_texts(texts | {name: text for name, text in exif.items() if name not in texts}, notes)


def _image_texts(texts: dict[str, str], notes: list[str]) -> RawTexts:
    packet = texts.pop("XML:com.adobe.xmp", None)
    if packet is not None:
        texts |= xmp_texts(packet)
    if "Raw profile type exif" in texts:  # as ImageMagick writes EXIF to PNG files
        texts = _raw_profile_texts(texts.pop("Raw profile type exif"), notes) | texts
    return RawTexts(True, texts, tuple(notes))


def _raw_profile_texts(profile: str, notes: list[str]) -> dict[str, str]:
    """Read a profile in hexadecimal digits, after lines with its name and its length."""
    try:
        data = bytes.fromhex("".join(profile.split()[2:]))
    except ValueError:
        return {}
    return _png_exif_texts(data, notes)


def _png_exif_texts(data: bytes, notes: list[str]) -> dict[str, str]:
    try:
        return exif_texts(data, notes)
    except Exception:  # Pillow raises many exception types on damaged data
        notes.append("The EXIF data is ignored: it is damaged.")
        return {}


def _c2pa_text(manifest: bytes) -> dict[str, str]:
    vendors = [vendor for name, vendor in C2PA_VENDORS.items() if name in manifest]
    return {"C2PA": vendors[0] if vendors else "unknown tool"}


def _decode_chunk(kind: bytes, body: bytes) -> str | None:
    try:
        _, rest = body.split(b"\0", 1)
        if kind == b"tEXt":
            return _decode_text(rest)
        if kind == b"zTXt":
            return _decode_text(_inflate(rest[1:]))
        compressed = rest[0] != 0
        _, _, payload = rest[2:].split(b"\0", 2)
        return (_inflate(payload) if compressed else payload).decode("utf-8")
    except (ValueError, IndexError, zlib.error):
        return None


def _decode_text(data: bytes) -> str:
    """Decode a tEXt chunk. The standard requires Latin-1, but several tools write UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    plain = inflater.decompress(data, MAX_TEXT_BYTES)
    if inflater.unconsumed_tail:
        raise ValueError("the text exceeds the size limit")
    return plain


def _read_with_pillow(data: bytes, image_format: str, path: Path) -> RawTexts:
    """Read the metadata of a JPEG (from its first `_MAX_HEADER_BYTES`), AVIF, HEIC or TIFF file."""
    try:
        check_structure(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stream = io.BytesIO(data)
            image = open_heif(stream) if image_format == "HEIF" else Image.open(stream, formats=(image_format,))
            exif = image.getexif() if image_format == "TIFF" else image.info.get("exif")
        packet, comment = image.info.get("xmp"), image.info.get("comment")
        manifest = b"".join(body for name, body in getattr(image, "applist", ()) if name == "APP11")
    except ImportError as error:
        raise InputFileError(f"Cannot read '{path}': HEIC images need the package pillow-heif.", HEIF_HINT) from error
    except Exception as error:  # decoders raise many exception types on damaged data
        raise _damaged_error(path, error) from error
    texts = _exif_and_xmp(exif, packet, path)
    if isinstance(comment, bytes) and len(comment) <= MAX_TEXT_BYTES:
        texts.texts["comment"] = comment.decode("utf-8", "replace").strip("\0")
    if b"c2pa" in manifest:
        texts.texts.update(_c2pa_text(manifest))
    return _image_texts(texts.texts, texts.notes)


def _read_webp_texts(file: BinaryIO, path: Path) -> RawTexts:
    """Read the chunks EXIF and XMP of a WebP (https://developers.google.com/speed/webp/docs/riff_container)."""
    chunks: dict[bytes, bytes] = {}
    file.seek(12)
    for _ in range(_MAX_WEBP_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            break
        kind, length = struct.unpack("<4sI", head)
        body = b""
        if kind in (b"EXIF", b"XMP ", b"C2PA") and kind not in chunks and length <= _MAX_HEADER_BYTES:
            body = chunks[kind] = file.read(length)
        file.seek(length - len(body) + length % 2, io.SEEK_CUR)
    texts = _exif_and_xmp(chunks.get(b"EXIF"), chunks.get(b"XMP "), path)
    if b"C2PA" in chunks:
        texts.texts.update(_c2pa_text(chunks[b"C2PA"]))
    return _image_texts(texts.texts, texts.notes)


@dataclass(frozen=True)
class _Texts:
    texts: dict[str, str]
    notes: list[str]


def _exif_and_xmp(exif: object, packet: object, path: Path) -> _Texts:
    notes: list[str] = []
    try:
        texts = exif_texts(exif if isinstance(exif, bytes | Image.Exif) else b"", notes)
    except Exception as error:  # as in `_read_with_pillow`
        raise _damaged_error(path, error) from error
    if isinstance(packet, bytes) and len(packet) <= 2 * MAX_TEXT_BYTES:
        texts["XML:com.adobe.xmp"] = packet.decode("utf-8", "replace")
    return _Texts(texts, notes)


def _damaged_error(path: Path, error: Exception) -> InputFileError:
    return InputFileError(f"Cannot read '{path}': the file is damaged: {error}.", "Download or copy the file again.")
