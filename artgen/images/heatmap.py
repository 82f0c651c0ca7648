"""Heat maps: a picture beside itself with what is surprising laid over it, and a scale."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from artgen.images.contact_sheet import label_font

INFERNO_COLORMAP = (
    (0, 0, 4), (27, 12, 66), (75, 12, 107), (120, 28, 109), (165, 44, 96), (207, 68, 70), (237, 105, 37),
    (251, 154, 6), (247, 208, 60), (252, 255, 164),
)  # fmt: skip
"""Ten colours of a map whose brightness grows evenly (inferno, Smith and van der Walt, 2015, CC0)."""

MAX_DISPLAY_SIDE_PX = 1024
"""Pixels along the longer side of a picture that is shown; larger ones are made smaller."""
MIN_DISPLAY_SIDE_PX = 256
"""And smaller ones are enlarged to this."""
_GAP_PX = 10
_TEXT_COLOR = (32, 32, 36)


def render_heatmap(
    image: Image.Image, heatmap: Image.Image, ticks: Sequence[tuple[float, str]], caption: str
) -> Image.Image:
    """The picture, the picture under its heat, and a scale with ticks, mode RGB.

    Args:
        image: mode RGB.
        heatmap: mode L of the same size, 0 to 255 over the scale.
        ticks: places on the scale, 0 (below) to 1 (above), and what stands at them.
        caption: a line below.
    """
    longer = max(image.size)
    factor = min(1.0, MAX_DISPLAY_SIDE_PX / longer) if longer > MIN_DISPLAY_SIDE_PX else MIN_DISPLAY_SIDE_PX / longer
    size = tuple(max(1, round(side * factor)) for side in image.size)
    wide, high = size
    shown = image.resize((wide, high), Image.Resampling.LANCZOS)
    hot = heatmap.resize((wide, high), Image.Resampling.BILINEAR)
    colours = apply_colormap(hot)
    # What is usual stays the picture, in grey, so that its colours are not taken for heat.
    grey = shown.convert("L").convert("RGB")
    overlay = Image.composite(colours, grey, hot.point(lambda value: min(235, 40 + value)))
    font = label_font(max(13, high // 24))
    line = int(font.getbbox("Ag|")[3]) + 6
    side = max(int(font.getlength(text)) for _, text in ticks)
    bar = max(12, wide // 24)
    page = Image.new("RGB", (2 * wide + bar + side + 5 * _GAP_PX, high + line + 2 * _GAP_PX), "white")
    page.paste(shown, (_GAP_PX, _GAP_PX))
    page.paste(overlay, (wide + 2 * _GAP_PX, _GAP_PX))
    left = 2 * wide + 3 * _GAP_PX
    ramp = Image.linear_gradient("L").transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize((bar, high))
    page.paste(apply_colormap(ramp), (left, _GAP_PX))
    pen = ImageDraw.Draw(page)
    for at, text in ticks:
        y = _GAP_PX + round((1 - min(1.0, max(0.0, at))) * (high - 1))
        pen.line((left + bar, y, left + bar + 4, y), fill=_TEXT_COLOR)
        pen.text(
            (left + bar + 7, min(max(_GAP_PX, y - line // 2), high + _GAP_PX - line)), text, fill=_TEXT_COLOR, font=font
        )
    pen.text((_GAP_PX, high + _GAP_PX + 4), caption, fill=_TEXT_COLOR, font=font)
    return page


def apply_colormap(values: Image.Image) -> Image.Image:
    """Mode L as colours, mode RGB."""
    palette = []
    for value in range(256):
        at, share = divmod(value / 255 * (len(INFERNO_COLORMAP) - 1), 1)
        low, high = INFERNO_COLORMAP[int(at)], INFERNO_COLORMAP[min(int(at) + 1, len(INFERNO_COLORMAP) - 1)]
        palette += [round(a + (b - a) * share) for a, b in zip(low, high, strict=True)]
    image = values.copy()
    image.putpalette(palette)
    return image.convert("RGB")
