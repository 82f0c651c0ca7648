"""Give a generated image the properties of the enlarged input image. This module does not import torch."""

from dataclasses import replace

from PIL import Image

from artgen import images


def with_invertible_profile(source: images.LosslessImage) -> images.LosslessImage:
    """Return the image in sRGB if colors cannot be converted to its color profile; else unchanged."""
    if source.profile is None or source.profile.is_invertible:
        return source
    image, low_bytes = images.convert_to_srgb(source.image, source.low_bytes)
    return replace(source, image=image, low_bytes=low_bytes, profile=None)


def to_rgb(source: images.LosslessImage) -> Image.Image:
    """Return the colors of an image as 8-bit sRGB, mode RGB, without its transparency."""
    srgb, _ = images.convert_to_srgb(source.image, source.low_bytes)
    return images.drop_alpha(srgb).convert("RGB")


def has_srgb_values(source: images.LosslessImage) -> bool:
    """Return whether the values of an image need no conversion to sRGB."""
    return source.profile is None or source.profile.is_srgb


def with_properties_of(
    source: images.LosslessImage, generated: Image.Image, *, before: Image.Image
) -> images.LosslessImage:
    """Return the generated image with the mode, transparency, bits per channel, profile and metadata of the source.

    A model generates 8 bits per channel. For a source with 16 bits, the change of each pixel is added to the source, so
    that smooth areas stay smooth.

    Args:
        source: enlarged image with all its bits.
        generated: 8-bit sRGB, mode RGB.
        before: the source as 8-bit sRGB, mode RGB.
    """
    if source.is_plain_rgb:
        generated.info = dict(source.image.info)
        return replace(source, image=generated)
    if source.low_bytes is not None and has_srgb_values(source):
        return images.add_change(source, before, generated)
    return images.paste_generated(source, generated, Image.new("L", generated.size, 255))
