"""Select the compressed pixels of an image file, without its metadata."""

import struct
from collections.abc import Iterator

from artgen.metadata.content_credentials.manifest_store import jpeg_segments, png_chunks, webp_chunks

_PNG_CHUNKS = (
    b"IHDR",
    b"PLTE",
    b"tRNS",
    b"IDAT",
    b"acTL",
    b"fcTL",
    b"fdAT",
    b"iCCP",
    b"gAMA",
    b"cHRM",
    b"sRGB",
    b"cICP",
)
_WEBP_CHUNKS = (b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP")
_JPEG_ICC_MARKER, _JPEG_COMMENT = 0xE2, 0xFE
_JPEG_APPS = range(0xE0, 0xF0)


def image_data(data: bytes) -> Iterator[bytes] | None:
    """Return the parts of a PNG, JPEG or WebP file that determine its pixels and colors; None for other formats.

    Raises:
        ValueError, struct.error: The structure of the file is damaged. Raised by the iterator.
    """
    if data.startswith(b"\x89PNG"):
        return _chunks(png_chunks(data), _PNG_CHUNKS)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_data(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _chunks(webp_chunks(data), _WEBP_CHUNKS)
    return None


def _chunks(chunks: Iterator[tuple[bytes, bytes]], kinds: tuple[bytes, ...]) -> Iterator[bytes]:
    for kind, body in chunks:
        if kind in kinds:
            yield kind + struct.pack(">I", len(body))
            yield body


def _jpeg_data(data: bytes) -> Iterator[bytes]:
    """Yield all segments except comments and application data. The ICC profile is application data with colors."""
    for marker, body in jpeg_segments(data):
        is_metadata = marker in _JPEG_APPS or marker == _JPEG_COMMENT
        if not is_metadata or (marker == _JPEG_ICC_MARKER and body.startswith(b"ICC_PROFILE\0")):
            yield bytes((marker,)) + struct.pack(">I", len(body))
            yield body
