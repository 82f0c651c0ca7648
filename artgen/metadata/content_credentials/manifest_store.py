"""Find the C2PA manifest store of an image file without the package c2pa (C2PA 2.2, appendix A.3, "Embedding")."""

import struct
import warnings
from collections.abc import Iterator
from io import BytesIO

from PIL import Image

MAX_BOXES = 10_000
"""Limit of the segments and boxes that are read."""

MAX_CHUNKS = 100_000
"""Limit of the chunks of PNG and WebP files that are read."""

_TIFF_TAG = 0xCD41
_GIF_APPLICATION = b"C2PA_GIF\x01\x00\x00"
_BMFF_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_STORE_HEADER_BYTES = 8


def find_manifest_store(data: bytes) -> bytes | None:
    """Return the C2PA manifest store (a JUMBF superbox) of a PNG, JPEG, WebP, TIFF, GIF, AVIF or HEIC file, or None.

    The signature is not checked. Damaged structures give None.
    """
    try:
        return _find_store(data) or None
    except (struct.error, ValueError, IndexError):
        return None


def _find_store(data: bytes) -> bytes:
    if data.startswith(b"\x89PNG"):
        return next((body for kind, body in png_chunks(data) if kind == b"caBX"), b"")
    if data.startswith(b"\xff\xd8"):
        return _jpeg_store(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return next((body for kind, body in webp_chunks(data) if kind == b"C2PA"), b"")
    if data.startswith(b"GIF8"):
        return _gif_store(data)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _tiff_store(data)
    if data[4:8] == b"ftyp":
        return next(
            (_bmff_store(body) for kind, body in boxes(data) if kind == b"uuid" and body[:16] == _BMFF_UUID), b""
        )
    return b""


def manifests(store: bytes) -> list[bytes]:
    """Return the manifests of a store, the active manifest last. Damaged structures give an empty list."""
    try:
        outer = next(boxes(store), (b"", b""))
        return [body for kind, body in boxes(outer[1]) if kind == b"jumb"] if outer[0] == b"jumb" else []
    except (struct.error, ValueError):
        return []


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and the content of each box (ISO/IEC 14496-12, 4.2; JUMBF uses the same header)."""
    position = 0
    for _ in range(MAX_BOXES):
        if position + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, position)
        start = position + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = len(data) if length == 0 else position + length
        if end < start:
            raise ValueError("a box is shorter than its header")
        yield kind, data[start:end]
        position = end


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and the content of each chunk of a PNG file (https://www.w3.org/TR/png-3/#5Chunk-layout)."""
    position = 8
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, data[position + 8 : position + 8 + length]
        position += 12 + length


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and the content of each chunk of a WebP file (RFC 9649, 2.3)."""
    position = 12
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(data):
            return
        kind, length = struct.unpack_from("<4sI", data, position)
        yield kind, data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the marker and the content of each segment before the first scan of a JPEG file (ITU-T T.81, B.1).

    The last pair is the marker of the scan, 0xDA, and the rest of the file.
    """
    position = 2
    for _ in range(MAX_BOXES):
        if position + 4 > len(data) or data[position] != 0xFF or data[position + 1] == 0xD9:
            return
        marker = data[position + 1]
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker == 0xDA:
            yield marker, data[position + 4 :]
            return
        yield marker, data[position + 4 : position + 2 + length]
        position += 2 + max(2, length)


def _jpeg_store(data: bytes) -> bytes:
    """Join the APP11 segments of the store (ISO/IEC 19566-5, B.2): each one repeats the header of the box."""
    parts: dict[int, bytes] = {}
    for marker, body in jpeg_segments(data):
        if marker == 0xEB and body[:2] == b"JP" and body[12:16] == b"jumb":
            number = struct.unpack_from(">I", body, 4)[0]
            parts.setdefault(number, body[8:] if not parts else body[8 + _STORE_HEADER_BYTES :])
    return b"".join(parts.values())


def _gif_store(data: bytes) -> bytes:
    """Join the sub-blocks of the application extension of the store (GIF89a, section 26)."""
    start = data.find(b"\x21\xff\x0b" + _GIF_APPLICATION)
    if start < 0:
        return b""
    position = start + 3 + len(_GIF_APPLICATION)
    parts = []
    while position < len(data) and (length := data[position]):
        parts.append(data[position + 1 : position + 1 + length])
        position += 1 + length
    return b"".join(parts)


def _tiff_store(data: bytes) -> bytes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = Image.open(BytesIO(data), formats=("TIFF",)).tag_v2.get(_TIFF_TAG)  # type: ignore[attr-defined]
    except Exception:  # Pillow raises many exception types on damaged data
        return b""
    return value if isinstance(value, bytes) else b""


def _bmff_store(body: bytes) -> bytes:
    """Return the store of a box `uuid`: version and flags, the purpose, an offset of 8 bytes, the store."""
    purpose, _, rest = body[20:].partition(b"\0")
    return rest[8:] if purpose == b"manifest" else b""
