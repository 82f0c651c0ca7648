"""Encode thumbnails of images as JPEG or WebP."""

import io

from PIL import Image

from artgen.images.derived import derived_save_args
from artgen.images.editing import convert_to_srgb

THUMBNAIL_SIDE_PX = 256
"""Default length of the longer side of a thumbnail."""

_WEBP_OPTIONS = {"quality": 50, "method": 0}  # the fastest of the methods 0 to 6 of libwebp
_JPEG_OPTIONS = {"quality": 60}


def encode_thumbnail(image: Image.Image, side: int = THUMBNAIL_SIDE_PX, *, is_file: bool = False) -> bytes:
    """Return a small copy of an image as a file without metadata: JPEG, or WebP if the image has transparency.

    Encoding as JPEG takes a fifth of the time of WebP.

    Args:
        image: image of any mode. A thumbnail has 8 bits per channel and keeps transparency.
        side: maximum width and height in pixels. A smaller image is not enlarged.
        is_file: return a WebP file with the mark of derived images, with which searches in folders skip the file.

    Raises:
        OSError: Pillow has no WebP support.
    """
    has_alpha = image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info
    mode = "RGBA" if has_alpha else "RGB"
    small = image if image.mode == mode else image.convert(mode)
    scale = side / max(small.size)
    if scale < 1:
        size = (max(1, round(small.width * scale)), max(1, round(small.height * scale)))
        small = small.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0)
    if (profile := image.info.get("icc_profile")) is not None:
        small.info["icc_profile"] = profile
        small = convert_to_srgb(small)[0].convert(mode)
    xmp = derived_save_args("webp")["xmp"] if is_file else b""
    file_format, options = ("WEBP", _WEBP_OPTIONS) if has_alpha or is_file else ("JPEG", _JPEG_OPTIONS)
    buffer = io.BytesIO()
    small.save(buffer, file_format, exif=b"", icc_profile=b"", xmp=xmp, comment=b"", **options)
    return buffer.getvalue()


def thumbnail_type(data: bytes) -> str:
    """Return the MIME type of a thumbnail."""
    return "image/jpeg" if data.startswith(b"\xff\xd8") else "image/webp"
