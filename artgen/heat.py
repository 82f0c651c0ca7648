"""Heat maps: a picture beside itself with what is surprising laid over it, and a scale."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from artgen.sheets import label_font

INFERNO = (
    (0, 0, 4), (27, 12, 66), (75, 12, 107), (120, 28, 109), (165, 44, 96), (207, 68, 70), (237, 105, 37),
    (251, 154, 6), (247, 208, 60), (252, 255, 164),
)  # fmt: skip
"""Ten colours of a map whose brightness grows evenly (inferno, Smith and van der Walt, 2015, CC0)."""

SHOWN = 1024
"""Pixels along the longer side of a picture that is shown; larger ones are made smaller."""
LEAST = 256
"""And smaller ones are enlarged to this."""
_GAP = 10
_INK = (32, 32, 36)


def heat_sheet(
    picture: Image.Image, heat: Image.Image, ticks: Sequence[tuple[float, str]], caption: str
) -> Image.Image:
    """The picture, the picture under its heat, and a scale with ticks, mode RGB.

    Args:
        picture: mode RGB.
        heat: mode L of the same size, 0 to 255 over the scale.
        ticks: places on the scale, 0 (below) to 1 (above), and what stands at them.
        caption: a line below.
    """
    longer = max(picture.size)
    factor = min(1.0, SHOWN / longer) if longer > LEAST else LEAST / longer
    size = tuple(max(1, round(side * factor)) for side in picture.size)
    wide, high = size
    shown = picture.resize((wide, high), Image.Resampling.LANCZOS)
    hot = heat.resize((wide, high), Image.Resampling.BILINEAR)
    colours = coloured(hot)
    # What is usual stays the picture, in grey, so that its colours are not taken for heat.
    grey = shown.convert("L").convert("RGB")
    overlay = Image.composite(colours, grey, hot.point(lambda value: min(235, 40 + value)))
    font = label_font(max(13, high // 24))
    line = int(font.getbbox("Ag|")[3]) + 6
    side = max(int(font.getlength(text)) for _, text in ticks)
    bar = max(12, wide // 24)
    page = Image.new("RGB", (2 * wide + bar + side + 5 * _GAP, high + line + 2 * _GAP), "white")
    page.paste(shown, (_GAP, _GAP))
    page.paste(overlay, (wide + 2 * _GAP, _GAP))
    left = 2 * wide + 3 * _GAP
    ramp = Image.linear_gradient("L").transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize((bar, high))
    page.paste(coloured(ramp), (left, _GAP))
    pen = ImageDraw.Draw(page)
    for at, text in ticks:
        y = _GAP + round((1 - min(1.0, max(0.0, at))) * (high - 1))
        pen.line((left + bar, y, left + bar + 4, y), fill=_INK)
        pen.text((left + bar + 7, min(max(_GAP, y - line // 2), high + _GAP - line)), text, fill=_INK, font=font)
    pen.text((_GAP, high + _GAP + 4), caption, fill=_INK, font=font)
    return page


def coloured(values: Image.Image) -> Image.Image:
    """Mode L as colours, mode RGB."""
    palette = []
    for value in range(256):
        at, share = divmod(value / 255 * (len(INFERNO) - 1), 1)
        low, high = INFERNO[int(at)], INFERNO[min(int(at) + 1, len(INFERNO) - 1)]
        palette += [round(a + (b - a) * share) for a, b in zip(low, high, strict=True)]
    image = values.copy()
    image.putpalette(palette)
    return image.convert("RGB")
