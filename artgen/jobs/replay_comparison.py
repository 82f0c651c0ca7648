"""Compare a replayed image with the original image, and find the reason of a difference in the records."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen import images, metadata
from artgen.errors import ArtgenError, shorten
from artgen.images import LosslessImage
from artgen.images.decoding import decode_image
from artgen.images.lossless import lossless_from
from artgen.outputs.encoding import EncodingOptions, encode_image
from artgen.spec.fields import describe_value
from artgen.system.counts import counted
from artgen.system.memory_file import MEMORY_NAME, MemoryFile

COMPARED_FIELDS = (
    "image_sha256", "mask_sha256", "reference_sha256", "model", "model_revision", "model_hash", "vae", "vae_hash",
    "device", "dtype", "batch_size", "acceleration", "rounding", "fallbacks", "artgen", "torch", "diffusers",
    "transformers", "openvino", "openvino_precision",
)  # fmt: skip
"""Fields of a record whose difference explains other pixels, the most probable reason first."""

MAX_LISTED_FIELDS = 4
_ENCODED_FORMATS = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp"}


@dataclass(frozen=True)
class Original:
    """Store the image to which a replayed image is compared.

    Attributes:
        image: its pixels.
        format: format of the file, as Pillow names it.
        record: its record.
    """

    image: LosslessImage
    format: str
    record: Mapping[str, Any]


@dataclass(frozen=True)
class PixelComparison:
    """Store the difference between a replayed image and the original image.

    Attributes:
        same_pixels: whether all pixels are equal. A JPEG or WebP file is equal to the same encoding of the new image.
        differing_pixels: number of pixels that differ; None if the sizes or the channels differ.
        max_difference: largest difference of a channel in gray levels, 0 to 255; None as above.
        text: sentences for the user.
    """

    same_pixels: bool
    differing_pixels: int | None
    max_difference: float | None
    text: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields of `--json`."""
        return {
            "same_pixels": self.same_pixels,
            "differing_pixels": self.differing_pixels,
            "max_difference": self.max_difference,
        }


def read_original(path: Path, record: Mapping[str, Any]) -> Original | None:
    """Read the image of a record before it may be overwritten; None if the file of the record is not an image.

    Args:
        path: the image, or its sidecar file.
        record: record of the image.
    """
    try:
        if path.suffix.lower() == ".json" and metadata.sidecar_path(path.with_suffix("")) == path:
            path = path.with_suffix("")
        decoded = decode_image(path, images.MAX_PIXELS)
        return Original(lossless_from(decoded, path), decoded.image.format or "", record)
    except (ArtgenError, OSError, ValueError):
        return None


def compare(original: Original, image: Any, low_bytes: Any, record: Mapping[str, Any]) -> PixelComparison:
    """Compare a generated image with the original.

    Args:
        original: the original image.
        image: PIL image of the result.
        low_bytes: low bytes of an image with 16 bits per channel, or None.
        record: record of the result.
    """
    encoding = _ENCODED_FORMATS.get(original.format, "png")
    found = [_encoded(image, low_bytes, EncodingOptions(encoding, quality=95, metadata="none"))]
    if encoding == "webp":
        found.append(_encoded(image, low_bytes, EncodingOptions("webp", quality=100, metadata="none")))
    differences = [_difference(original.image, each) for each in found]
    known = [each for each in differences if each is not None]
    if not known:
        old, new = original.image.image, found[0].image
        text = f"The original has {old.width}x{old.height} pixels ({old.mode}), and the new image has {new.width}x"
        return PixelComparison(False, None, None, f"{text}{new.height} ({new.mode}). {_reason(original, record)}")
    count, largest = min(known)
    if not count:
        return PixelComparison(True, 0, 0.0, "Same pixels.")
    total = original.image.image.width * original.image.image.height
    return PixelComparison(
        False,
        count,
        largest,
        f"{count:,} of {counted(total, 'pixel')} {'differs' if count == 1 else 'differ'} from the original, by at most "
        f"{largest:g} of 255 gray levels. {_reason(original, record)}",
    )


def _encoded(image: Any, low_bytes: Any, encoding: EncodingOptions) -> LosslessImage:
    """Return an image as it is after it is saved and loaded."""
    return images.load_lossless(MemoryFile.create(MEMORY_NAME, encode_image(image, {}, encoding, low_bytes)[0]))


def _difference(first: LosslessImage, second: LosslessImage) -> tuple[int, float] | None:
    """Return the number of differing pixels and the largest difference in gray levels; None for other sizes."""
    import numpy  # the import takes longer than many commands

    if (first.image.size, first.image.mode) != (second.image.size, second.image.mode):
        return None
    arrays = []
    for each in (first, second):
        values = numpy.asarray(each.image).astype(numpy.int32)
        low = values if each.low_bytes is None else numpy.asarray(each.low_bytes)
        arrays.append(values * 256 + low)  # an 8-bit value v is 257 v in 16 bits
    difference = numpy.abs(arrays[0] - arrays[1])
    per_pixel = difference if difference.ndim == 2 else difference.max(axis=2)
    return int((per_pixel > 0).sum()), round(float(per_pixel.max()) / 257, 2)


def _reason(original: Original, record: Mapping[str, Any]) -> str:
    """Return the recorded differences that probably changed the pixels, as a sentence."""
    found = list(_recorded_differences(original.record, record))
    if found:
        return f"Recorded differences: {', '.join(found[:MAX_LISTED_FIELDS])}."
    if original.format not in ("PNG", "TIFF", "BMP"):
        return f"The original is a {original.format} file, whose compression changes pixels."
    return "The records do not differ. Another number of threads, another CPU or an edit of the file can be the reason."


def _recorded_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in COMPARED_FIELDS:
        if name in old and name in new and old[name] != new[name]:
            values = (shorten(describe_value(each[name])) for each in (old, new))
            yield f"{name.replace('_', ' ')} {next(values)} (now {next(values)})"
