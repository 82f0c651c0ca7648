"""Extract metadata texts from image files and text files without decoding pixels."""

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from artgen.errors import InputFileError
from artgen.images.structure import check_structure
from artgen.metadata.writing import MAX_SIDECAR_BYTES, MAX_TEXT_BYTES
from artgen.system.files import wrap_read_errors
from artgen.system.input_files import open_input

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_PNG_CHUNKS = 100_000
_MAX_WEBP_CHUNKS = 1_000_000
_MAX_HEADER_BYTES = 4 << 20
MAX_PIPE_BYTES = 1 << 27
"""Limit of an image that is read from a pipe."""

_TEXT_KEYS = {"artgen": "record", "parameters": "parameters", "prompt": "prompt", "workflow": "workflow"}


@dataclass(frozen=True)
class RawTexts:
    """Store the raw texts of a file: artgen's record (JSON or XMP), A1111 parameters and ComfyUI's two graphs."""

    is_image: bool
    record: str | None = None
    parameters: str | None = None
    prompt: str | None = None
    workflow: str | None = None
    notes: tuple[str, ...] = ()


def extract_texts(path: Path) -> RawTexts:
    """Read the metadata texts of a file.

    Raises:
        InputFileError: The file is missing, a folder, unreadable, empty, damaged, or neither an image nor text.
    """
    with open_input(path, MAX_PIPE_BYTES) as file, wrap_read_errors(path):
        head = file.read(16)
        file.seek(0)
        if head.startswith(_PNG_SIGNATURE):
            return _read_png_texts(file)
        if head.startswith(b"\xff\xd8\xff"):
            return _read_jpeg_texts(file, path)
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return _read_webp_texts(file, path)
        data = file.read(MAX_SIDECAR_BYTES + 1)
    return _classify_text_file(data, path)


def _classify_text_file(data: bytes, path: Path) -> RawTexts:
    if not data:
        raise InputFileError(f"'{path}' is empty.")
    if len(data) > MAX_SIDECAR_BYTES:
        raise InputFileError(f"'{path}' has more than {MAX_SIDECAR_BYTES} bytes and is not a PNG, JPEG or WebP file.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputFileError(
            f"'{path}' is not a PNG, JPEG or WebP image and not UTF-8 text.", "Other formats contain no record."
        ) from error
    if not text.lstrip().startswith("{"):
        return RawTexts(False, parameters=text)
    if '"class_type"' in text:
        return RawTexts(False, prompt=text)
    if '"widgets_values"' in text:
        return RawTexts(False, workflow=text)
    return RawTexts(False, record=text)


def _read_png_texts(file: BinaryIO) -> RawTexts:
    """Read the text chunks of a PNG (https://www.w3.org/TR/png-3/#11textinfo), before and after the pixels."""
    texts: dict[str, str] = {}
    notes: list[str] = []
    file.seek(len(_PNG_SIGNATURE))
    for _ in range(_MAX_PNG_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            notes.append("The file is truncated.")
            break
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            break
        if kind not in (b"tEXt", b"zTXt", b"iTXt"):
            file.seek(length + 4, io.SEEK_CUR)
            continue
        body = file.read(min(length, MAX_TEXT_BYTES + 1024))
        file.seek(length - len(body) + 4, io.SEEK_CUR)
        name = body.split(b"\0", 1)[0].decode("latin-1")
        if name not in _TEXT_KEYS or _TEXT_KEYS[name] in texts:
            continue
        text = _decode_chunk(kind, body) if length <= MAX_TEXT_BYTES + 1024 else None
        if text is None:
            notes.append(f"The text '{name}' is ignored: it is damaged or has more than {MAX_TEXT_BYTES} bytes.")
        else:
            texts[_TEXT_KEYS[name]] = text
    return _image_texts(texts, notes)


def _image_texts(texts: dict[str, str], notes: list[str]) -> RawTexts:
    return RawTexts(
        True, texts.get("record"), texts.get("parameters"), texts.get("prompt"), texts.get("workflow"), tuple(notes)
    )


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


def _read_jpeg_texts(file: BinaryIO, path: Path) -> RawTexts:
    """Read the segments before the pixels of a JPEG."""
    header = file.read(_MAX_HEADER_BYTES)
    try:
        check_structure(header)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(header), formats=("JPEG",))
            packet, exif = image.info.get("xmp"), image.info.get("exif")
    except Exception as error:  # decoders raise many exception types on damaged data
        raise _damaged_error(path, error) from error
    return _exif_and_xmp_texts(exif, packet, path)


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
        if kind in (b"EXIF", b"XMP ") and kind not in chunks and length <= _MAX_HEADER_BYTES:
            body = chunks[kind] = file.read(length)
        file.seek(length - len(body) + length % 2, io.SEEK_CUR)
    return _exif_and_xmp_texts(chunks.get(b"EXIF"), chunks.get(b"XMP "), path)


def _exif_and_xmp_texts(exif_data: object, packet: object, path: Path) -> RawTexts:
    exif = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exif.load(exif_data if isinstance(exif_data, bytes) else b"")
            comment = exif.get_ifd(0x8769).get(0x9286)
            camera = [exif.get(tag) for tag in (0x010F, 0x0110)]
    except Exception as error:  # as in `_read_jpeg_texts`
        raise _damaged_error(path, error) from error
    texts: dict[str, str] = {}
    notes: list[str] = []
    if isinstance(packet, bytes) and b"artgen:record" in packet and len(packet) <= 2 * MAX_TEXT_BYTES:
        texts["record"] = packet.decode("utf-8", "replace")
    if isinstance(comment, str):
        comment = comment.encode("utf-8", "replace")
    if isinstance(comment, bytes) and len(comment) > 2 * MAX_TEXT_BYTES:
        notes.append(f"The EXIF comment is ignored: it has more than {2 * MAX_TEXT_BYTES} bytes.")
    elif isinstance(comment, bytes) and (text := _decode_user_comment(comment)):
        texts["parameters"] = text
    for value in camera:  # ComfyUI's WebP nodes write the graphs to Make and Model
        for name in ("prompt", "workflow"):
            if isinstance(value, str) and value.startswith(f"{name}:") and len(value) <= MAX_TEXT_BYTES:
                texts[name] = value.partition(":")[2]
    return _image_texts(texts, notes)


def _damaged_error(path: Path, error: Exception) -> InputFileError:
    return InputFileError(f"Cannot read '{path}': the file is damaged: {error}.")


def _decode_user_comment(data: bytes) -> str:
    """Decode the EXIF tag UserComment. Its first 8 bytes are the encoding; the byte order is not specified."""
    code, body = data[:8], data[8:]
    if code != b"UNICODE\0":
        return (body if code[:5] in (b"ASCII", b"\0\0\0\0\0") else data).decode("utf-8", "replace").strip("\0 ")
    big, little = (body.decode(f"utf-16-{order}", "replace") for order in ("be", "le"))
    has_little, has_big = ("Steps: " in text for text in (little, big))
    swapped = has_little if has_little != has_big else body.startswith(b"\xff\xfe")
    return (little if swapped else big).lstrip("\ufeff")
