"""Check the structure of image files whose decoders would take minutes: they read one byte or one chunk at a time."""

import re
import struct

_MAX_PARTS = 200_000
"""Limit of the number of JPEG segments and PNG chunks. A PNG of 89 million pixels has up to 100,000 chunks of 8 KiB."""

_MAX_JUNK_BYTES = 1 << 16
"""Limit of the bytes between JPEG segments."""

_MAX_GIF_EXTENSION_BYTES = 1 << 20
"""Limit of the extensions before the second frame of a GIF; Pillow needs quadratic time for a comment."""

_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff]")
_GIF_EXTENSION, _GIF_IMAGE = 0x21, 0x2C


def check_structure(data: bytes) -> None:
    """Check that the decoder of a JPEG, PNG or GIF file needs time in proportion to its pixels.

    Raises:
        ValueError: The file has too many parts. The message is the reason without a full stop.
    """
    if data.startswith(b"\xff\xd8"):
        _check_jpeg(data)
    elif data.startswith(b"\x89PNG"):
        _check_png(data)
    elif data.startswith(b"GIF8"):
        _check_gif(data)


def _check_jpeg(data: bytes) -> None:
    """Follow the segments up to the first scan (ITU-T T.81, B.1.1)."""
    position, junk = 2, 0
    for _ in range(_MAX_PARTS):
        marker = _JPEG_MARKER.search(data, position)
        junk += (marker.start() if marker else len(data)) - position
        if junk > _MAX_JUNK_BYTES:
            raise ValueError(f"more than {_MAX_JUNK_BYTES} bytes are not in a segment")
        if marker is None or marker[0] == b"\xff\xda":
            return
        position = marker.end()
        if not 0xD0 <= data[position - 1] <= 0xD9 and position + 2 <= len(data):
            position += max(2, int.from_bytes(data[position : position + 2], "big"))
    raise ValueError(f"it has more than {_MAX_PARTS} segments")


def _check_png(data: bytes) -> None:
    position = 8
    for _ in range(_MAX_PARTS):
        if position + 8 > len(data):
            return
        (length,) = struct.unpack_from(">I", data, position)
        position += 12 + length
    raise ValueError(f"it has more than {_MAX_PARTS} chunks")


def _check_gif(data: bytes) -> None:
    """Follow the blocks up to the second frame (GIF89a specification, section 15)."""
    position, extension_bytes, num_frames = 13, 0, 0
    if len(data) > 10 and data[10] & 0x80:
        position += 3 << (data[10] & 7) + 1
    while position < len(data) and num_frames < 2:
        kind = data[position]
        start = position
        if kind == _GIF_IMAGE:
            num_frames += 1
            flags = data[position + 9] if position + 9 < len(data) else 0
            position += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        else:
            position += 2 if kind == _GIF_EXTENSION else 1
        if kind in (_GIF_IMAGE, _GIF_EXTENSION):
            while position < len(data) and data[position]:
                position += 1 + data[position]
            position += 1
        if kind != _GIF_IMAGE:
            extension_bytes += position - start
        if extension_bytes > _MAX_GIF_EXTENSION_BYTES:
            raise ValueError(f"its extensions have more than {_MAX_GIF_EXTENSION_BYTES} bytes")
