"""From a path to decoded pixels: every way a picture file can be unusable is said here, with the path."""

import hashlib
import io
import stat
import warnings
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageFile, UnidentifiedImageError

from artgen.errors import InputFileError
from artgen.images.sixteen_bit import fix_planar_tiff, is_16bit, raw_mode, read_low_byte, set_raw_mode
from artgen.system.files import wrap_read_errors

READABLE_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
"""Formats that are read, in Pillow's names. Others are refused: each decoder is a surface for hostile files."""

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"})
"""What is taken for a picture by its name; a file that is named alone may be called anything."""

MAX_PIXELS = 89_000_000
"""Width times height that is accepted when nothing else is said; just below Pillow's own warning."""

MAX_FILE_BYTES = 1 << 30

_UNSUPPORTED_SIGNATURES = (
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

_EXIF_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class DecodedImage(NamedTuple):
    """A decoded first frame as it is in the file: any mode, not yet turned.

    `exif_transpose` is what the EXIF orientation asks for, None when the picture is upright; `raw_bytes` are the file's bytes; `rawmode`
    is Pillow's name for the order of the bits, see `artgen.images.sixteen_bit`; `has_16_bits` says that there are 16 a channel.
    """

    image: Image.Image
    exif_transpose: Image.Transpose | None
    sha256: str
    notes: tuple[str, ...]
    raw_bytes: bytes
    rawmode: str
    has_16_bits: bool

    def redecode(self, rawmode: str) -> Image.Image:
        """The same PNG or TIFF, its bits read in another order of as many bits a pixel."""
        image = _open_image(self.raw_bytes)
        set_raw_mode(image, lambda _: rawmode)
        image.load()
        return image

    def low_byte_image(self) -> Image.Image | None:
        """The lower bytes of 16 bits a channel, in the picture's mode; None where they cannot be had."""
        image = _open_image(self.raw_bytes)
        if not read_low_byte(image):
            return None
        image.load()
        return image


def decode_image(path: Path, max_pixels: int) -> DecodedImage:
    """Read and fully decode the first picture of a file.

    Raises:
        InputFileError: the file is missing, a folder, unreadable, empty, no picture of `FORMATS`, damaged, truncated,
            or larger than `max_pixels`.
    """
    data = _read_bytes(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the size is checked here; doubtful metadata is not the user's business
        _verify_image(data, path, max_pixels)
        return _decode_bytes(data, path)


def _decode_bytes(data: bytes, path: Path) -> DecodedImage:
    notes: list[str] = []
    try:
        image = _open_image(data)
        count = int(getattr(image, "n_frames", 1))
        image.seek(0)
        order, deep = raw_mode(image), is_16bit(image)
        image.load()
    except Exception as error:  # decoders raise nearly anything on damaged data
        raise InputFileError(
            f"'{path}' is damaged or cut short: {_error_reason(error)}", "Save the picture again, or use another copy."
        ) from error
    if count > 1:
        notes.append(f"'{path.name}' holds {count} pictures; the first one is used")
    turn = None
    try:
        turn = _EXIF_TRANSPOSES.get(image.getexif().get(0x0112, 1))
    except Exception:  # a broken EXIF block says nothing about the pixels
        notes.append(f"the EXIF data of '{path.name}' cannot be read; its orientation is ignored")
    return DecodedImage(image, turn, hashlib.sha256(data).hexdigest(), tuple(notes), data, order, deep)


def _read_bytes(path: Path) -> bytes:
    with wrap_read_errors(path):
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputFileError(f"'{path}' is a folder; a picture file is wanted", "Name one file in it.")
        if not stat.S_ISREG(status.st_mode):
            raise InputFileError(f"'{path}' is not a regular file", "Save the picture to a file first.")
        if status.st_size > MAX_FILE_BYTES:
            raise InputFileError(f"'{path}' has {status.st_size} bytes; at most {MAX_FILE_BYTES} are read")
        data = path.read_bytes()
    if not data:
        raise InputFileError(f"'{path}' is empty", "Save the picture again, or use another copy.")
    return data


def _verify_image(data: bytes, path: Path, max_pixels: int) -> None:
    try:
        image = _open_image(data)
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
            f"'{path}' is not a picture that can be read: it looks like {_describe_content(data)}",
            "Use a PNG, JPEG, WebP, TIFF, BMP or GIF file.",
        ) from error
    except Image.DecompressionBombError as error:
        raise InputFileError(
            f"'{path}' has too many pixels; at most {max_pixels} are accepted", "Make it smaller first."
        ) from error
    except Exception as error:  # as in decode
        raise InputFileError(
            f"'{path}' is damaged: {_error_reason(error)}", "Save the picture again, or use another copy."
        ) from error


def _open_image(data: bytes) -> ImageFile.ImageFile:
    image = Image.open(io.BytesIO(data), formats=READABLE_FORMATS)
    fix_planar_tiff(image)
    return image


def _describe_content(data: bytes) -> str:
    for magic, offset, name in _UNSUPPORTED_SIGNATURES:
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


def _error_reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip() or type(error).__name__
