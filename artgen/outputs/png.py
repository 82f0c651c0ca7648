"""A picture as the bytes of a PNG file, fast: its lines through one filter and ISA-L's deflate.

Pillow tries five filters on every line and then searches long for what repeats; that takes longer than some models
take to draw. Here every byte less the one above it, the filter "Up" of the PNG specification (third edition, 9.2), is
deflated by ISA-L (https://github.com/intel/isa-l) at a tenth or less of the time and a tenth or so more bytes. All
other chunks are those that Pillow writes.
"""

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    import numpy

_MODES = frozenset({"L", "LA", "RGB", "RGBA", "I;16"})
"""What is written fast; other modes are Pillow's."""

_LEVEL = 2
"""Of ISA-L, which has 0 to 3: the smallest files, as fast as any; see tests/benchmarks/RESULTS.md."""

_PIECE = 1 << 20
"""Bytes of an IDAT chunk, at most."""

_SIGNATURE = 8


def encode_png(
    image: Image.Image, options: Mapping[str, object], level: int | None = None, low: Image.Image | None = None
) -> bytes:
    """The whole file.

    Args:
        image: its `info` is written too, as far as Pillow does that.
        options: what `Image.save` takes for PNG.
        level: how hard to compress, 0 to 9 as zlib counts; None is as fast as can be.
        low: of a picture with 16 bits a channel the lower bytes, in the image's mode; Pillow cannot write those.

    Raises:
        OSError, ValueError: the format cannot hold the picture.
    """
    deflate = _deflate() if level is None else None
    if low is not None:
        lines = _filtered(image, low)
        data = deflate(lines, _LEVEL) if deflate else zlib.compress(lines.tobytes(), 1 if level is None else level)
        return _framed(image, options, data, depth=16)
    if level is not None:
        return _by_pillow(image, {**options, "compress_level": level})
    if image.mode not in _MODES or 0 in image.size:
        return _by_pillow(image, options)
    if deflate is None:
        # The next best: zlib looks only for bytes that stay the same, which filtered lines have most of.
        return _by_pillow(image, {**options, "compress_level": 1, "compress_type": zlib.Z_RLE})
    return _framed(image, options, deflate(_filtered(image), _LEVEL))


def _deflate() -> "Callable[[numpy.ndarray, int], bytes] | None":
    """ISA-L's, where it is installed: it is made for 64-bit Intel, AMD and ARM processors only."""
    try:
        from isal import isal_zlib
    except ImportError:
        return None
    return isal_zlib.compress


def _by_pillow(image: Image.Image, options: Mapping[str, object]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def _filtered(image: Image.Image, low: Image.Image | None = None) -> "numpy.ndarray":
    """Each line as its filter's number and its bytes less those of the line above, modulo 256."""
    import numpy  # loading it takes longer than many a command

    pixels = numpy.asarray(image)
    if image.mode == "I;16":
        pixels = pixels.astype(">u2").view(numpy.uint8)
    if low is not None:
        pixels = numpy.stack([pixels, numpy.asarray(low)], axis=-1)
    lines = pixels.reshape(image.height, -1)
    filtered = numpy.empty((lines.shape[0], lines.shape[1] + 1), numpy.uint8)
    filtered[:, 0] = 2
    filtered[0, 1:] = lines[0]
    numpy.subtract(lines[1:], lines[:-1], out=filtered[1:, 1:])
    return filtered


def _framed(image: Image.Image, options: Mapping[str, object], data: bytes, depth: int | None = None) -> bytes:
    """The file that Pillow writes for one pixel, with this picture's size, data and, if given, bits a channel in it."""
    pixel = Image.new(image.mode, (1, 1))
    pixel.info = image.info
    file = _by_pillow(pixel, options)
    head: list[bytes] = [file[:_SIGNATURE]]
    tail: list[bytes] = []
    at, seen = _SIGNATURE, False
    while at < len(file):
        (length,) = struct.unpack_from(">I", file, at)
        kind, body = file[at + 4 : at + 8], file[at + 8 : at + 8 + length]
        at += 12 + length
        if kind == b"IHDR":
            head.append(_chunk(kind, struct.pack(">II", *image.size) + bytes([depth or body[8]]) + body[9:]))
        elif kind == b"IDAT":
            seen = True
        else:
            (tail if seen else head).append(_chunk(kind, body))
    pieces = [_chunk(b"IDAT", data[i : i + _PIECE]) for i in range(0, len(data), _PIECE)]
    return b"".join([*head, *pieces, *tail])


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
