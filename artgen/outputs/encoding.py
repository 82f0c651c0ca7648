"""A picture and its record as the bytes of a file."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image, ImageChops

from artgen.errors import OutputError
from artgen.metadata import image_save_args
from artgen.outputs.png import encode_png

DEFAULT_QUALITY = 95
"""Of jpeg and webp, 1..100."""


@dataclass(frozen=True)
class EncodingOptions:
    """How a picture is written.

    Attributes:
        format: png, jpeg or webp; of frames, one of `artgen.outputs.animation`.
        quality: 1..100 for jpeg and webp; 100 means lossless for webp.
        metadata: full, minimal or none.
        png_level: how hard PNG is compressed, 0..9; None is as fast as can be.
    """

    format: str
    quality: int = DEFAULT_QUALITY
    metadata: str = "full"
    png_level: int | None = None


def encode_image(
    image: Image.Image, record: Mapping[str, object], encoding: EncodingOptions, low_bytes: Image.Image | None = None
) -> tuple[bytes, str | None]:
    """The whole file, and the JSON text that has to lie beside it when the format cannot hold the record.

    Args:
        image: its own metadata is not written.
        record: as for `artgen.metadata.embed`.
        encoding: of the file.
        low_bytes: the lower bytes of a picture with 16 bits a channel, in the image's mode; PNG keeps them, others round.

    Raises:
        OutputError: the format cannot hold the picture.
    """
    embedded = image_save_args(record, encoding.format, encoding.metadata)
    options: dict[str, object] = dict(embedded.save_kwargs)
    if encoding.format == "jpeg":
        options |= {"quality": encoding.quality, "subsampling": 0 if encoding.quality >= 90 else 2, "optimize": False}
    elif encoding.format == "webp":
        options |= {"lossless": True} if encoding.quality == 100 else {"quality": encoding.quality}
    clean = image.copy()
    clean.info = {}
    try:
        if encoding.format == "png":
            return encode_png(clean, options, encoding.png_level, low_bytes), embedded.sidecar
        if low_bytes is not None:
            clean = _round_to_8bit(clean, low_bytes)
        buffer = io.BytesIO()
        clean.save(buffer, encoding.format.upper(), **options)
    except (OSError, ValueError) as error:
        raise OutputError(
            f"the picture cannot be written as {encoding.format}: {error}", "Use --format png."
        ) from error
    return buffer.getvalue(), embedded.sidecar


def encode_without_metadata(image: Image.Image, format: str) -> bytes:  # noqa: A002 - the option's name
    """The whole file of a picture that says nothing about itself, such as a sheet or a curve.

    Raises:
        OutputError: the format cannot hold the picture.
    """
    return encode_image(image, {}, EncodingOptions(format, metadata="none"))[0]


def _round_to_8bit(high_bytes: Image.Image, low_bytes: Image.Image) -> Image.Image:
    """The nearest 8 bits to 16: `256 high + low` over 257, which is `high_bytes` or one off."""
    more, less = ImageChops.subtract(low_bytes, high_bytes), ImageChops.subtract(high_bytes, low_bytes)
    up, down = (part.point([value > 128 for value in range(256)] * len(part.getbands())) for part in (more, less))
    return ImageChops.subtract(ImageChops.add(high_bytes, up), down)
