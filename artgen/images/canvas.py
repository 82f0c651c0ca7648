"""Sizes, padding and larger canvases."""

import re
from dataclasses import dataclass

from PIL import Image, ImageFilter, ImageOps

from artgen.errors import UsageError

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels, as `Image.crop` takes it."""

MAX_EXPANSION_PX = 8192
"""Pixels that can be added on one side."""

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
    """Pixels to add on each side, each 0 or more."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def expanded_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of a picture once expanded."""
        return width + self.left + self.right, height + self.top + self.bottom


def parse_size(text: str) -> tuple[int, int]:
    """Read `768x512` as (768, 512); `X` and the multiplication sign are accepted too.

    Raises:
        UsageError: another form, or a side that is 0.
    """
    match = re.fullmatch(r"\s*([0-9]{1,6})\s*[xX×]\s*([0-9]{1,6})\s*", text)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if not width or not height:
        raise UsageError(f"'{text}' is not a size", "Write width x height in pixels, such as 768x512.")
    return width, height


def nearest_sizes(width: int, height: int, multiple: int) -> tuple[tuple[int, int], ...]:
    """The one to four sizes around width x height whose sides are multiples of `multiple`, the nearest first."""

    def around(side: int) -> set[int]:
        below = max(side // multiple, 1) * multiple
        return {below, max(-(-side // multiple), 1) * multiple}

    pairs = [(wide, high) for wide in around(width) for high in around(height)]
    return tuple(sorted(pairs, key=lambda pair: (abs(pair[0] - width) + abs(pair[1] - height), pair)))


def parse_expand(text: str) -> Expansion:
    """Read how much to add: `64` (all sides), `left=64,top=32`, `x=64` (left and right), `y=32`.

    Values are whole pixels, 0..8192, at least one above 0; a side is given once.

    Raises:
        UsageError: another form.
    """
    hint = "Write 64, or sides such as left=64,top=32, or x=64,y=32."
    sides: dict[str, int] = {}
    for part in text.split(","):
        name, separator, value = (piece.strip() for piece in part.rpartition("="))
        if separator == "" and name == "" and "," not in text:
            name = "all"
        if name.lower() not in _SIDES:
            raise UsageError(f"'{part.strip()}' in --expand names no side; known are {', '.join(_SIDES)}", hint)
        if not re.fullmatch(r"[0-9]{1,6}", value) or int(value) > MAX_EXPANSION_PX:
            raise UsageError(f"'{value}' in --expand is not a number of pixels from 0 to {MAX_EXPANSION_PX}", hint)
        for side in _SIDES[name.lower()]:
            if side in sides:
                raise UsageError(f"--expand '{text}' gives the {side} side twice", hint)
            sides[side] = int(value)
    if not any(sides.values()):
        raise UsageError(f"--expand '{text}' adds nothing", hint)
    return Expansion(**sides)


def expansion_to_size(size: tuple[int, int], width: int, height: int) -> Expansion:
    """How much to add so that a picture of `size` becomes width x height, centred; an odd pixel goes right or below.

    Raises:
        UsageError: a side would get smaller, nothing would be added, or more than 8192 pixels on one side.
    """
    extra_x, extra_y = width - size[0], height - size[1]
    if extra_x < 0 or extra_y < 0:
        raise UsageError(
            f"--target-size {width}x{height} is smaller than the picture, which is {size[0]}x{size[1]}",
            "Give a size that is at least as large on both sides.",
        )
    if extra_x == 0 and extra_y == 0:
        raise UsageError(f"the picture already is {width}x{height}", "Give a larger size.")
    if max(extra_x, extra_y) > 2 * MAX_EXPANSION_PX:
        raise UsageError(f"--target-size {width}x{height} adds more than {MAX_EXPANSION_PX} pixels on one side")
    return Expansion(extra_x // 2, extra_y // 2, extra_x - extra_x // 2, extra_y - extra_y // 2)


def pad_to_multiple(image: Image.Image, multiple: int) -> tuple[Image.Image, Box]:
    """Pad right and below by reflection until both sides are multiples of `multiple` (1 or more).

    Returns the padded picture and the box that crops the original out of it. A picture that fits already is returned
    as it is. Any size works, also one that is smaller than the padding.
    """
    width, height = image.size
    box = (0, 0, width, height)
    if width % multiple == 0 and height % multiple == 0:
        return image, box
    return _reflect(image, Expansion(right=-width % multiple, bottom=-height % multiple)), box


def expand_canvas(
    image: Image.Image, *, left: int = 0, top: int = 0, right: int = 0, bottom: int = 0
) -> tuple[Image.Image, Image.Image]:
    """Enlarge a picture for outpainting; each side 0 or more pixels.

    The new border starts as the blurred reflection of the picture, so that a model finds the neighbouring colours and
    light but no mirrored shapes to copy.

    Returns:
        The enlarged picture (mode of `image`; the original pixels are untouched) and the mask (mode L: 255 in the
        border, 0 on the original).

    Raises:
        ValueError: a negative side.
    """
    if min(left, top, right, bottom) < 0:
        raise ValueError("sides must be 0 or more")
    grown = _reflect(image, Expansion(left, top, right, bottom))
    radius = min(max(left, top, right, bottom) / 3, 64)
    canvas = grown.filter(ImageFilter.GaussianBlur(radius))
    canvas.paste(image, (left, top))
    mask = Image.new("L", canvas.size, 255)
    mask.paste(0, (left, top, left + image.width, top + image.height))
    return canvas, mask


def _reflect(image: Image.Image, expansion: Expansion) -> Image.Image:
    """Extend by reflection about the outermost pixels (numpy's mode "reflect")."""
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
