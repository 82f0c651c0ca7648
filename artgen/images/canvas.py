"""Parse sizes, pad images and extend the canvas."""

import math
import re
from dataclasses import dataclass

from PIL import Image, ImageFilter, ImageOps

from artgen.errors import UsageError

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels, as in `Image.crop`."""

DEFAULT_FEATHER_RATIO = 16 / 512
"""Default width of the blended band divided by the shorter side of the image."""

MAX_EXPANSION_PX = 8192
"""Maximum number of pixels to add on one side."""

_SIDES = {
    "left": ("left",),
    "top": ("top",),
    "right": ("right",),
    "bottom": ("bottom",),
    "x": ("left", "right"),
    "y": ("top", "bottom"),
    "all": ("left", "top", "right", "bottom"),
}


@dataclass(frozen=True)
class Expansion:
    """Store the pixels to add on each side, >= 0."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def expanded_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height of an image after the expansion."""
        return width + self.left + self.right, height + self.top + self.bottom


def parse_size(text: str) -> tuple[int, int]:
    """Parse `768x512` to (768, 512). `X` and the multiplication sign are also accepted.

    Raises:
        UsageError: The text has another form, or a side is 0.
    """
    match = re.fullmatch(r"\s*([0-9]{1,6})\s*[xX×]\s*([0-9]{1,6})\s*", text)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if not width or not height:
        side = text.strip().removesuffix("px")
        example = f"{side}x{side}" if side.isdecimal() and len(side) < 6 else "768x512"
        raise UsageError(f"'{text}' is not a size.", f"Use WIDTHxHEIGHT in pixels, such as {example}.")
    return width, height


def nearest_sizes(width: int, height: int, multiple: int) -> tuple[tuple[int, int], ...]:
    """Return the one to four nearest sizes whose sides are multiples of `multiple`, nearest first."""

    def neighbors(side: int) -> set[int]:
        return {max(side // multiple, 1) * multiple, max(-(-side // multiple), 1) * multiple}

    sizes = [(w, h) for w in neighbors(width) for h in neighbors(height)]
    return tuple(sorted(sizes, key=lambda size: (abs(size[0] - width) + abs(size[1] - height), size)))


def parse_expand(text: str) -> Expansion:
    """Parse an expansion: `64` (all sides), `left=64,top=32`, `x=64` (left and right), `y=32`.

    Values are integers in pixels, 0 to 8192, at least one above 0. Each side is given at most once.

    Raises:
        UsageError: The text has another form.
    """
    hint = "Use 64, or sides such as left=64,top=32, or x=64,y=32."
    sides: dict[str, int] = {}
    for part in text.split(","):
        name, separator, value = (piece.strip() for piece in part.rpartition("="))
        if separator == "" and name == "" and "," not in text:
            name = "all"
        if name.lower() not in _SIDES:
            raise UsageError(f"'{part.strip()}' in --expand is not a side; use {', '.join(_SIDES)}.", hint)
        if not re.fullmatch(r"[0-9]{1,6}", value) or int(value) > MAX_EXPANSION_PX:
            raise UsageError(f"'{value}' in --expand is not a number of pixels from 0 to {MAX_EXPANSION_PX}.", hint)
        for side in _SIDES[name.lower()]:
            if side in sides:
                raise UsageError(f"--expand '{text}' sets the {side} side twice.", hint)
            sides[side] = int(value)
    if not any(sides.values()):
        raise UsageError(f"--expand '{text}' adds 0 pixels.", hint)
    return Expansion(**sides)


def expansion_to_size(size: tuple[int, int], width: int, height: int) -> Expansion:
    """Return the expansion from `size` to width x height, centered. An odd pixel is added on the right or below.

    Raises:
        UsageError: A side becomes smaller, nothing is added, or more than 8192 pixels are added on one side.
    """
    extra_x, extra_y = width - size[0], height - size[1]
    if extra_x < 0 or extra_y < 0:
        raise UsageError(
            f"--target-size {width}x{height} is smaller than the image, which is {size[0]}x{size[1]}.",
            "Use a size that is at least as large on both sides.",
        )
    if extra_x == 0 and extra_y == 0:
        raise UsageError(f"The image already has the size {width}x{height}.", "Use a larger size.")
    if max(extra_x, extra_y) > 2 * MAX_EXPANSION_PX:
        raise UsageError(f"--target-size {width}x{height} adds more than {MAX_EXPANSION_PX} pixels on one side.")
    return Expansion(extra_x // 2, extra_y // 2, extra_x - extra_x // 2, extra_y - extra_y // 2)


def pad_to_multiple(image: Image.Image, multiple: int) -> tuple[Image.Image, Box]:
    """Pad the right and lower sides by reflection until both sides are multiples of `multiple` (>= 1).

    Returns:
        The padded image, and the box that crops the original. An image with a valid size is returned unchanged. The
        image may be smaller than the padding.
    """
    width, height = image.size
    box = (0, 0, width, height)
    if width % multiple == 0 and height % multiple == 0:
        return image, box
    return _reflect(image, Expansion(right=-width % multiple, bottom=-height % multiple)), box


def default_feather(size: tuple[int, int]) -> int:
    """Return the default width of the blended band of outpaint for an image of (width, height), in pixels, >= 1."""
    return max(1, round(min(size) * DEFAULT_FEATHER_RATIO))


def expand_canvas(
    image: Image.Image, *, left: int = 0, top: int = 0, right: int = 0, bottom: int = 0, feather: int = 0
) -> tuple[Image.Image, Image.Image]:
    """Enlarge an image for outpainting; each side is >= 0 pixels.

    The new border is a blurred reflection of the image: it has the colors and the brightness of the neighboring pixels,
    but no mirrored shapes that the model would copy.

    The decoded colors of a generated border differ by some gray levels from the colors of the image. In a band of
    `feather` pixels inside the image, at the extended sides, the mask decreases from 255 to 0 (half a cosine), so that
    no step is visible.

    Returns:
        The enlarged image (mode of `image`, original pixels unchanged) and the mask (mode L: 255 in the border, 1 to
        254 in the band, 0 on the rest of the original).

    Raises:
        ValueError: A side is negative.
    """
    if min(left, top, right, bottom) < 0:
        raise ValueError("sides must be >= 0")
    reflected = _reflect(image, Expansion(left, top, right, bottom))
    radius = min(max(left, top, right, bottom) / 3, 64)
    canvas = reflected.filter(ImageFilter.GaussianBlur(radius))
    canvas.paste(image, (left, top))
    mask = Image.new("L", canvas.size, 255)
    for depth in range(feather + 1):
        box = (
            left + (depth if left else 0),
            top + (depth if top else 0),
            left + image.width - (depth if right else 0),
            top + image.height - (depth if bottom else 0),
        )
        if box[0] < box[2] and box[1] < box[3]:
            mask.paste(_band_weight(depth, feather), box)
    return canvas, mask


def _band_weight(depth: int, feather: int) -> int:
    """Return the mask value at a depth in pixels inside the image; 0 at and beyond the width of the band."""
    if depth >= feather:
        return 0
    return min(254, max(1, round(127.5 * (1 + math.cos(math.pi * (depth + 0.5) / feather)))))


def _reflect(image: Image.Image, expansion: Expansion) -> Image.Image:
    """Extend the image by reflection about the outermost pixels, as numpy's mode `reflect`."""
    image = _reflect_right(image, expansion.right)
    image = ImageOps.mirror(_reflect_right(ImageOps.mirror(image), expansion.left))
    image = image.transpose(Image.Transpose.TRANSPOSE)
    image = _reflect_right(image, expansion.bottom)
    image = ImageOps.mirror(_reflect_right(ImageOps.mirror(image), expansion.top))
    return image.transpose(Image.Transpose.TRANSPOSE)


def _reflect_right(image: Image.Image, pixels: int) -> Image.Image:
    target = image.width + pixels
    while image.width < target:
        width, height = image.size
        missing = target - width
        if width == 1:
            strip = image.resize((missing, height), Image.Resampling.NEAREST)
        else:
            strip = ImageOps.mirror(image.crop((max(0, width - 1 - missing), 0, width - 1, height)))
        longer = Image.new(image.mode, (width + strip.width, height))
        longer.paste(image, (0, 0))
        longer.paste(strip, (width, 0))
        image = longer
    return image
