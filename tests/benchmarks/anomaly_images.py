"""Pictures for the benchmark of `artgen anomaly`: normal ones made by rule or drawn by the bundled model, and defects.

Nothing is downloaded. Textures are made with numpy: wood, weave, tiles and brushed metal, each picture with its own
phase, scale, colour and light. Drawings are the bundled model's, each from its own seed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, gaussian_filter1d

SIDE = 128
"""Pixels a side of every picture."""

FIRST = 5000
"""Seed of all pictures; others were looked at while the method was made."""

Pixels = NDArray[np.float32]
"""(128, 128, 3), 0 to 255."""


@dataclass(frozen=True)
class Case:
    """A picture with a defect.

    Attributes:
        pixels: (128, 128, 3), 0 to 255.
        mask: (128, 128), where the defect is; None where the whole picture is one.
    """

    pixels: Pixels
    mask: NDArray[np.bool_] | None


def wood(random: np.random.Generator) -> Pixels:
    """Grain along one side: rings of a warped distance, fibres, and a light from one side."""
    y, _ = _grid()
    warp = gaussian_filter(random.standard_normal((SIDE, SIDE)), (6, 40), mode="wrap") * 60
    rings = np.sin((y + warp + random.uniform(0, 99)) * random.uniform(0.35, 0.55))
    fibres = gaussian_filter(random.standard_normal((SIDE, SIDE)), (0.6, 9)) * 4
    shade = 0.16 * rings + 0.10 * fibres + 0.06 * _light(random)
    return _coloured(shade, (random.normal(150, 5), random.normal(105, 5), random.normal(65, 4)), random)


def weave(random: np.random.Generator) -> Pixels:
    """Threads over and under each other."""
    y, x = _grid()
    period = random.uniform(9, 11)
    u, v = (x + random.uniform(0, 20)) / period, (y + random.uniform(0, 20)) / period
    over = (np.floor(u) + np.floor(v)) % 2 == 0
    across, along = np.abs(np.sin(np.pi * u)), np.abs(np.sin(np.pi * v))
    thread = np.where(over, across * (0.6 + 0.4 * along), along * (0.6 + 0.4 * across))
    shade = 0.55 * thread - 0.3 + np.where(over, 0.05, -0.05) + 0.06 * _light(random)
    return _coloured(shade, (random.normal(120, 5), random.normal(125, 5), random.normal(140, 5)), random)


def tiles(random: np.random.Generator) -> Pixels:
    """Square tiles with joints between them; each has its own brightness."""
    y, x = _grid()
    period = random.uniform(29, 33)
    u, v = (x + random.uniform(0, 64)) / period, (y + random.uniform(0, 64)) / period
    joint = np.minimum(np.abs(u - np.round(u)), np.abs(v - np.round(v))) * period
    own = random.normal(0, 0.05, (8, 8))[np.floor(v).astype(int) % 8, np.floor(u).astype(int) % 8]
    speckle = gaussian_filter(random.standard_normal((SIDE, SIDE)), 1.2) * 0.12
    shade = own + speckle - 0.45 * np.exp(-((joint / 1.6) ** 2)) + 0.06 * _light(random)
    return _coloured(shade, (random.normal(150, 5), random.normal(165, 5), random.normal(160, 5)), random)


def metal(random: np.random.Generator) -> Pixels:
    """Brushed along one side."""
    brushed = gaussian_filter1d(random.standard_normal((SIDE, SIDE)), random.uniform(10, 16), axis=1, mode="wrap")
    fine = gaussian_filter1d(random.standard_normal((SIDE, SIDE)), 3, axis=1)
    shade = 0.45 * brushed + 0.05 * fine + 0.12 * _light(random)
    return _coloured(shade, (random.normal(165, 4), random.normal(167, 4), random.normal(172, 4)), random)


TEXTURES: dict[str, Callable[[np.random.Generator], Pixels]] = {
    "wood": wood, "weave": weave, "tiles": tiles, "metal": metal,
}  # fmt: skip
DRAWINGS = {"apple": "a red apple", "car": "a blue car"}
"""What the bundled model is asked for, by the name of the class."""

OTHERS = {
    "apple": ("a pear", "an orange", "a tomato", "a strawberry"),
    "car": ("a bus", "a bicycle", "a ship", "a train"),
}
"""Things of another class, near ones."""


def drawn(prompt: str, seed: int) -> Pixels:
    """A picture of the bundled model."""
    from artgen import Txt2Img, generate

    image = generate(Txt2Img(prompt=prompt, model="tiny", seed=seed, steps=12, device="cpu")).image
    return np.asarray(image.convert("RGB"), np.float32)


def blob(random: np.random.Generator) -> NDArray[np.bool_]:
    """A round, uneven spot of 3 to 7 % of the picture."""
    y, x = _grid()
    radius = random.uniform(13, 19)
    cy, cx = random.uniform(radius + 8, SIDE - radius - 8, 2)
    angle = np.arctan2(y - cy, x - cx)
    edge = radius * (1 + sum(random.normal(0, 0.08) * np.cos(k * angle + random.uniform(0, 7)) for k in (2, 3, 4)))
    return np.hypot(y - cy, x - cx) < edge


def swapped(picture: Pixels, other: Pixels, random: np.random.Generator) -> Case:
    """A square of 24 to 36 pixels from the same place of another picture."""
    side = int(random.integers(24, 37))
    top, left = random.integers(8, SIDE - side - 8, 2)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[top : top + side, left : left + side] = True
    return Case(np.where(mask[..., None], other, picture), mask)


def worn(picture: Pixels, random: np.random.Generator) -> Case:
    """A spot whose texture is another: rubbed smooth or roughened, its mean colour kept."""
    mask = blob(random)
    mean = gaussian_filter(picture, (9, 9, 0))
    if random.random() < 0.5:
        inside = gaussian_filter(picture, (3, 3, 0))
    else:
        grain = gaussian_filter(random.standard_normal((SIDE, SIDE)), 1.0)
        inside = mean + (grain / grain.std() * random.uniform(14, 22))[..., None]
    return Case(_joined(picture, inside, mask), mask)


def covered(picture: Pixels, thing: Pixels, random: np.random.Generator) -> Case:
    """A drawing of something, cut out and laid on, 30 to 44 pixels a side."""
    side = int(random.integers(30, 45))
    small = np.asarray(Image.fromarray(thing.clip(0, 255).astype(np.uint8)).resize((side, side)), np.float32)
    ground = np.median(np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]]), axis=0)
    shape = np.abs(small - ground).max(2) > 40
    top, left = random.integers(6, SIDE - side - 6, 2)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[top : top + side, left : left + side] = shape
    pasted = picture.copy()
    pasted[top : top + side, left : left + side] = small
    return Case(np.where(mask[..., None], pasted, picture), mask)


@dataclass(frozen=True)
class Set:
    """Pictures of one kind; none is in two of the parts.

    Attributes:
        fit: normal, to learn from.
        held: normal, never learnt from.
        defects: by kind of defect.
    """

    fit: list[Pixels]
    held: list[Pixels]
    defects: dict[str, list[Case]]


def made(kind: str, learnt: int, count: int) -> Set:
    """A set of a texture or of a drawing: so many pictures to learn from, and so many of each other sort."""
    if kind in DRAWINGS:
        return _drawings(kind, learnt, count)
    number, texture = list(TEXTURES).index(kind), TEXTURES[kind]

    def chance(*parts: int) -> np.random.Generator:
        return np.random.default_rng([FIRST, number, *parts])

    def some(part: int, several: int) -> list[Pixels]:
        return [texture(chance(part, i)) for i in range(several)]

    things = [drawn(prompt, FIRST + seed) for seed in range(count) for prompt in [list(DRAWINGS.values())[seed % 2]]]
    defects = {
        "patch": [
            swapped(one, other, chance(6, i))
            for i, (one, other) in enumerate(zip(some(2, count), some(3, count), strict=True))
        ],
        "texture": [worn(one, chance(7, i)) for i, one in enumerate(some(4, count))],
        "object": [covered(one, things[i], chance(8, i)) for i, one in enumerate(some(5, count))],
    }
    return Set(some(0, learnt), some(1, count), defects)


def _drawings(kind: str, learnt: int, count: int) -> Set:
    """Drawings of one thing; patches and worn spots lie where they change something."""
    bases = [drawn(DRAWINGS[kind], FIRST + seed) for seed in range(learnt + 3 * count)]
    others = [drawn(OTHERS[kind][i % 4], FIRST + i // 4) for i in range(2 * count)]
    defects: dict[str, list[Case]] = {"patch": [], "texture": [], "object": []}
    for i in range(count):
        random = np.random.default_rng([FIRST, 9, i])
        base = bases[learnt + count + i]
        defects["patch"].append(_visible(base, lambda base=base, i=i, r=random: swapped(base, others[count + i], r)))  # type: ignore[misc]
        base = bases[learnt + 2 * count + i]
        defects["texture"].append(_visible(base, lambda base=base, r=random: worn(base, r)))  # type: ignore[misc]
        defects["object"].append(Case(others[i], None))
    return Set(bases[:learnt], bases[learnt : learnt + count], defects)


def _visible(base: Pixels, make: Callable[[], Case]) -> Case:
    """A defect that changes at least 150 pixels by 15 grey levels: white on white is none. Its mask is what changed."""
    for _ in range(1000):
        case = make()
        changed = np.abs(case.pixels - base).max(2)
        if (changed > 15).sum() >= 150:
            return Case(case.pixels, (case.mask if case.mask is not None else changed > 0) & (changed > 5))
    raise ValueError("no defect can be seen")


def _grid() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    return y, x


def _light(random: np.random.Generator) -> NDArray[np.float64]:
    """A slow change of brightness over the picture, -1 to 1."""
    y, x = _grid()
    angle = random.uniform(0, 2 * np.pi)
    light: NDArray[np.float64] = (np.cos(angle) * (x / SIDE - 0.5) + np.sin(angle) * (y / SIDE - 0.5)) * 2
    return light


def _coloured(shade: NDArray[np.float64], colour: tuple[float, float, float], random: np.random.Generator) -> Pixels:
    values = np.asarray(colour) * (1 + shade[..., None]) + random.normal(0, 2.5, (SIDE, SIDE, 3))
    return np.rint(values.clip(0, 255)).astype(np.float32)


def _joined(outside: Pixels, inside: NDArray[np.floating], mask: NDArray[np.bool_]) -> Pixels:
    """One picture within a spot, another around it, with an edge of about two pixels between them."""
    share = gaussian_filter(mask.astype(np.float32), 1.0)[..., None]
    return np.rint((share * inside + (1 - share) * outside).clip(0, 255)).astype(np.float32)
