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
    longer_side = max(image.size)
    factor = (
        min(1.0, MAX_DISPLAY_SIDE_PX / longer_side)
        if longer_side > MIN_DISPLAY_SIDE_PX
        else MIN_DISPLAY_SIDE_PX / longer_side
    )
    width, height = (max(1, round(side * factor)) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.LANCZOS)
    scaled_heatmap = heatmap.resize((width, height), Image.Resampling.BILINEAR)
    colors = apply_colormap(scaled_heatmap)
    # the image is gray, so that its colors are not read as heat
    gray = resized.convert("L").convert("RGB")
    overlay = Image.composite(colors, gray, scaled_heatmap.point(lambda value: min(235, 40 + value)))
    font = label_font(max(13, height // 24))
    line_height = int(font.getbbox("Ag|")[3]) + 6
    label_width = max(int(font.getlength(text)) for _, text in ticks)
    bar_width = max(12, width // 24)
    page = Image.new(
        "RGB", (2 * width + bar_width + label_width + 5 * _GAP_PX, height + line_height + 2 * _GAP_PX), "white"
    )
    page.paste(resized, (_GAP_PX, _GAP_PX))
    page.paste(overlay, (width + 2 * _GAP_PX, _GAP_PX))
    left = 2 * width + 3 * _GAP_PX
    color_bar = Image.linear_gradient("L").transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize((bar_width, height))
    page.paste(apply_colormap(color_bar), (left, _GAP_PX))
    draw = ImageDraw.Draw(page)
    for position, text in ticks:
        y = _GAP_PX + round((1 - min(1.0, max(0.0, position))) * (height - 1))
        draw.line((left + bar_width, y, left + bar_width + 4, y), fill=_TEXT_COLOR)
        draw.text(
            (left + bar_width + 7, min(max(_GAP_PX, y - line_height // 2), height + _GAP_PX - line_height)),
            text,
            fill=_TEXT_COLOR,
            font=font,
        )
    draw.text((_GAP_PX, height + _GAP_PX + 4), caption, fill=_TEXT_COLOR, font=font)
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
