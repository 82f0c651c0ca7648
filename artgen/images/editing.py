"""Edit lossless images: resize them, extend them, and replace a masked area by generated pixels."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PIL import Image

from artgen.images.canvas import Expansion
from artgen.images.color_profiles import embedded_profile, from_srgb, from_srgb_16bit, to_srgb
from artgen.images.lossless import LosslessImage, drop_alpha
from artgen.images.masks import composite
from artgen.images.resampling import resize_lanczos

if TYPE_CHECKING:
    from numpy.typing import NDArray


_MAX_BLENDED_PIXELS = 1 << 20
"""Number of pixels that are blended at a time, which limits the memory of 16-bit images."""


def paste_generated(source: LosslessImage, generated: Image.Image, mask: Image.Image) -> LosslessImage:
    """Replace the masked pixels of an image; keep its mode, transparency, bits per channel and color profile.

    Pixels with mask value 0 are byte-identical to the source. The transparency of all pixels is unchanged.

    Args:
        source: input image, with a profile that is None or invertible.
        generated: 8-bit sRGB, mode RGB, same size.
        mask: mode L, same size: 0 keeps the source, 255 selects the generated pixels, other values blend.
    """
    image, low_bytes = source.image.copy(), source.low_bytes and source.low_bytes.copy()
    left, first, right, last = mask.getbbox() or (0, 0, 0, 0)
    rows = max(1, _MAX_BLENDED_PIXELS // image.width)
    for top in range(first, last, rows):
        box = (left, top, right, min(top + rows, last))
        area = replace(source, image=image.crop(box), low_bytes=low_bytes and low_bytes.crop(box))
        blended, blended_low = _blend(area, generated.crop(box), mask.crop(box))
        image.paste(blended, box)
        if low_bytes is not None and blended_low is not None:
            low_bytes.paste(blended_low, box)
    return replace(source, image=image, low_bytes=low_bytes)


def _blend(source: LosslessImage, generated: Image.Image, mask: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return the blend of an image and generated pixels, and its low bytes; see `paste_generated`."""
    color = drop_alpha(source.image)
    if source.profile is not None and not source.profile.is_srgb:  # a soft edge looks the same in every profile
        srgb, _ = convert_to_srgb(source.image, source.low_bytes)
        generated = composite(drop_alpha(srgb).convert("RGB"), generated, mask)
        mask = mask.point([0] + [255] * 255)
    if source.low_bytes is None:
        return with_alpha_of(
            composite(color, from_srgb(generated, source.profile, color.mode), mask), source.image
        ), None
    pasted = from_srgb_16bit(generated, source.profile, color.mode)
    image, low_bytes = _composite_16bit((color, drop_alpha(source.low_bytes)), pasted, mask)
    return with_alpha_of(image, source.image), with_alpha_of(low_bytes, source.low_bytes)


def resize_lossless(source: LosslessImage, size: tuple[int, int]) -> LosslessImage:
    """Return an image with all its bits in another size, in pixels."""
    if size == source.image.size:
        return source
    if source.low_bytes is None:
        image, low = source.image.resize(size, Image.Resampling.LANCZOS), None
    else:
        image, low = _resize_16bit(source.image, source.low_bytes, size)
    image.info = dict(source.image.info)
    return replace(source, image=image, low_bytes=low)


def expand_lossless(source: LosslessImage, expansion: Expansion) -> LosslessImage:
    """Return an image on a larger canvas. The added pixels are opaque and black, for `paste_generated`."""
    image, low = (None if part is None else _expand(part, expansion) for part in (source.image, source.low_bytes))
    if image is None:
        raise TypeError("the image is missing")
    image.info = dict(source.image.info)
    return replace(source, image=image, low_bytes=low)


def convert_to_srgb(image: Image.Image, low_bytes: Image.Image | None = None) -> tuple[Image.Image, Image.Image | None]:
    """Convert an image (mode L, LA, RGB or RGBA) from the valid profile in its `info` to sRGB in the same mode.

    Returns:
        The image without a profile, and its low bytes. A conversion returns 8 bits per channel and None.
    """
    profile = embedded_profile(image)
    if profile is None:
        return image, low_bytes
    if profile.is_srgb:
        converted = image.copy()
    else:
        color, low = drop_alpha(image), low_bytes and drop_alpha(low_bytes)
        converted, low_bytes = with_alpha_of(to_srgb(color, profile, low).convert(color.mode), image), None
    converted.info = {name: value for name, value in image.info.items() if name != "icc_profile"}
    return converted, low_bytes


def with_alpha_of(color: Image.Image, image: Image.Image) -> Image.Image:
    """Return colors (mode L or RGB) with the alpha channel of an image; unchanged if the image has none."""
    if not image.mode.endswith("A"):
        return color
    return Image.merge(f"{color.mode}A", (*color.split(), image.getchannel("A")))


def has_transparency(image: Image.Image, mask: Image.Image | None = None) -> bool:
    """Return whether a pixel of an image (mode L, LA, RGB or RGBA), inside a mask if there is one, is not opaque."""
    return image.mode.endswith("A") and any(image.getchannel("A").histogram(mask)[:255])


def _expand(image: Image.Image, expansion: Expansion) -> Image.Image:
    canvas = Image.new(image.mode, expansion.expanded_size(*image.size))
    if image.mode.endswith("A"):
        canvas.putalpha(255)
    canvas.paste(image, (expansion.left, expansion.top))
    return canvas


def _composite_16bit(
    source: tuple[Image.Image, Image.Image], pasted: tuple[Image.Image, Image.Image], mask: Image.Image
) -> tuple[Image.Image, Image.Image]:
    """Blend 16-bit images, given as high and low bytes."""
    import numpy  # the import takes longer than many commands

    old, new = (numpy.asarray(high).astype(numpy.int32) * 256 + numpy.asarray(low) for high, low in (source, pasted))
    weight = numpy.asarray(mask).astype(numpy.int32)
    weight = weight if old.ndim == 2 else weight[..., None]
    blended = (old * (255 - weight) + new * weight + 127) // 255
    return _split_16bit(blended, source[0].mode)


def _resize_16bit(high: Image.Image, low: Image.Image, size: tuple[int, int]) -> tuple[Image.Image, Image.Image]:
    import numpy  # as above

    values = numpy.asarray(high).astype(numpy.uint16) << 8 | numpy.asarray(low)
    return _split_16bit(resize_lanczos(values, size), high.mode)


def _split_16bit(values: "NDArray[Any]", mode: str) -> tuple[Image.Image, Image.Image]:
    high, low = (values >> 8).astype("uint8"), (values & 255).astype("uint8")
    return Image.fromarray(high, mode), Image.fromarray(low, mode)
