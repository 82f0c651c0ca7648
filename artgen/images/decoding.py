"""From a path to decoded pixels: every way a picture file can be unusable is said here, with the path."""

import hashlib
import io
import stat
import warnings
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageFile, UnidentifiedImageError

from artgen.errors import InputFileError
from artgen.files import reading
from artgen.images.deep import is_deep, mend_planes, order_of, read_as, read_lower

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
"""Formats that are read, in Pillow's names. Others are refused: each decoder is a surface for hostile files."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"})
"""What is taken for a picture by its name; a file that is named alone may be called anything."""

MAX_PIXELS = 89_000_000
"""Width times height that is accepted when nothing else is said; just below Pillow's own warning."""

MAX_BYTES = 1 << 30

_OTHER_KINDS = (
    (b"%PDF", 0, "a PDF document"),
    (b"<svg", 0, "an SVG drawing"),
    (b"ftypavif", 4, "an AVIF picture"),
    (b"ftyphei", 4, "a HEIC picture"),
    (b"ftypmif1", 4, "a HEIF picture"),
    (b"\xff\x0a", 0, "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cJXL ", 0, "a JPEG XL picture"),
    (b"8BPS", 0, "a Photoshop document"),
    (b"PK\x03\x04", 0, "a zip archive"),
)

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Decoded(NamedTuple):
    """A decoded first frame as it is in the file: any mode, not yet turned.

    `turn` is what the EXIF orientation asks for, None when the picture is upright; `data` are the file's bytes; `order`
    is Pillow's name for the order of the bits, see `artgen.images.deep`; `deep` says that there are 16 a channel.
    """

    image: Image.Image
    turn: Image.Transpose | None
    sha256: str
    notes: tuple[str, ...]
    data: bytes
    order: str
    deep: bool

    def again(self, order: str) -> Image.Image:
        """The same PNG or TIFF, its bits read in another order of as many bits a pixel."""
        image = _open(self.data)
        read_as(image, lambda _: order)
        image.load()
        return image

    def lower(self) -> Image.Image | None:
        """The lower bytes of 16 bits a channel, in the picture's mode; None where they cannot be had."""
        image = _open(self.data)
        if not read_lower(image):
            return None
        image.load()
        return image


def decode(path: Path, max_pixels: int) -> Decoded:
    """Read and fully decode the first picture of a file.

    Raises:
        InputFileError: the file is missing, a folder, unreadable, empty, no picture of `FORMATS`, damaged, truncated,
            or larger than `max_pixels`.
    """
    data = _read(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the size is checked here; doubtful metadata is not the user's business
        _verify(data, path, max_pixels)
        return _decoded(data, path)


def _decoded(data: bytes, path: Path) -> Decoded:
    notes: list[str] = []
    try:
        image = _open(data)
        count = int(getattr(image, "n_frames", 1))
        image.seek(0)
        order, deep = order_of(image), is_deep(image)
        image.load()
    except Exception as error:  # decoders raise nearly anything on damaged data
        raise InputFileError(
            f"'{path}' is damaged or cut short: {_reason(error)}", "Save the picture again, or use another copy."
        ) from error
    if count > 1:
        notes.append(f"'{path.name}' holds {count} pictures; the first one is used")
    turn = None
    try:
        turn = _TURNS.get(image.getexif().get(0x0112, 1))
    except Exception:  # a broken EXIF block says nothing about the pixels
        notes.append(f"the EXIF data of '{path.name}' cannot be read; its orientation is ignored")
    return Decoded(image, turn, hashlib.sha256(data).hexdigest(), tuple(notes), data, order, deep)


def _read(path: Path) -> bytes:
    with reading(path):
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputFileError(f"'{path}' is a folder; a picture file is wanted", "Name one file in it.")
        if not stat.S_ISREG(status.st_mode):
            raise InputFileError(f"'{path}' is not a regular file", "Save the picture to a file first.")
        if status.st_size > MAX_BYTES:
            raise InputFileError(f"'{path}' has {status.st_size} bytes; at most {MAX_BYTES} are read")
        data = path.read_bytes()
    if not data:
        raise InputFileError(f"'{path}' is empty", "Save the picture again, or use another copy.")
    return data


def _verify(data: bytes, path: Path, max_pixels: int) -> None:
    try:
        image = _open(data)
        width, height = image.size
        if width * height > max_pixels:
            raise InputFileError(
                f"'{path}' is {width}x{height}, {width * height} pixels; at most {max_pixels} are accepted",
                "Make it smaller first.",
            )
        image.verify()
    except InputFileError:
        raise
    except UnidentifiedImageError as error:
        raise InputFileError(
            f"'{path}' is not a picture that can be read: it looks like {_kind(data)}",
            "Use a PNG, JPEG, WebP, TIFF, BMP or GIF file.",
        ) from error
    except Image.DecompressionBombError as error:
        raise InputFileError(
            f"'{path}' has too many pixels; at most {max_pixels} are accepted", "Make it smaller first."
        ) from error
    except Exception as error:  # as in decode
        raise InputFileError(
            f"'{path}' is damaged: {_reason(error)}", "Save the picture again, or use another copy."
        ) from error


def _open(data: bytes) -> ImageFile.ImageFile:
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    mend_planes(image)
    return image


def _kind(data: bytes) -> str:
    for magic, offset, name in _OTHER_KINDS:
        if data[offset:].startswith(magic):
            return name
    for signature, name in ((b"\x89PNG", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"GIF8", "GIF"), (b"RIFF", "WebP")):
        if data.startswith(signature):
            return f"a damaged {name} file"
    head = data[:4096]
    if b"\0" in head:
        return "something else"
    try:
        head.decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        return "something else" if error.end < len(head) - 3 else "text"
    return "text"


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip() or type(error).__name__
