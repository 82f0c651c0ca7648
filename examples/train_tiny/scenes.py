"""Define scenes with a known ground truth, and render them at any size."""

import zlib
from dataclasses import dataclass, field

import numpy as np
from landscape_kinds import render_landscape
from named_colors import BACKGROUNDS, HUES
from PIL import Image

Pixels = np.ndarray

SETTINGS = ("snow", "night", "grass", "desert", "sea", "sunset", "sky")
PLACES = {
    (0, 0): "at the top left", (0, 1): "at the top", (0, 2): "at the top right",
    (1, 0): "on the left", (1, 1): "in the middle", (1, 2): "on the right",
    (2, 0): "at the bottom left", (2, 1): "at the bottom", (2, 2): "at the bottom right",
}  # fmt: skip


@dataclass(frozen=True)
class Thing:
    """Represent one object of a scene. Center and size are fractions of the image side."""

    concept: str
    style: str
    x: float
    y: float
    size: float
    color: str | None = None


@dataclass(frozen=True)
class Scene:
    """Store the ground truth of an image.

    Attributes:
        kind: one, place, count, pair, join (a pair without a stated order), or a kind of `stages.py`.
        things: objects, the rearmost first.
        background: name of a color or a setting; or kind, time and weather of a landscape, separated by commas.
        seed: seed of the background.
        place: row and column of the object of the kind "place".
        relation: how the first mentioned object of the kind "relation" is placed relative to the other one.
    """

    kind: str
    things: tuple[Thing, ...]
    background: str
    seed: int = 0
    place: tuple[int, int] | None = field(default=None)
    relation: str = ""


def _ramp(side: int, top: tuple[int, ...], bottom: tuple[int, ...]) -> Pixels:
    """Return a vertical gradient, float32 of shape (side, side, 3)."""
    ramp = np.linspace(0, 1, side, dtype=np.float32)[:, None, None]
    graded = np.array(top) * (1 - ramp) + np.array(bottom) * ramp
    return np.ascontiguousarray(np.broadcast_to(graded, (side, side, 3)), np.float32)


def _dots(scene: Pixels, random: np.random.Generator, count: int, color: int, low: float) -> None:
    """Add soft square dots of 1/64 to 3/64 of the side above the line `low` (0 to 1)."""
    side = len(scene)
    for x, y, size in random.uniform(0, 1, (count, 3)):
        edge = max(1, round((1 + 2 * size**2) * side / 64))
        row, column = int(y * low * (side - edge)), int(x * (side - edge))
        area = scene[row : row + edge, column : column + edge]
        area += 0.85 * (color - area)


def _ground(side: int, sky: tuple[int, ...], haze: tuple[int, ...], earth: tuple[int, ...]) -> Pixels:
    """Render a sky that fades to `haze` above a slightly curved ground that starts at 72 % of the height."""
    scene = _ramp(side, sky, haze)
    y, x = np.mgrid[0:side, 0:side] / side
    cover = np.clip((y - 0.74 + 0.05 * np.sin(np.pi * x)) * side + 0.5, 0, 1)[..., None]
    mixed: Pixels = scene * (1 - cover) + np.array(earth, np.float32) * cover
    return mixed.astype(np.float32)


def render_background(name: str, side: int, seed: int) -> Pixels:
    """Return the background, float32 RGB 0 to 255 of shape (side, side, 3)."""
    random = np.random.default_rng(seed)
    if "," in name:
        kind, time, weather = name.split(",")
        return render_landscape(kind, time, weather, side, seed).astype(np.float32)
    if name == "snow":
        scene = _ground(side, (164, 204, 240), (208, 228, 246), (250, 252, 255))
        _dots(scene, random, 22, 255, 0.8)
    elif name == "night":
        scene = _ramp(side, (14, 18, 52), (38, 44, 104))
        _dots(scene, random, 18, 250, 0.95)
    elif name == "grass":
        scene = _ground(side, (132, 200, 248), (196, 230, 250), (104, 184, 72))
    elif name == "desert":
        scene = _ground(side, (250, 214, 150), (252, 234, 190), (228, 178, 104))
    elif name == "sea":
        scene = _ramp(side, (72, 180, 228), (16, 84, 160))
        _dots(scene, random, 9, 210, 1.0)
    elif name == "sunset":
        scene = _ground(side, (120, 72, 160), (255, 160, 88), (84, 60, 104))
    elif name == "sky":
        scene = _ramp(side, (96, 176, 244), (200, 230, 252))
    else:
        scene = np.empty((side, side, 3), np.float32)
        scene[:] = BACKGROUNDS[name]
    return scene


def recolor(sprite: Pixels, color: str) -> Pixels:
    """Change the main hue of an RGBA sprite to `color`; other hues, grays and alpha are unchanged.

    The main hue is the maximum of the hue histogram (24 bins), weighted by saturation and alpha. All hues within 50
    degrees of it are rotated with it.
    """
    hsv = np.asarray(Image.fromarray(sprite[..., :3]).convert("HSV"), np.float32) / 255
    hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]
    weight = (saturation * value * sprite[..., 3] / 255).ravel()
    counts = np.bincount((hue.ravel() * 24).astype(int) % 24, weight, 24)
    smooth = counts + np.roll(counts, 1) + np.roll(counts, -1)
    main = (int(smooth.argmax()) + 0.5) / 24
    hue_offset = (hue - main + 0.5) % 1 - 0.5
    is_rotated = (np.abs(hue_offset) < 0.14) & (saturation > 0.12)
    target = HUES[color]
    hsv = hsv.copy()
    hsv[..., 0] = np.where(is_rotated, (target + 0.25 * hue_offset) % 1, hue)
    new_saturation = np.clip(saturation * 1.1 + 0.1, 0, 0.95)
    new_value = value if color != "pink" else np.clip(value * 1.1, 0, 1)
    if color == "pink":
        new_saturation = new_saturation * 0.62
    if color in {"yellow", "orange", "red"}:
        new_value = np.clip(value * 1.1 + 0.04, 0, 1)
    hsv[..., 1] = np.where(is_rotated, new_saturation, saturation)
    hsv[..., 2] = np.where(is_rotated, new_value, value)
    image = Image.fromarray((hsv * 255).round().astype(np.uint8), "HSV").convert("RGB")
    return np.dstack([np.asarray(image), sprite[..., 3]])


def colorful_fraction(sprite: Pixels) -> float:
    """Return the colorful fraction of a sprite, 0 to 1. Below about 0.2, a new color would be invisible."""
    hsv = np.asarray(Image.fromarray(sprite[..., :3]).convert("HSV"), np.float32) / 255
    is_opaque = sprite[..., 3] > 128
    return float((hsv[..., 1][is_opaque] > 0.3).mean()) if is_opaque.any() else 0.0


class Sprites:
    """Store the rendered icons by style and concept."""

    def __init__(self, pixels: Pixels, index: list[list[str]]) -> None:
        self.pixels = pixels
        self.row = {(style, name): row for row, (style, name) in enumerate(index)}

    def get(self, thing: Thing) -> Pixels:
        """Return uint8 RGBA of shape (side, side, 4), recolored if the object has another color."""
        sprite: Pixels = self.pixels[self.row[thing.style, thing.concept]]
        return recolor(sprite, thing.color) if thing.color else sprite


def render_scene(scene: Scene, sprites: Sprites, side: int) -> Pixels:
    """Render a scene: uint8 RGB of shape (side, side, 3)."""
    canvas = render_background(scene.background, side, scene.seed ^ zlib.crc32(b"backdrop"))
    for thing in scene.things:
        edge = max(4, round(thing.size * side))
        icon = Image.fromarray(sprites.get(thing)).convert("RGBa")
        sprite = np.asarray(icon.resize((edge, edge), Image.Resampling.HAMMING), np.float32)
        left, top = round(thing.x * side - edge / 2), round(thing.y * side - edge / 2)
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + edge, side), min(top + edge, side)
        part = sprite[y0 - top : y1 - top, x0 - left : x1 - left]
        area = canvas[y0:y1, x0:x1]
        area *= 1 - part[..., 3:] / 255
        area += part[..., :3]
    return canvas.clip(0, 255).round().astype(np.uint8)
