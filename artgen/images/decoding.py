"""Decode image files. All errors of unusable files are raised here, with the path."""

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
"""Input formats, as Pillow names them. Other decoders are disabled, because each decoder is an attack surface."""

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"})
"""Suffixes of images in folders. The suffix of a file that the user names does not matter."""

MAX_PIXELS = 89_000_000
"""Default limit of width times height; slightly below Pillow's limit for a warning."""

MAX_FILE_BYTES = 1 << 30

_UNSUPPORTED_SIGNATURES = (
    (b"%PDF", 0, "a PDF document"),
    (b"<svg", 0, "an SVG file"),
    (b"ftypavif", 4, "an AVIF image"),
    (b"ftyphei", 4, "a HEIC image"),
    (b"ftypmif1", 4, "a HEIF image"),
    (b"\xff\x0a", 0, "a JPEG XL image"),
    (b"\x00\x00\x00\x0cJXL ", 0, "a JPEG XL image"),
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
    """Store the decoded first frame of a file.

    Attributes:
        image: any mode, before `exif_transpose`.
        exif_transpose: operation for the EXIF orientation; None if the image is upright.
        sha256: SHA-256 of the file, 64 hex digits.
        notes: notes for the user. File names in notes are untrusted.
        raw_bytes: bytes of the file.
        rawmode: Pillow's name of the sample format; see `artgen.images.sixteen_bit`.
        has_16_bits: whether each channel has 16 bits.
    """

    image: Image.Image
    exif_transpose: Image.Transpose | None
    sha256: str
    notes: tuple[str, ...]
    raw_bytes: bytes
    rawmode: str
    has_16_bits: bool

    def redecode(self, rawmode: str) -> Image.Image:
        """Decode the same PNG or TIFF with another raw mode that has the same number of bits per pixel."""
        image = _open_image(self.raw_bytes)
        set_raw_mode(image, lambda _: rawmode)
        image.load()
        return image

    def low_byte_image(self) -> Image.Image | None:
        """Return the low bytes of 16-bit channels, in the mode of `image`; None if Pillow cannot decode them."""
        image = _open_image(self.raw_bytes)
        if not read_low_byte(image):
            return None
        image.load()
        return image


def decode_image(path: Path, max_pixels: int) -> DecodedImage:
    """Read and fully decode the first image of a file.

    Raises:
        InputFileError: The file is missing, a folder, unreadable, empty, not in `READABLE_FORMATS`, damaged, truncated,
            or larger than `max_pixels`.
    """
    data = _read_bytes(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the size is checked here; warnings about metadata do not help the user
        _verify_image(data, path, max_pixels)
        return _decode_bytes(data, path)


def _decode_bytes(data: bytes, path: Path) -> DecodedImage:
    notes: list[str] = []
    try:
        image = _open_image(data)
        count = int(getattr(image, "n_frames", 1))
        image.seek(0)
        rawmode, has_16_bits = raw_mode(image), is_16bit(image)
        image.load()
    except Exception as error:  # decoders raise many exception types on damaged data
        raise InputFileError(
            f"Cannot decode '{path}': the file is damaged or truncated: {_error_reason(error)}.",
            "Save the image again, or use another copy.",
        ) from error
    if count > 1:
        notes.append(f"'{path.name}' contains {count} images; the first image is used.")
    transpose = None
    try:
        transpose = _EXIF_TRANSPOSES.get(image.getexif().get(0x0112, 1))
    except Exception:  # the pixels are valid although the EXIF block is damaged
        notes.append(f"The EXIF orientation of '{path.name}' is ignored: the EXIF data is damaged.")
    digest = hashlib.sha256(data).hexdigest()
    return DecodedImage(image, transpose, digest, tuple(notes), data, rawmode, has_16_bits)


def _read_bytes(path: Path) -> bytes:
    with wrap_read_errors(path):
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputFileError(f"'{path}' is a folder, not an image file.", "Use a file in the folder.")
        if not stat.S_ISREG(status.st_mode):
            raise InputFileError(f"'{path}' is not a regular file.", "Save the image to a file first.")
        if status.st_size > MAX_FILE_BYTES:
            raise InputFileError(f"'{path}' has {status.st_size} bytes; the limit is {MAX_FILE_BYTES} bytes.")
        data = path.read_bytes()
    if not data:
        raise InputFileError(f"'{path}' is empty.", "Save the image again, or use another copy.")
    return data


def _verify_image(data: bytes, path: Path, max_pixels: int) -> None:
    try:
        image = _open_image(data)
        width, height = image.size
        if width * height > max_pixels:
            raise InputFileError(
                f"'{path}' has {width}x{height} = {width * height} pixels; the limit is {max_pixels} pixels.",
                "Scale the image down first.",
            )
        image.verify()
    except InputFileError:
        raise
    except UnidentifiedImageError as error:
        raise InputFileError(
            f"Cannot read '{path}' as an image: the content is {_describe_content(data)}.",
            "Use a PNG, JPEG, WebP, TIFF, BMP or GIF file.",
        ) from error
    except Image.DecompressionBombError as error:
        raise InputFileError(
            f"'{path}' has too many pixels; the limit is {max_pixels} pixels.", "Scale the image down first."
        ) from error
    except Exception as error:  # as in `_decode_bytes`
        raise InputFileError(
            f"Cannot decode '{path}': the file is damaged: {_error_reason(error)}.",
            "Save the image again, or use another copy.",
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
        return "an unknown format"
    try:
        head.decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        return "an unknown format" if error.end < len(head) - 3 else "text"
    return "text"


def _error_reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip().rstrip(".") or type(error).__name__
