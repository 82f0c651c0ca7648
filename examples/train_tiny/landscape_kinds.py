"""Draw landscapes, rooms and patterns as SVG, and render them at any size.

A landscape has a kind, a time of day and a weather.
"""

import colorsys
import io
from collections.abc import Callable

import numpy as np
import resvg_py
from landscapes import Landscape
from PIL import Image
from svg_shapes import Color, css, ellipse, gradient, mix, polygon, rectangle


def draw_sky(land: Landscape) -> str:
    return land.sky()


def draw_mountains(land: Landscape) -> str:
    horizon = land.number(66, 76)
    cap = land.lit((246, 249, 253)) if land.random.random() < 0.75 or land.weather == "snowy" else None
    far = land.ridge(horizon, land.number(42, 54), land.lit((112, 124, 156), 0.35), cap)
    near = land.ridge(horizon + 4, land.number(22, 34), land.lit((84, 94, 120), 0.1), cap)
    return land.sky(horizon) + far + near + land.hill(horizon + 5, 2, land.ground_color((92, 156, 84)))


def draw_hills(land: Landscape) -> str:
    horizon = land.number(50, 60)
    parts = [land.sky(horizon + 6)]
    parts += [
        land.hill(horizon + 12 * i, land.number(3, 6), land.ground_color(mix((150, 196, 110), (70, 148, 62), i / 3)))
        for i in range(4)
    ]
    return "".join(parts)


def draw_meadow(land: Landscape) -> str:
    horizon = land.number(54, 64)
    parts = [land.sky(horizon + 3), land.hill(horizon, 2, land.ground_color((112, 190, 76)))]
    colors = [(250, 220, 60), (240, 90, 110), (255, 255, 255), (180, 110, 220)]
    for _ in range(0 if land.weather == "snowy" else int(land.random.integers(10, 26))):
        color = land.lit(colors[land.random.integers(len(colors))])
        size = land.number(1.6, 3.2)
        parts.append(ellipse(land.number(1, 99), land.number(horizon + 8, 98), size, size, color))
    return "".join(parts)


def draw_sea(land: Landscape) -> str:
    horizon = land.number(46, 62)
    return land.sky(horizon) + land.water(horizon)


def draw_beach(land: Landscape) -> str:
    horizon = land.number(38, 48)
    sand = land.lit((240, 214, 158))
    shore = land.number(66, 74)
    foam = land.hill(shore - 1.6, 1.6, land.lit((250, 252, 252)))
    land_random = land.random.bit_generator.state
    beach = land.hill(shore, 1.6, sand)
    land.random.bit_generator.state = land_random
    parts = [land.sky(horizon), land.water(horizon), foam, beach]
    if land.random.random() < 0.45:
        x, base, side = land.number(8, 24), land.number(82, 92), 1
        if land.random.random() < 0.5:
            x, side = 100 - x, -1
        trunk, leaf = land.lit((140, 100, 62)), land.lit((52, 146, 74))
        top = (x + side * 7, base - 46)
        parts.append(polygon([(x - 1.8, base), (top[0] - 0.9, top[1]), (top[0] + 0.9, top[1]), (x + 1.8, base)], trunk))
        for dx, dy in ((-15, 5), (-11, -5), (1, -9), (12, -5), (15, 5)):
            parts.append(polygon([top, (top[0] + dx * 0.5, top[1] + dy - 4), (top[0] + dx, top[1] + dy)], leaf))
    return "".join(parts)


def draw_forest(land: Landscape) -> str:
    horizon = land.number(58, 66)
    is_conifer = land.weather == "snowy" or bool(land.random.random() < 0.6)
    parts = [land.sky(horizon, disc=land.random.random() < 0.4)]
    parts.append(land.trees(horizon, 38, 0.5, 9, is_conifer))
    parts.append(land.hill(horizon, 1, land.ground_color((88, 138, 74))))
    parts.append(land.trees(horizon + 8, 52, 0.22, 6, is_conifer))
    parts.append(land.hill(horizon + 9, 1.5, land.ground_color((70, 120, 62))))
    for side in (land.number(-4, 12), land.number(88, 104)):
        color = land.lit((30, 86, 50) if is_conifer else (52, 122, 54))
        parts.append(land.tree(side, 96, land.number(70, 88), color, is_conifer))
    return "".join(parts)


def draw_desert(land: Landscape) -> str:
    horizon = land.number(54, 62)
    parts = [land.sky(horizon + 4)]
    parts += [land.hill(horizon + 13 * i, land.number(3, 6), land.lit(mix((244, 206, 140), (214, 158, 84), i / 2)))
              for i in range(3)]  # fmt: skip
    for _ in range(int(land.random.integers(0, 4))):
        x, base, size, green = land.number(6, 94), land.number(72, 94), land.number(10, 20), land.lit((70, 138, 80))
        for dx, low, high in ((0, 0, 1), (-0.3, 0.35, 0.75), (0.3, 0.25, 0.65)):
            parts.append(f'<rect x="{x + dx * size - 0.09 * size:.1f}" y="{base - high * size:.1f}" '
                         f'width="{0.18 * size:.1f}" height="{(high - low) * size:.1f}" rx="{0.09 * size:.1f}" '
                         f'fill="{css(green)}"/>')  # fmt: skip
        parts.append(rectangle(x - 0.3 * size, base - 0.38 * size, 0.6 * size, 0.13 * size, green))
    return "".join(parts)


def draw_snow(land: Landscape) -> str:
    horizon = land.number(56, 66)
    land.weather = "snowy"
    parts = [land.sky(horizon + 4), land.trees(horizon, 22, 0.35, int(land.random.integers(4, 10)), True)]
    parts += [
        land.hill(horizon + 12 * i, 2.5, land.lit(mix((226, 238, 250), (250, 252, 255), i / 2))) for i in range(3)
    ]
    return "".join(parts)


def draw_city(land: Landscape) -> str:
    base = land.number(84, 92)
    parts = [land.sky(base)]
    is_lit = land.time in {"night", "sunset"}
    for distance, count, low, high in ((0.45, 9, 30, 62), (0.1, 7, 20, 50)):
        x = land.number(-6, 2)
        while x < 100:
            width, tall = land.number(0.7, 1.3) * 100 / count, land.number(low, high)
            walls = [(92, 104, 136), (120, 112, 130), (74, 90, 118), (140, 124, 120)]
            parts.append(rectangle(x, base - tall, width, tall + 1, land.lit(walls[land.random.integers(4)], distance)))
            if distance < 0.3:
                parts += [
                    rectangle(x + width * (0.15 + 0.28 * column), base - tall + 3 + 6 * row, width * 0.16, 3,
                              (255, 224, 120) if is_lit else land.lit((190, 216, 236)), 0.95)
                    for column in range(3) for row in range(int((tall - 4) // 6)) if land.random.random() < 0.75
                ]  # fmt: skip
            x += width * land.number(1.0, 1.15)
    return "".join(parts) + rectangle(0, base, 100, 101 - base, land.lit((84, 88, 96)))


def draw_room(land: Landscape) -> str:
    walls = [(244, 226, 196), (206, 222, 232), (222, 206, 226), (214, 230, 206), (238, 208, 200)]
    wall, floor = (
        walls[land.random.integers(5)],
        [(176, 126, 84), (146, 104, 72), (198, 160, 120)][land.random.integers(3)],
    )
    line = land.number(66, 74)
    parts = [rectangle(0, 0, 100, 100, wall), rectangle(0, line, 100, 100 - line, floor)]
    parts += [rectangle(0, line + 7 * i, 100, 0.6, mix(floor, (60, 40, 30), 0.35)) for i in range(1, 5)]
    parts.append(rectangle(0, line - 2.5, 100, 2.5, mix(wall, (255, 255, 255), 0.6)))
    x, y, width, height = land.number(8, 20), land.number(10, 18), land.number(22, 30), land.number(26, 34)
    if land.random.random() < 0.5:
        x = 100 - x - width
    parts.append(rectangle(x - 2, y - 2, width + 4, height + 4, (250, 250, 246)))
    parts.append(rectangle(x, y, width, height, mix(land.light.top, land.light.horizon, 0.4)))
    parts += [rectangle(x + width / 2 - 0.8, y, 1.6, height, (250, 250, 246)),
              rectangle(x, y + height / 2 - 0.8, width, 1.6, (250, 250, 246))]  # fmt: skip
    left = 100 - x - width
    hues = [(220, 90, 80), (70, 130, 190), (230, 180, 70), (90, 160, 110)]
    if land.random.random() < 0.7:
        parts.append(rectangle(left, y + 3, 18, 14, (96, 70, 50)))
        parts.append(rectangle(left + 1.5, y + 4.5, 15, 11, hues[land.random.integers(4)]))
    parts.append(
        ellipse(50, land.number(86, 91), land.number(50, 74), land.number(10, 15), hues[land.random.integers(4)])
    )
    land.weather = "clear"
    return "".join(parts)


def draw_stars(land: Landscape) -> str:
    top = [(8, 8, 34), (24, 12, 56), (6, 20, 48)][land.random.integers(3)]
    parts = [gradient("space", top, mix(top, (70, 60, 140), 0.5), 0, 100)]
    land.weather = "clear"
    parts += [land._star(108) for _ in range(int(land.random.integers(40, 80)))]
    if land.random.random() < 0.5:
        size, x, y = land.number(12, 20), land.number(15, 85), land.number(14, 50)
        parts.append(ellipse(x, y, size, size, (246, 242, 214)))
        if land.random.random() < 0.6:
            parts.append(ellipse(x + 0.3 * size, y - 0.1 * size, 0.9 * size, 0.9 * size, top))
    return "".join(parts)


def draw_underwater(land: Landscape) -> str:
    land.weather = "clear"
    parts = [gradient("deep", (70, 190, 225), (10, 60, 130), 0, 100)]
    for _ in range(4):
        x, width = land.number(0, 90), land.number(4, 10)
        parts.append(polygon([(x, 0), (x + width, 0), (x + width + 22, 100), (x + 6, 100)], (200, 240, 255), 0.14))
    for _ in range(int(land.random.integers(3, 8))):
        x, height = land.number(3, 97), land.number(14, 34)
        color = [(44, 140, 90), (220, 96, 110), (236, 150, 70), (130, 90, 180)][land.random.integers(4)]
        for lean in (-5, 0, 5):
            parts.append(
                polygon([(x - 1.5 + lean * 0.2, 98), (x + lean, 98 - height), (x + 1.5 + lean * 0.2, 98)], color)
            )
    parts.append(land.hill(90, 2, (222, 200, 146)))
    for _ in range(int(land.random.integers(5, 14))):
        size = land.number(1.4, 3.6)
        parts.append(ellipse(land.number(2, 98), land.number(4, 84), size, size, (214, 244, 255), 0.75))
    return "".join(parts)


def draw_lake(land: Landscape) -> str:
    horizon = land.number(46, 54)
    far = land.ridge(horizon, land.number(20, 30), land.lit((104, 124, 140), 0.35))
    shore = land.trees(horizon + 1, 14, 0.2, 9, True)
    return (
        land.sky(horizon) + far + shore + land.water(horizon + 1) + land.hill(90, 3, land.ground_color((86, 150, 76)))
    )


def draw_abstract(land: Landscape) -> str:
    land.weather = "clear"
    start = land.number(0, 1)

    def color(i: int) -> Color:
        hue = (start + 0.13 * i + land.number(-0.03, 0.03)) % 1
        red, green, blue = colorsys.hsv_to_rgb(hue, land.number(0.5, 0.9), land.number(0.75, 1))
        return (255 * red, 255 * green, 255 * blue)

    parts = [rectangle(0, 0, 100, 100, color(0))]
    style = land.random.integers(5)
    for i in range(1, int(land.random.integers(7, 14))):
        x, y, size = land.number(0, 100), land.number(0, 100), land.number(14, 44)
        if style == 0 or (style == 4 and i % 3 == 0):
            parts.append(ellipse(x, y, size, size, color(i), 0.9))
        elif style == 1 or (style == 4 and i % 3 == 1):
            angles = np.sort(land.random.uniform(0, 6.28, 3 + int(land.random.integers(0, 3))))
            parts.append(polygon([(x + size * np.cos(a), y + size * np.sin(a)) for a in angles], color(i), 0.9))
        elif style == 2:
            parts.append(polygon([(8 * i - 12, 0), (8 * i - 4, 0), (8 * i + 22, 100), (8 * i + 14, 100)], color(i)))
        elif style == 3:
            parts.append(ellipse(50, 50, max(4, 130 - 11 * i), max(4, 130 - 11 * i), color(i)))
        else:
            parts.append(rectangle(x - size / 2, y - size / 2, size, size * land.number(0.4, 1), color(i), 0.9))
    return "".join(parts)


KINDS: dict[str, Callable[[Landscape], str]] = {
    "abstract": draw_abstract, "beach": draw_beach, "city": draw_city, "desert": draw_desert, "forest": draw_forest,
    "hills": draw_hills, "lake": draw_lake, "meadow": draw_meadow, "mountains": draw_mountains, "room": draw_room,
    "seaside": draw_sea, "skyline": draw_sky, "stars": draw_stars, "underwater": draw_underwater, "winter": draw_snow,
}  # fmt: skip


def render_landscape(kind: str, time: str, weather: str, side: int, seed: int) -> np.ndarray:
    """Render a landscape: uint8 RGB of shape (side, side, 3).

    Args:
        kind: key of `KINDS`.
        time: key of `TIMES`.
        weather: element of `WEATHERS`.
        side: pixels.
        seed: seed of all positions and sizes. The drawing does not depend on `side`.
    """
    land = Landscape(time, weather, np.random.default_rng(seed))
    body = KINDS[kind](land) + land.overlay()
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">{body}</svg>'
    png = resvg_py.svg_to_bytes(svg_string=svg, width=side, skip_system_fonts=True)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
