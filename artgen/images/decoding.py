"""Decode image files. All errors of unusable files are raised here, with the path."""

import hashlib
import io
import os
import warnings
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image, ImageFile, UnidentifiedImageError, features

from artgen.errors import InputFileError
from artgen.images.formats import FORMAT_NAMES, READABLE_FORMATS
from artgen.images.heif import HEIF_HINT, heif_format, heif_notes, open_heif
from artgen.images.sixteen_bit import fix_planar_tiff, is_16bit, raw_mode, read_low_byte, set_raw_mode
from artgen.images.structure import check_structure
from artgen.system.files import wrap_read_errors
from artgen.system.input_files import empty_input_error, is_regular_file, read_input

MAX_PIXELS = 89_000_000
"""Default limit of width times height; slightly below Pillow's limit for a warning."""

MAX_SIDE_PX = 100_000
"""Limit of the width and of the height. Pillow needs up to 24 bytes of memory per line in addition to the pixels."""

MAX_RLE_PIXELS = 2_000_000
"""Limit of width times height of a compressed BMP: Pillow decodes it in Python, about 1 µs per pixel."""

MAX_FILE_BYTES = 1 << 30
"""Limit of the file size of an image with many pixels."""

MAX_SMALL_FILE_BYTES = 1 << 27
"""Limit of the size of other files, and of pipes."""

MAX_COUNTED_FRAMES = 100
"""Largest number of frames of a TIFF that is counted. Pillow needs quadratic time."""

MAX_COUNTED_GIF_BYTES = 1 << 20
"""Largest GIF whose frames are counted."""

_HEADER_BYTES = 1 << 24
"""Size of the data of a large file that is read before its size is checked."""

_MAX_BYTES_PER_PIXEL = 16
"""Size of a pixel with four channels of 32 bits."""

_UNSUPPORTED_SIGNATURES = (
    (b"%PDF", 0, "a PDF document"),
    (b"<svg", 0, "an SVG file"),
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
        image = _open_image(io.BytesIO(self.raw_bytes))
        set_raw_mode(image, lambda _: rawmode)
        image.load()
        return image

    def low_byte_image(self) -> Image.Image | None:
        """Return the low bytes of 16-bit channels, in the mode of `image`; None if Pillow cannot decode them."""
        image = _open_image(io.BytesIO(self.raw_bytes))
        if not read_low_byte(image):
            return None
        image.load()
        return image


def decode_image(path: Path, max_pixels: int) -> DecodedImage:
    """Read and fully decode the first image of a file, of a pipe, or of standard input if `path` is `-`.

    Raises:
        InputFileError: The file is missing, a folder, unreadable, empty, not in `READABLE_FORMATS`, damaged, truncated,
            or larger than `max_pixels`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the size is checked here; warnings about metadata do not help the user
        data = _read_bytes(path, max_pixels)
        _verify_image(data, path, max_pixels)
        return _decode_bytes(data, path)


def check_image(data: bytes, path: Path, max_pixels: int) -> None:
    """Check the structure and the size of an image without decoding its pixels.

    Args:
        data: content of the file.
        path: name of the file, for messages.
        max_pixels: limit of width times height.

    Raises:
        InputFileError: see `decode_image`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _verify_image(data, path, max_pixels)


def _decode_bytes(data: bytes, path: Path) -> DecodedImage:
    notes: list[str] = []
    try:
        image = _open_image(io.BytesIO(data))
        num_frames = _count_frames(image, len(data))
        if image.format == "TIFF":
            image.seek(0)
        if image.format in ("AVIF", "HEIF"):
            notes += heif_notes(image, data, path.name)
        rawmode, has_16_bits = raw_mode(image), is_16bit(image)
        image.load()
    except Exception as error:  # decoders raise many exception types on damaged data
        raise InputFileError(
            f"Cannot decode '{path}': the file is damaged or truncated: {_error_reason(error)}.",
            "Save the image again, or use another copy.",
        ) from error
    if num_frames:
        used = "main" if image.format == "HEIF" else "first"
        notes.append(f"'{path.name}' contains {num_frames} images; the {used} image is used.")
    transpose = None
    try:
        transpose = _EXIF_TRANSPOSES.get(image.getexif().get(0x0112, 1))
    except Exception:  # the pixels are valid although the EXIF block is damaged
        notes.append(f"The EXIF orientation of '{path.name}' is ignored: the EXIF data is damaged.")
    digest = hashlib.sha256(data).hexdigest()
    return DecodedImage(image, transpose, digest, tuple(notes), data, rawmode, has_16_bits)


def _count_frames(image: ImageFile.ImageFile, num_bytes: int) -> str:
    """Return the number of frames, or `at least` a number if counting all frames takes long; empty for one frame."""
    if not getattr(image, "is_animated", False):
        return ""
    if image.format == "GIF" and num_bytes > MAX_COUNTED_GIF_BYTES:
        return "at least 2"
    if image.format != "TIFF":
        return str(getattr(image, "n_frames", 1))
    for number in range(2, MAX_COUNTED_FRAMES):
        try:
            image.seek(number)
        except EOFError:
            return str(number)
    return f"at least {MAX_COUNTED_FRAMES}"


def _read_bytes(path: Path, max_pixels: int) -> bytes:
    max_bytes = MAX_SMALL_FILE_BYTES
    if is_regular_file(path):
        with wrap_read_errors(path), path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if max_bytes < size <= MAX_FILE_BYTES:  # before gigabytes are read
                head = file.read(_HEADER_BYTES)
                is_tiff = head.startswith((b"II*\0", b"MM\0*"))  # the directory of a TIFF can be at its end
                width, height = _read_header(file if is_tiff else io.BytesIO(head), path, max_pixels).size
                max_bytes = max(max_bytes, min(MAX_FILE_BYTES, width * height * _MAX_BYTES_PER_PIXEL))
            if size > max_bytes:
                raise InputFileError(
                    f"'{path}' has {size} bytes; the limit for an image of its size is {max_bytes} bytes.",
                    "Save the image again, without other data.",
                )
    data = read_input(path, max_bytes)
    if not data:
        raise empty_input_error(path, "Save the image again, or use another copy.")
    return data


def _verify_image(data: bytes, path: Path, max_pixels: int) -> None:
    try:
        check_structure(data)
        _read_header(io.BytesIO(data), path, max_pixels).verify()
    except InputFileError:
        raise
    except Exception as error:  # as in `_decode_bytes`
        raise InputFileError(
            f"Cannot decode '{path}': the file is damaged: {_error_reason(error)}.",
            "Save the image again, or use another copy.",
        ) from error


def _read_header(file: BinaryIO, path: Path, max_pixels: int) -> ImageFile.ImageFile:
    """Read the header of an image, and check its size before its pixels are decoded."""
    try:
        image = _open_image(file)
        width, height = image.size
    except UnidentifiedImageError as error:
        file.seek(0)
        raise InputFileError(
            f"Cannot read '{path}' as an image: the content is {_describe_content(file.read(4096))}.",
            f"The formats are {FORMAT_NAMES}.",
        ) from error
    except ImportError as error:
        raise InputFileError(f"Cannot read '{path}': HEIC images need the package pillow-heif.", HEIF_HINT) from error
    except Image.DecompressionBombError as error:
        raise InputFileError(
            f"'{path}' has too many pixels; the limit is {max_pixels} pixels.", "Scale the image down first."
        ) from error
    except Exception as error:  # as in `_decode_bytes`
        raise InputFileError(
            f"Cannot decode '{path}': the file is damaged: {_error_reason(error)}.",
            "Save the image again, or use another copy.",
        ) from error
    if width * height > max_pixels:
        raise InputFileError(
            f"'{path}' has {width}x{height} = {width * height} pixels; the limit is {max_pixels} pixels.",
            "Scale the image down first.",
        )
    if width * height > MAX_RLE_PIXELS and any(tile[0] == "bmp_rle" for tile in image.tile):
        raise InputFileError(
            f"'{path}' is a BMP image with RLE compression and {width * height} pixels; the limit for this compression "
            f"is {MAX_RLE_PIXELS} pixels.",
            "Save the image as a PNG file.",
        )
    if max(width, height) > MAX_SIDE_PX:
        raise InputFileError(
            f"'{path}' has {width}x{height} pixels; the limit of a side is {MAX_SIDE_PX} pixels.",
            "Crop the image first.",
        )
    return image


def _open_image(file: BinaryIO) -> ImageFile.ImageFile:
    if heif_format(file.read(256)) == "HEIF":
        return open_heif(file)
    file.seek(0)
    image = Image.open(file, formats=READABLE_FORMATS)
    fix_planar_tiff(image)
    return image


def _describe_content(data: bytes) -> str:
    if heif_format(data) == "AVIF":
        return "an AVIF image, and Pillow has no AVIF decoder" if not features.check("avif") else "a damaged AVIF file"
    for magic, offset, name in _UNSUPPORTED_SIGNATURES:
        if data[offset:].startswith(magic):
            return name
    for signature, name in ((b"\x89PNG", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"GIF8", "GIF"), (b"RIFF", "WebP")):
        if data.startswith(signature):
            return f"a damaged {name} file"
    if b"\0" in data:
        return "an unknown format"
    try:
        data.decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        return "an unknown format" if error.end < len(data) - 3 else "text"
    return "text"


def _error_reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip().rstrip(".") or type(error).__name__
