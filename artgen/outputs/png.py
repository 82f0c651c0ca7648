"""Encode PNG files: 8 bits per channel with Pillow, 16 bits per channel with numpy and zlib.

Pillow's default (level 6) compares five filters per line and then searches for matches, which takes longer than some
models need to generate an image. `Z_RLE` searches only for runs of equal bytes: about the same file size in less than
half of the time (measured in tests/benchmarks/RESULTS.md).

Pillow cannot write 16-bit color. This module filters these lines with the filter "Up" of the PNG specification (third
edition, 9.2) and compresses them; all other chunks are the chunks that Pillow writes.
"""

import io
import struct
import zlib
from collections.abc import Mapping

from PIL import Image

_FAST_LEVEL = 1
_FAST_STRATEGY = zlib.Z_RLE

_MAX_IDAT_BYTES = 1 << 20
_SIGNATURE_BYTES = 8
_UP_FILTER = 2


def encode_png(
    image: Image.Image,
    save_kwargs: Mapping[str, object],
    level: int | None = None,
    low_bytes: Image.Image | None = None,
) -> bytes:
    """Return the bytes of a PNG file.

    Args:
        image: any mode that PNG holds. Pillow also writes the chunks that it derives from `image.info`.
        save_kwargs: arguments of `Image.save` for PNG.
        level: zlib level, 0 to 9. None selects the fastest encoding with a small file.
        low_bytes: low bytes of an image with 16 bits per channel, in the mode of `image`, which holds the high bytes.

    Raises:
        OSError, ValueError: The format cannot store the image.
    """
    if low_bytes is not None:
        return _replace_pixels(image, save_kwargs, _compress(_filter_lines(image, low_bytes), level))
    if level is None:
        return _encode_with_pillow(
            image, {**save_kwargs, "compress_level": _FAST_LEVEL, "compress_type": _FAST_STRATEGY}
        )
    return _encode_with_pillow(image, {**save_kwargs, "compress_level": level})


def _encode_with_pillow(image: Image.Image, save_kwargs: Mapping[str, object]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **save_kwargs)
    return buffer.getvalue()


def _compress(data: bytes, level: int | None) -> bytes:
    if level is not None:
        return zlib.compress(data, level)
    compressor = zlib.compressobj(_FAST_LEVEL, strategy=_FAST_STRATEGY)
    return compressor.compress(data) + compressor.flush()


def _filter_lines(image: Image.Image, low_bytes: Image.Image) -> bytes:
    """Return each line as the filter number and the 16-bit big-endian values minus the line above, bytewise mod 256."""
    import numpy  # the import takes longer than many commands

    pixels = numpy.stack([numpy.asarray(image), numpy.asarray(low_bytes)], axis=-1)
    lines = pixels.reshape(image.height, -1)
    filtered = numpy.empty((lines.shape[0], lines.shape[1] + 1), numpy.uint8)
    filtered[:, 0] = _UP_FILTER
    filtered[0, 1:] = lines[0]
    numpy.subtract(lines[1:], lines[:-1], out=filtered[1:, 1:])
    return filtered.tobytes()


def _replace_pixels(image: Image.Image, save_kwargs: Mapping[str, object], data: bytes) -> bytes:
    """Return the file that Pillow writes for one pixel, with the size and the compressed 16-bit lines of the image."""
    pixel = Image.new(image.mode, (1, 1))
    pixel.info = image.info
    file = _encode_with_pillow(pixel, save_kwargs)
    before: list[bytes] = [file[:_SIGNATURE_BYTES]]
    after: list[bytes] = []
    chunks = before
    offset = _SIGNATURE_BYTES
    while offset < len(file):
        (length,) = struct.unpack_from(">I", file, offset)
        kind, body = file[offset + 4 : offset + 8], file[offset + 8 : offset + 8 + length]
        offset += 12 + length
        if kind == b"IHDR":
            chunks.append(_encode_chunk(kind, struct.pack(">II", *image.size) + bytes([16]) + body[9:]))
        elif kind == b"IDAT":
            chunks = after
        else:
            chunks.append(_encode_chunk(kind, body))
    pixels = [_encode_chunk(b"IDAT", data[i : i + _MAX_IDAT_BYTES]) for i in range(0, len(data), _MAX_IDAT_BYTES)]
    return b"".join([*before, *pixels, *after])


def _encode_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
