"""Define the light and the parts of procedural landscapes, as SVG. The units are percent of the image side."""

from dataclasses import dataclass

import numpy as np
from svg_shapes import Color, ellipse, gradient, mix, polygon, rectangle

Random = np.random.Generator

WEATHERS = ("clear", "cloudy", "misty", "rainy", "snowy")


@dataclass(frozen=True)
class Light:
    """Store the colors of a time of day: the sky from top to horizon, the sun or moon, and the tint of the ground."""

    top: Color
    horizon: Color
    disc: Color
    tint: Color
    tint_fraction: float


TIMES = {
    "day": Light((70, 150, 235), (190, 228, 252), (255, 222, 60), (255, 255, 255), 0.0),
    "morning": Light((120, 170, 235), (255, 214, 176), (255, 240, 170), (255, 210, 170), 0.18),
    "sunset": Light((104, 62, 150), (255, 150, 74), (255, 96, 50), (130, 50, 80), 0.42),
    "night": Light((10, 14, 46), (44, 54, 110), (245, 243, 215), (16, 22, 66), 0.66),
}


class Landscape:
    """Draw one landscape. `random` is the only state.

    Args:
        time: key of `TIMES`.
        weather: element of `WEATHERS`.
        random: generator of all positions and sizes.
    """

    def __init__(self, time: str, weather: str, random: Random) -> None:
        self.time, self.weather, self.random = time, weather, random
        self.light = TIMES[time]
        if weather in {"rainy", "cloudy"} and time != "night":
            gray = (150, 160, 172)
            self.light = Light(
                mix(self.light.top, gray, 0.65), mix(self.light.horizon, (205, 210, 216), 0.6), self.light.disc,
                mix(self.light.tint, gray, 0.5), max(0.2, self.light.tint_fraction),
            )  # fmt: skip

    def number(self, low: float, high: float) -> float:
        """Return a uniform random number."""
        return float(self.random.uniform(low, high))

    def lit(self, color: Color, distance: float = 0.0) -> Color:
        """Return the color of an object in this light. `distance`, 0 to 1, moves it to the color of the horizon."""
        vary = self.random.uniform(0.93, 1.07)
        tinted = mix((color[0] * vary, color[1] * vary, color[2] * vary), self.light.tint, self.light.tint_fraction)
        haze = min(0.85, distance * (1.6 if self.weather == "misty" else 1.0))
        return mix(tinted, self.light.horizon, haze)

    def sky(self, horizon: float = 100, disc: bool = True) -> str:
        """Return the sky with sun or moon, stars and clouds, down to `horizon`."""
        parts = [gradient("sky", self.light.top, self.light.horizon, 0, horizon + 1)]
        if self.time == "night" and self.weather in {"clear", "snowy"}:
            parts += [self._star(horizon) for _ in range(self.random.integers(14, 34))]
        if disc and self.weather in {"clear", "snowy"} and (self.time == "sunset" or self.random.random() < 0.6):
            low = self.time in {"sunset", "morning"}
            y = self.number(0.62, 0.92) * horizon if low else self.number(0.12, 0.4) * horizon
            size = self.number(13, 19) if low else self.number(9, 14)
            x = self.number(18, 82)
            parts.append(ellipse(x, y, 1.7 * size, 1.7 * size, self.light.disc, 0.25))
            parts.append(ellipse(x, y, size, size, self.light.disc))
        count = {"clear": 0.7, "cloudy": 4.5, "rainy": 4.5, "misty": 0.0, "snowy": 1.5}[self.weather]
        parts += [self._cloud(horizon) for _ in range(self.random.poisson(count))]
        return "".join(parts)

    def _star(self, horizon: float) -> str:
        size = self.number(0.6, 1.7)
        return ellipse(self.number(1, 99), self.number(1, max(3, 0.92 * horizon)), size, size, (255, 252, 225))

    def _cloud(self, horizon: float) -> str:
        white = (255, 255, 255) if self.weather == "clear" else (196, 202, 210)
        color = mix(white, self.light.top, 0.6 if self.time == "night" else 0.05)
        color = mix(color, self.light.horizon, 0.5 if self.time in {"sunset", "morning"} else 0.0)
        x, y, size = self.number(5, 95), self.number(0.06, 0.5) * horizon, self.number(8, 16)
        puffs = [(-0.8, 0.15, 1.0), (0, -0.15, 1.3), (0.85, 0.12, 1.05), (0.1, 0.25, 1.6)]
        return "".join(ellipse(x + dx * size, y + dy * size, w * size, 0.62 * w * size, color) for dx, dy, w in puffs)

    def hill(self, top: float, height: float, color: Color) -> str:
        """Return a smooth ground whose edge is near `top` and varies by `height`."""
        phase, waves = self.number(0, 6.28), self.number(0.6, 1.7)
        xs = np.linspace(0, 100, 26)
        edge = top + height * np.sin(phase + waves * xs / 100 * 6.28)
        return polygon([*zip(xs.tolist(), edge.tolist(), strict=True), (100, 100), (0, 100)], color)

    def ridge(self, base: float, height: float, color: Color, cap: Color | None = None) -> str:
        """Return a row of mountains that stand on `base`, with snow caps of the color `cap`."""
        parts = []
        x = self.number(-14, 4)
        while x < 104:
            width, tall = self.number(34, 58), height * self.number(0.6, 1.0)
            peak = x + width * self.number(0.4, 0.6)
            parts.append(polygon([(x, base), (peak, base - tall), (x + width, base)], color))
            shade = mix(color, (20, 26, 50), 0.18)
            parts.append(polygon([(peak, base - tall), (x + width, base), (peak + 0.1 * width, base)], shade))
            if cap:
                f = self.number(0.24, 0.36)
                left, right = peak + (x - peak) * f, peak + (x + width - peak) * f
                low = base - tall * (1 - f)
                middle = (peak + 0.04 * width, low - 0.3 * f * tall)
                parts.append(polygon([(left, low), (peak, base - tall), (right, low), middle], cap))
            x += width * self.number(0.45, 0.75)
        return "".join(parts) + rectangle(0, base - 0.5, 100, 101 - base, color)

    def tree(self, x: float, base: float, size: float, color: Color, is_conifer: bool) -> str:
        """Return a tree of height `size` that stands on `base`."""
        trunk = rectangle(x - 0.05 * size, base - 0.35 * size, 0.1 * size, 0.36 * size, self.lit((104, 72, 48)))
        if not is_conifer:
            crown = [(0, -0.66, 0.62), (-0.2, -0.5, 0.42), (0.2, -0.5, 0.42)]
            return trunk + "".join(
                ellipse(x + a * size, base + b * size, c * size, c * size, color) for a, b, c in crown
            )
        layers = [(0.16, 0.62, 0.34), (0.4, 0.82, 0.27), (0.62, 1.0, 0.19)]
        return trunk + "".join(
            polygon(
                [(x - w * size, base - low * size), (x, base - high * size), (x + w * size, base - low * size)], color
            )
            for low, high, w in layers
        )

    def trees(self, base: float, size: float, distance: float, count: int, is_conifer: bool) -> str:
        """Return a row of trees."""
        snowy = self.weather == "snowy"
        green = (222, 234, 240) if snowy else (38, 104, 60) if is_conifer else (66, 142, 64)
        return "".join(
            self.tree(
                (i + self.number(0.1, 0.9)) * 100 / count, base + self.number(-2, 2), size * self.number(0.75, 1.2),
                self.lit(green, distance), is_conifer,
            )
            for i in range(count)
        )  # fmt: skip

    def ground_color(self, color: Color) -> Color:
        """Return the color of the ground: white if it snows."""
        return self.lit((240, 246, 252) if self.weather == "snowy" else color)

    def water(self, top: float) -> str:
        """Return a sea from `top` to the lower edge, with waves and the reflection of a low sun."""
        deep, shallow = self.lit((18, 84, 160)), self.lit((60, 160, 210), 0.15)
        if self.time == "sunset":
            deep, shallow = (58, 44, 110), (236, 134, 84)
        parts = [gradient("water", shallow, deep, top, 100 - top)]
        for _ in range(int(self.random.integers(7, 15))):
            y = top + (100 - top) * self.number(0.04, 0.96)
            width = self.number(5, 18) * (0.5 + (y - top) / (100 - top))
            parts.append(ellipse(self.number(0, 100), y, width, 0.9, mix(shallow, (255, 255, 255), 0.45), 0.7))
        return "".join(parts)

    def overlay(self) -> str:
        """Return mist, rain or falling snow in front of everything."""
        if self.weather == "misty":
            mist = mix(self.light.horizon, (240, 242, 245), 0.55)
            banks = [(self.number(0, 100), self.number(40, 90), self.number(14, 26)) for _ in range(4)]
            parts = [ellipse(x, y, 150, height, mist, 0.45) for x, y, height in banks]
            return "".join(parts) + rectangle(0, 0, 100, 100, mist, 0.3)
        if self.weather == "rainy":
            lines = [(self.number(-4, 100), self.number(-5, 95), self.number(4, 8)) for _ in range(38)]
            return "".join(
                f'<line x1="{x + length * 0.3:.1f}" y1="{y:.1f}" x2="{x:.1f}" y2="{y + length:.1f}" '
                f'stroke="#d2e2f5" stroke-width="0.7" opacity="0.75"/>'
                for x, y, length in lines
            )
        if self.weather == "snowy":
            flakes = [(self.number(0, 100), self.number(0, 100), self.number(1.0, 2.4)) for _ in range(30)]
            return "".join(ellipse(x, y, size, size, (255, 255, 255)) for x, y, size in flakes)
        return ""
