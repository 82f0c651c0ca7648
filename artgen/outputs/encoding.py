"""Encode an image and its record as the bytes of a file."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageChops

from artgen.errors import OutputError
from artgen.images import convert_to_srgb, drop_alpha, has_transparency
from artgen.images.color_profiles import embedded_profile
from artgen.images.derived import derived_save_args
from artgen.images.file_attributes import complete_jpeg_exif, merge_exif
from artgen.metadata import image_save_args
from artgen.metadata.writing import INPUT_SOURCE_TYPE, input_mark
from artgen.outputs.png import encode_png
from artgen.outputs.signatures import SIGNED_WITH, Signing
from artgen.spec.base_requests import Request
from artgen.spec.settings import TASK_NAMES

DEFAULT_QUALITY = 95
"""JPEG and WebP quality, 1 to 100."""


@dataclass(frozen=True)
class EncodingOptions:
    """Store the format and the options of an image file.

    Attributes:
        format: `png`, `jpeg` or `webp`; for frames, a format of `artgen.outputs.animation`.
        quality: 1 to 100 for JPEG and WebP. 100 selects lossless WebP.
        metadata: `full`, `minimal` or `none`.
        png_level: zlib level of PNG, 0 to 9. None selects the fastest encoding with a small file.
        signing: how files are signed; None: not at all.
    """

    format: str
    quality: int = DEFAULT_QUALITY
    metadata: str = "full"
    png_level: int | None = None
    signing: Signing | None = None

    @property
    def is_lossless(self) -> bool:
        """Return whether the format stores 8 bits per channel exactly."""
        return self.format == "png" or (self.format == "webp" and self.quality == 100)


def encode_image(
    image: Image.Image,
    record: Mapping[str, object],
    encoding: EncodingOptions,
    low_bytes: Image.Image | None = None,
    request: Request | None = None,
) -> tuple[bytes, str | None]:
    """Return the bytes of an image file, and the text of its JSON sidecar if the format cannot store the record.

    The file is signed if the options contain a key. Two signed files of the same image differ.

    Args:
        image: see `encode_unsigned`.
        record: see `encode_unsigned`.
        encoding: see `encode_unsigned`.
        low_bytes: see `encode_unsigned`.
        request: request of the image, whose input images a signed file names.

    Raises:
        OutputError: The format cannot store the image, or the file cannot be signed.
        RefusedError: The key cannot be used.
    """
    data, sidecar = encode_unsigned(image, record, encoding, low_bytes)
    if encoding.signing is not None:
        data = encoding.signing.sign(data, encoding.format, record, request)
    return data, sidecar


def encoded_record(record: Mapping[str, object], encoding: EncodingOptions) -> Mapping[str, object]:
    """Return the complete record of a file: in a signed file, it names the certificate of the signer."""
    return record if encoding.signing is None or not record else {**record, SIGNED_WITH: encoding.signing.key.sha256}


def encode_unsigned(
    image: Image.Image, record: Mapping[str, object], encoding: EncodingOptions, low_bytes: Image.Image | None = None
) -> tuple[bytes, str | None]:
    """Return the bytes of an image file without a signature, and the text of its JSON sidecar, see `encode_image`.

    Args:
        image: image to encode. Of its own metadata, the color profile is written, and the resolution and the harmless
            EXIF data in `image.info`; see `artgen.images.LosslessImage`.
        record: see `artgen.metadata.image_save_args`. Without a task, the image is marked as a derived image.
        encoding: format and options.
        low_bytes: low bytes of an image with 16 bits per channel, in the mode of `image`, which holds the high bytes.
            PNG stores all 16 bits; other formats round to 8 bits.

    Raises:
        OutputError: The format cannot store the image.
    """
    record = encoded_record(record, encoding)
    save_args = image_save_args(record, encoding.format, encoding.metadata)
    save_kwargs: dict[str, object] = dict(save_args.save_kwargs)
    if encoding.metadata != "none":
        save_kwargs |= _attributes(image, encoding, save_kwargs.get("exif"))
    if encoding.format == "jpeg":
        subsampling = 0 if encoding.quality >= 90 else 2
        save_kwargs |= {"quality": encoding.quality, "subsampling": subsampling, "optimize": False}
    elif encoding.format == "webp":
        save_kwargs |= {"lossless": True, "exact": True} if encoding.quality == 100 else {"quality": encoding.quality}
    if encoding.format == "webp" and image.mode in ("L", "LA"):  # WebP stores gray as RGB
        image, low_bytes = convert_to_srgb(image, low_bytes)
    if not record or record.get("task", "txt2img") not in TASK_NAMES:
        has_packet = encoding.format == "jpeg" and "xmp" in save_kwargs
        save_kwargs |= derived_save_args(encoding.format, b"" if has_packet else input_mark(record))
    if (profile := embedded_profile(image)) is not None:
        save_kwargs["icc_profile"] = profile.data
    is_opaque_jpeg = encoding.format == "jpeg" and not has_transparency(image)
    clean = (drop_alpha(image) if is_opaque_jpeg else image).copy()
    clean.info = {}
    try:
        if encoding.format == "png":
            return encode_png(clean, save_kwargs, encoding.png_level, low_bytes), save_args.sidecar
        if low_bytes is not None:
            clean = _round_to_8bit(clean, low_bytes)
        buffer = io.BytesIO()
        clean.save(buffer, encoding.format.upper(), **save_kwargs)
    except (OSError, ValueError) as error:
        raise OutputError(f"Cannot encode the image as {encoding.format}: {error}.", "Use --format png.") from error
    return buffer.getvalue(), save_args.sidecar


def encode_without_metadata(
    image: Image.Image,
    format: str,  # noqa: A002 - the option's name
    source_type: str = "",
) -> bytes:
    """Return the bytes of a derived image without metadata, such as a contact sheet or a plot.

    Args:
        image: image to encode.
        format: `png`, `jpeg` or `webp`.
        source_type: mark of AI generation of the images that the image shows, see
            `artgen.metadata.input_marks.combined_source_type`; empty without a mark.

    Raises:
        OutputError: The format cannot store the image.
    """
    record = {"task": "derived", INPUT_SOURCE_TYPE: source_type} if source_type else {}
    return encode_image(image, record, EncodingOptions(format, metadata="none"))[0]


def _attributes(image: Image.Image, encoding: EncodingOptions, own_exif: object) -> dict[str, object]:
    """Return the arguments of `Image.save` for the resolution, and at the level `full` also for the EXIF data."""
    info: dict[str, Any] = {name: image.info[name] for name in ("dpi", "exif") if name in image.info}
    if encoding.metadata != "full":
        info.pop("exif", None)
    exif = merge_exif(own_exif, info, with_resolution=encoding.format == "webp")
    attributes: dict[str, object] = {} if exif is None else {"exif": exif}
    if exif is not None and encoding.format == "jpeg":
        profile = embedded_profile(image)
        complete_jpeg_exif(exif, image.size, info, is_srgb=profile is None or profile.is_srgb)
    if "dpi" in info and encoding.format != "webp":
        attributes["dpi"] = info["dpi"]
    return attributes


def _round_to_8bit(high_bytes: Image.Image, low_bytes: Image.Image) -> Image.Image:
    """Return round(value / 257), where value = 256 * high + low. The result is `high_bytes`, +1 or -1."""
    low_minus_high = ImageChops.subtract(low_bytes, high_bytes)
    high_minus_low = ImageChops.subtract(high_bytes, low_bytes)
    above_half = [value > 128 for value in range(256)]
    up, down = (part.point(above_half * len(part.getbands())) for part in (low_minus_high, high_minus_low))
    return ImageChops.subtract(ImageChops.add(high_bytes, up), down)
