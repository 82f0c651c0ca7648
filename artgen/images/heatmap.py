"""Draw heat maps: an image, the image with the anomaly map over it, and a color scale."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from artgen.images.contact_sheet import label_font

INFERNO_COLORMAP = (
    (0, 0, 4), (27, 12, 66), (75, 12, 107), (120, 28, 109), (165, 44, 96), (207, 68, 70), (237, 105, 37),
    (251, 154, 6), (247, 208, 60), (252, 255, 164),
)  # fmt: skip
"""Ten colors of the perceptually uniform color map inferno (Smith and van der Walt, 2015, CC0)."""

MAX_DISPLAY_SIDE_PX = 1024
"""Longest side of the displayed image; larger images are scaled down."""
MIN_DISPLAY_SIDE_PX = 256
"""Smallest longer side of the displayed image; smaller images are scaled up."""
_GAP_PX = 10
_TEXT_COLOR = (32, 32, 36)


def render_heatmap(
    image: Image.Image, heatmap: Image.Image, ticks: Sequence[tuple[float, str]], caption: str
) -> Image.Image:
    """Draw the image, the image with the heat map, and a scale with ticks. Return an image of mode RGB.

    Args:
        image: mode RGB.
        heatmap: mode L, same size, 0 to 255 over the scale.
        ticks: positions on the scale, 0 (bottom) to 1 (top), with labels.
        caption: line of text below.
    """
    longer = max(image.size)
    factor = min(1.0, MAX_DISPLAY_SIDE_PX / longer) if longer > MIN_DISPLAY_SIDE_PX else MIN_DISPLAY_SIDE_PX / longer
    size = tuple(max(1, round(side * factor)) for side in image.size)
    wide, high = size
    resized = image.resize((wide, high), Image.Resampling.LANCZOS)
    hot = heatmap.resize((wide, high), Image.Resampling.BILINEAR)
    colors = apply_colormap(hot)
    # the image is gray, so that its colors are not read as heat
    gray = resized.convert("L").convert("RGB")
    overlay = Image.composite(colors, gray, hot.point(lambda value: min(235, 40 + value)))
    font = label_font(max(13, high // 24))
    line = int(font.getbbox("Ag|")[3]) + 6
    side = max(int(font.getlength(text)) for _, text in ticks)
    bar = max(12, wide // 24)
    page = Image.new("RGB", (2 * wide + bar + side + 5 * _GAP_PX, high + line + 2 * _GAP_PX), "white")
    page.paste(resized, (_GAP_PX, _GAP_PX))
    page.paste(overlay, (wide + 2 * _GAP_PX, _GAP_PX))
    left = 2 * wide + 3 * _GAP_PX
    ramp = Image.linear_gradient("L").transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize((bar, high))
    page.paste(apply_colormap(ramp), (left, _GAP_PX))
    canvas = ImageDraw.Draw(page)
    for position, text in ticks:
        y = _GAP_PX + round((1 - min(1.0, max(0.0, position))) * (high - 1))
        canvas.line((left + bar, y, left + bar + 4, y), fill=_TEXT_COLOR)
        canvas.text(
            (left + bar + 7, min(max(_GAP_PX, y - line // 2), high + _GAP_PX - line)), text, fill=_TEXT_COLOR, font=font
        )
    canvas.text((_GAP_PX, high + _GAP_PX + 4), caption, fill=_TEXT_COLOR, font=font)
    return page


def apply_colormap(values: Image.Image) -> Image.Image:
    """Convert an image of mode L to colors, mode RGB."""
    palette = []
    for value in range(256):
        index, fraction = divmod(value / 255 * (len(INFERNO_COLORMAP) - 1), 1)
        low, high = INFERNO_COLORMAP[int(index)], INFERNO_COLORMAP[min(int(index) + 1, len(INFERNO_COLORMAP) - 1)]
        palette += [round(a + (b - a) * fraction) for a, b in zip(low, high, strict=True)]
    image = values.copy()
    image.putpalette(palette)
    return image.convert("RGB")
