"""Draw sketches as a person does with a mouse: dark strokes on white with wobble, gaps and uneven thickness."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE_PX = 512
Point = tuple[float, float]
Stroke = tuple[Point, ...]


def circle(x: float, y: float, radius: float, squash: float = 1.0, start: float = 0.0, end: float = 1.0) -> Stroke:
    """Return an arc around (x, y). `squash` is height / width; `start` and `end` are in turns."""
    angles = 2 * np.pi * np.linspace(start, end, 24)
    return tuple((x + radius * float(np.cos(a)), y + squash * radius * float(np.sin(a))) for a in angles)


SKETCHES: dict[str, tuple[Stroke, ...]] = {
    # Coordinates are fractions of the side. Each stroke is drawn through its points.
    "a red fox": (
        ((0.22, 0.45), (0.16, 0.14), (0.36, 0.26), (0.5, 0.24), (0.64, 0.26), (0.84, 0.14), (0.78, 0.45)),
        ((0.22, 0.45), (0.14, 0.6), (0.32, 0.74), (0.5, 0.88), (0.68, 0.74), (0.86, 0.6), (0.78, 0.45)),
        circle(0.37, 0.52, 0.035),
        circle(0.63, 0.52, 0.035),
        circle(0.5, 0.8, 0.05, 0.8),
    ),
    "a house": (
        ((0.12, 0.5), (0.5, 0.13), (0.88, 0.5)),
        ((0.2, 0.44), (0.2, 0.87), (0.8, 0.87), (0.8, 0.44)),
        ((0.43, 0.87), (0.43, 0.62), (0.57, 0.62), (0.57, 0.87)),
        ((0.27, 0.55), (0.27, 0.67), (0.37, 0.67), (0.37, 0.55), (0.27, 0.55)),
    ),
    "a blue car": (
        ((0.08, 0.66), (0.09, 0.5), (0.26, 0.46), (0.36, 0.3), (0.64, 0.3), (0.76, 0.47), (0.92, 0.52), (0.92, 0.67)),
        ((0.08, 0.67), (0.92, 0.67)),
        circle(0.28, 0.68, 0.09),
        circle(0.73, 0.68, 0.09),
        ((0.33, 0.46), (0.4, 0.35), (0.6, 0.35), (0.68, 0.46), (0.33, 0.46)),
    ),
    "an orange fish": (
        circle(0.43, 0.5, 0.32, 0.62, 0.05, 0.95),
        ((0.72, 0.44), (0.92, 0.26), (0.87, 0.5), (0.93, 0.75), (0.72, 0.56)),
        circle(0.25, 0.45, 0.03),
        ((0.42, 0.32), (0.5, 0.18), (0.6, 0.34)),
    ),
    "a cat": (
        ((0.2, 0.5), (0.2, 0.14), (0.38, 0.28), (0.5, 0.26), (0.62, 0.28), (0.8, 0.14), (0.8, 0.5)),
        circle(0.5, 0.56, 0.33, 0.9, -0.04, 0.54),
        circle(0.37, 0.52, 0.035),
        circle(0.63, 0.52, 0.035),
        ((0.46, 0.64), (0.54, 0.64), (0.5, 0.69), (0.46, 0.64)),
    ),
    "a tree": (
        circle(0.5, 0.36, 0.29, 0.9, 0.26, 1.24),
        ((0.45, 0.62), (0.45, 0.92), (0.56, 0.92), (0.55, 0.62)),
    ),
    "a red apple": (
        circle(0.5, 0.58, 0.3, 1.02, -0.2, 0.72),
        ((0.5, 0.3), (0.52, 0.2), (0.57, 0.13)),
        ((0.54, 0.24), (0.66, 0.14), (0.76, 0.17), (0.66, 0.26), (0.54, 0.24)),
    ),
    "a mushroom": (
        ((0.12, 0.52), (0.2, 0.27), (0.5, 0.13), (0.8, 0.27), (0.88, 0.52), (0.5, 0.57), (0.12, 0.52)),
        ((0.38, 0.56), (0.36, 0.85), (0.5, 0.89), (0.64, 0.85), (0.61, 0.56)),
        circle(0.38, 0.36, 0.06),
        circle(0.63, 0.37, 0.07),
    ),
}  # fmt: skip


def smooth(stroke: Stroke, random: np.random.Generator) -> np.ndarray:
    """Return points along a stroke about 2 px apart, with slow hand tremor, float64 (n, 2) in pixels."""
    points = np.array(stroke) * SIDE_PX
    extent = float(np.ptp(points, axis=0).max())
    points += random.normal(0, min(4.0, 0.03 * extent), points.shape)
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = np.arange(0, lengths[-1], 2.0)
    line = np.stack([np.interp(at, lengths, points[:, i]) for i in (0, 1)], axis=1)
    tremor = np.cumsum(random.normal(0, 0.35, line.shape), axis=0)
    tremor -= np.linspace(0, 1, len(line))[:, None] * tremor[-1]
    joined: np.ndarray = line + tremor
    return joined


def draw_sketch(name: str, seed: int = 0) -> Image.Image:
    """Draw one of `SKETCHES`, RGB of 512 px. The seed changes the tremor and the thickness of the strokes."""
    random = np.random.default_rng([seed, *name.encode()])
    image = Image.new("RGB", (SIDE_PX, SIDE_PX), "white")
    draw = ImageDraw.Draw(image)
    for stroke in SKETCHES[name]:
        thickness = random.uniform(4, 8)
        for x, y in smooth(stroke, random):
            thickness = float(np.clip(thickness + random.normal(0, 0.25), 3, 9))
            box = (x - thickness / 2, y - thickness / 2, x + thickness / 2, y + thickness / 2)
            draw.ellipse(box, fill=(30, 30, 34))
    return image


def save_sketch(name: str, path: Path) -> None:
    """Write a sketch as a gray PNG file with few levels, which is small."""
    draw_sketch(name).convert("L").quantize(16).convert("L").save(path, optimize=True)
