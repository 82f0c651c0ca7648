"""Build image files that exceed limits: sizes in headers, chunks, segments, frames and compressed metadata."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = zlib.compress((b"\0" + bytes(24)) * 8)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def png(*chunks: bytes, size: tuple[int, int] = (8, 8)) -> bytes:
    """Return a PNG of 8x8 pixels with chunks before its pixel data."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    return _SIGNATURE + header + b"".join(chunks) + png_chunk(b"IDAT", _PIXELS) + png_chunk(b"IEND", b"")


def jpeg(inserted: bytes) -> bytes:
    """Return an 8x8 JPEG with bytes after its first marker."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    return file.getvalue()[:2] + inserted + file.getvalue()[2:]


def gif(before: bytes, num_frames: int) -> bytes:
    """Return a GIF of 1x1 pixels with blocks before its frames."""
    header = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
    return header + before + (b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02D\x01\0") * num_frames + b";"


def tiff(num_frames: int, *, last_next: int = 0) -> bytes:
    """Return a TIFF of 1x1 pixels. The last directory is followed by the directory number `last_next`; 0 ends it."""
    values = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: 4, 277: 1, 278: 1, 279: 1}
    directory = struct.pack("<H", len(values)) + b"".join(
        struct.pack("<HHII", tag, 4, 1, v) for tag, v in values.items()
    )
    size = len(directory) + 4
    offsets = [8 + size * number for number in range(1, num_frames)] + [8 + size * (last_next - 1) if last_next else 0]
    return b"II*\0" + struct.pack("<I", 8) + b"".join(directory + struct.pack("<I", offset) for offset in offsets)


def webp(num_frames: int, side: int = 2) -> bytes:
    """Return an animated WebP with a canvas of `side` pixels and frames of 2x2 pixels."""
    file = io.BytesIO()
    Image.new("RGB", (2, 2)).save(file, "WEBP", lossless=True)
    still = file.getvalue()[12:]
    frame = b"ANMF" + struct.pack("<I", 16 + len(still)) + bytes(6) + b"\1\0\0\1\0\0\1\0\0\0" + still
    canvas = struct.pack("<I", side - 1)[:3] * 2
    chunks = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + canvas + b"ANIM" + struct.pack("<I", 6) + bytes(6)
    chunks += frame * num_frames
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def rle_bmp(side: int) -> bytes:
    """Return a BMP image with RLE compression whose runs have the length 1."""
    rows = (b"\1\7" * side + b"\0\0") * side + b"\0\1"
    size = struct.pack("<IIiHHIIiiII", 40, side, side, 1, 8, 1, len(rows), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(rows), 0, 0, 1078) + size + bytes(1024) + rows


def exif_loop() -> bytes:
    """Return EXIF data whose directory contains itself 65,535 times."""
    entry = struct.pack("<HHII", 0x8769, 4, 1, 8)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 65535) + entry * 65535


HOSTILE_IMAGES: dict[str, Callable[[], bytes]] = {
    "rle.bmp": lambda: rle_bmp(5000),
    "small_rle.bmp": lambda: rle_bmp(1400),
    "tall.png": lambda: png(size=(1, 80_000_000)),
    "wide.png": lambda: png(size=(80_000_000, 1)),
    "large.png": lambda: png(size=(60_000, 60_000)),
    "largest.png": lambda: png(size=(2**31 - 1, 2**31 - 1)),
    "empty.png": lambda: png(size=(0, 0)),
    "chunks.png": lambda: png(png_chunk(b"teSt", b"") * 500_000),
    "chunk.png": lambda: png(png_chunk(b"teSt", bytes(60_000_000))),
    "ztxt.png": lambda: png(png_chunk(b"zTXt", b"artgen\0\0" + zlib.compress(bytes(100_000_000)))),
    "itxt.png": lambda: png(
        *[png_chunk(b"iTXt", b"%d\0\1\0\0\0" % i + zlib.compress(bytes(1_000_000))) for i in range(99)]
    ),
    "icc.png": lambda: png(png_chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(100_000_000)))),
    "exif.png": lambda: png(png_chunk(b"eXIf", exif_loop())),
    "fill.jpg": lambda: jpeg(b"\xff" * 20_000_000),
    "stuffed.jpg": lambda: jpeg(b"\xff\0" * 4_000_000),
    "zeros.jpg": lambda: jpeg(bytes(20_000_000)),
    "segments.jpg": lambda: jpeg(b"\xff\xe5\0\x02" * 4_000_000),
    "restarts.jpg": lambda: jpeg(b"\xff\xd0" * 4_000_000),
    "exif.jpg": lambda: jpeg(b"\xff\xe1\xff\xf0Exif\0\0" + exif_loop()[:65_512]),
    "frames.gif": lambda: gif(b"", 500_000),
    "comment.gif": lambda: gif(b"!\xfe" + (b"\xff" + b"c" * 255) * 50_000 + b"\0", 1),
    "comments.gif": lambda: gif(b"!\xfe\x01c\0" * 1_000_000, 1),
    "frames.tif": lambda: tiff(200_000),
    "loop.tif": lambda: tiff(5, last_next=2),
    "self.tif": lambda: tiff(1, last_next=1),
    "frames.webp": lambda: webp(200_000),
    "canvas.webp": lambda: webp(1, side=16_383),
    "sparse.png": lambda: b"",
    "sparse_tail.png": png,
    "sparse_tail.webp": lambda: webp(1),
    "sparse_tail.tif": lambda: tiff(1),
}
"""Content of each file. The files whose name contains `sparse` are extended to 900 MB."""


def write_hostile_image(folder: Path, name: str) -> Path:
    """Write a file of `HOSTILE_IMAGES`."""
    path = folder / name
    path.write_bytes(HOSTILE_IMAGES[name]())
    if "sparse" in name:
        os.truncate(path, 900 << 20)
    return path
