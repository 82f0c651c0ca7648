"""Create normal images and images with defects for the benchmark of `artgen anomaly`, without a download.

Textures (wood, weave, tiles, brushed metal) are computed with NumPy; phase, scale, color and light differ for each
image. Drawings are images of the bundled model with different seeds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, gaussian_filter1d

SIDE = 128
"""Side length of all images in pixels."""

FIRST_SEED = 5000
"""First seed of all images. The method was developed with other seeds."""

Pixels = NDArray[np.float32]
"""Pixels, shape (128, 128, 3), 0 to 255."""


@dataclass(frozen=True)
class DefectImage:
    """Store an image with a defect.

    Attributes:
        pixels: shape (128, 128, 3), 0 to 255.
        mask: defect mask, shape (128, 128); None if the complete image is anomalous.
    """

    pixels: Pixels
    mask: NDArray[np.bool_] | None


def wood(random: np.random.Generator) -> Pixels:
    """Create wood grain: rings of a warped distance, fibers, and light from one side."""
    y, _ = _grid()
    warp = gaussian_filter(random.standard_normal((SIDE, SIDE)), (6, 40), mode="wrap") * 60
    rings = np.sin((y + warp + random.uniform(0, 99)) * random.uniform(0.35, 0.55))
    fibers = gaussian_filter(random.standard_normal((SIDE, SIDE)), (0.6, 9)) * 4
    shade = 0.16 * rings + 0.10 * fibers + 0.06 * _light(random)
    return _colored(shade, (random.normal(150, 5), random.normal(105, 5), random.normal(65, 4)), random)


def weave(random: np.random.Generator) -> Pixels:
    """Create woven threads."""
    y, x = _grid()
    period = random.uniform(9, 11)
    u, v = (x + random.uniform(0, 20)) / period, (y + random.uniform(0, 20)) / period
    over = (np.floor(u) + np.floor(v)) % 2 == 0
    across, along = np.abs(np.sin(np.pi * u)), np.abs(np.sin(np.pi * v))
    thread = np.where(over, across * (0.6 + 0.4 * along), along * (0.6 + 0.4 * across))
    shade = 0.55 * thread - 0.3 + np.where(over, 0.05, -0.05) + 0.06 * _light(random)
    return _colored(shade, (random.normal(120, 5), random.normal(125, 5), random.normal(140, 5)), random)


def tiles(random: np.random.Generator) -> Pixels:
    """Create square tiles of different brightness with joints."""
    y, x = _grid()
    period = random.uniform(29, 33)
    u, v = (x + random.uniform(0, 64)) / period, (y + random.uniform(0, 64)) / period
    joint = np.minimum(np.abs(u - np.round(u)), np.abs(v - np.round(v))) * period
    own = random.normal(0, 0.05, (8, 8))[np.floor(v).astype(int) % 8, np.floor(u).astype(int) % 8]
    speckle = gaussian_filter(random.standard_normal((SIDE, SIDE)), 1.2) * 0.12
    shade = own + speckle - 0.45 * np.exp(-((joint / 1.6) ** 2)) + 0.06 * _light(random)
    return _colored(shade, (random.normal(150, 5), random.normal(165, 5), random.normal(160, 5)), random)


def metal(random: np.random.Generator) -> Pixels:
    """Create metal that is brushed along one side."""
    brushed = gaussian_filter1d(random.standard_normal((SIDE, SIDE)), random.uniform(10, 16), axis=1, mode="wrap")
    fine = gaussian_filter1d(random.standard_normal((SIDE, SIDE)), 3, axis=1)
    shade = 0.45 * brushed + 0.05 * fine + 0.12 * _light(random)
    return _colored(shade, (random.normal(165, 4), random.normal(167, 4), random.normal(172, 4)), random)


TEXTURES: dict[str, Callable[[np.random.Generator], Pixels]] = {
    "wood": wood, "weave": weave, "tiles": tiles, "metal": metal,
}  # fmt: skip
DRAWINGS = {"apple": "a red apple", "car": "a blue car"}
"""Prompt of each class of drawings."""

OTHER_CLASSES = {
    "apple": ("a pear", "an orange", "a tomato", "a strawberry"),
    "car": ("a bus", "a bicycle", "a ship", "a train"),
}
"""Prompts of similar classes."""


def drawing(prompt: str, seed: int) -> Pixels:
    """Generate an image with the bundled model."""
    from artgen import Txt2Img, generate

    image = generate(Txt2Img(prompt=prompt, model="tiny", seed=seed, steps=12, device="cpu")).image
    return np.asarray(image.convert("RGB"), np.float32)


def spot_mask(random: np.random.Generator) -> NDArray[np.bool_]:
    """Create the mask of an irregular round spot of 3 to 7 % of the image."""
    y, x = _grid()
    radius = random.uniform(13, 19)
    cy, cx = random.uniform(radius + 8, SIDE - radius - 8, 2)
    angle = np.arctan2(y - cy, x - cx)
    edge = radius * (1 + sum(random.normal(0, 0.08) * np.cos(k * angle + random.uniform(0, 7)) for k in (2, 3, 4)))
    return np.hypot(y - cy, x - cx) < edge


def swap_patch(image: Pixels, other: Pixels, random: np.random.Generator) -> DefectImage:
    """Replace a square of 24 to 36 pixels by the same region of another image."""
    side = int(random.integers(24, 37))
    top, left = random.integers(8, SIDE - side - 8, 2)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[top : top + side, left : left + side] = True
    return DefectImage(np.where(mask[..., None], other, image), mask)


def change_texture(image: Pixels, random: np.random.Generator) -> DefectImage:
    """Smooth or roughen a spot without changing its mean color."""
    mask = spot_mask(random)
    mean = gaussian_filter(image, (9, 9, 0))
    if random.random() < 0.5:
        inside = gaussian_filter(image, (3, 3, 0))
    else:
        grain = gaussian_filter(random.standard_normal((SIDE, SIDE)), 1.0)
        inside = mean + (grain / grain.std() * random.uniform(14, 22))[..., None]
    return DefectImage(_blend(image, inside, mask), mask)


def paste_object(image: Pixels, other: Pixels, random: np.random.Generator) -> DefectImage:
    """Paste an object of a drawing, 30 to 44 pixels wide."""
    side = int(random.integers(30, 45))
    small = np.asarray(Image.fromarray(other.clip(0, 255).astype(np.uint8)).resize((side, side)), np.float32)
    ground = np.median(np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]]), axis=0)
    shape = np.abs(small - ground).max(2) > 40
    top, left = random.integers(6, SIDE - side - 6, 2)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[top : top + side, left : left + side] = shape
    pasted = image.copy()
    pasted[top : top + side, left : left + side] = small
    return DefectImage(np.where(mask[..., None], pasted, image), mask)


@dataclass(frozen=True)
class ImageSet:
    """Store the disjoint image sets of one kind.

    Attributes:
        fit: normal images for the fit.
        test: normal images for the test.
        defects: images with defects, by kind of defect.
    """

    fit: list[Pixels]
    test: list[Pixels]
    defects: dict[str, list[DefectImage]]


def create_images(kind: str, num_fit: int, num_test: int) -> ImageSet:
    """Create `num_fit` normal images for the fit, and `num_test` images of each other sort."""
    if kind in DRAWINGS:
        return _create_drawings(kind, num_fit, num_test)
    number, texture = list(TEXTURES).index(kind), TEXTURES[kind]

    def rng(*parts: int) -> np.random.Generator:
        return np.random.default_rng([FIRST_SEED, number, *parts])

    def textures(part: int, count: int) -> list[Pixels]:
        return [texture(rng(part, i)) for i in range(count)]

    objects = [
        drawing(prompt, FIRST_SEED + seed) for seed in range(num_test) for prompt in [list(DRAWINGS.values())[seed % 2]]
    ]
    defects = {
        "patch": [
            swap_patch(one, other, rng(6, i))
            for i, (one, other) in enumerate(zip(textures(2, num_test), textures(3, num_test), strict=True))
        ],
        "texture": [change_texture(one, rng(7, i)) for i, one in enumerate(textures(4, num_test))],
        "object": [paste_object(one, objects[i], rng(8, i)) for i, one in enumerate(textures(5, num_test))],
    }
    return ImageSet(textures(0, num_fit), textures(1, num_test), defects)


def _create_drawings(kind: str, num_fit: int, num_test: int) -> ImageSet:
    """Create the images of a class of drawings. Patches and changed textures are at visible positions."""
    bases = [drawing(DRAWINGS[kind], FIRST_SEED + seed) for seed in range(num_fit + 3 * num_test)]
    others = [drawing(OTHER_CLASSES[kind][i % 4], FIRST_SEED + i // 4) for i in range(2 * num_test)]
    defects: dict[str, list[DefectImage]] = {"patch": [], "texture": [], "object": []}
    for i in range(num_test):
        random = np.random.default_rng([FIRST_SEED, 9, i])
        base = bases[num_fit + num_test + i]
        defects["patch"].append(
            _visible(base, lambda base=base, i=i, r=random: swap_patch(base, others[num_test + i], r))
        )  # type: ignore[misc]
        base = bases[num_fit + 2 * num_test + i]
        defects["texture"].append(_visible(base, lambda base=base, r=random: change_texture(base, r)))  # type: ignore[misc]
        defects["object"].append(DefectImage(others[i], None))
    return ImageSet(bases[:num_fit], bases[num_fit : num_fit + num_test], defects)


def _visible(base: Pixels, make: Callable[[], DefectImage]) -> DefectImage:
    """Create a defect that changes at least 150 pixels by 15 gray levels. Its mask contains the changed pixels."""
    for _ in range(1000):
        case = make()
        changed = np.abs(case.pixels - base).max(2)
        if (changed > 15).sum() >= 150:
            return DefectImage(case.pixels, (case.mask if case.mask is not None else changed > 0) & (changed > 5))
    raise ValueError("no visible defect found")


def _grid() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    return y, x


def _light(random: np.random.Generator) -> NDArray[np.float64]:
    """Create a linear change of brightness over the image, -1 to 1."""
    y, x = _grid()
    angle = random.uniform(0, 2 * np.pi)
    light: NDArray[np.float64] = (np.cos(angle) * (x / SIDE - 0.5) + np.sin(angle) * (y / SIDE - 0.5)) * 2
    return light


def _colored(shade: NDArray[np.float64], color: tuple[float, float, float], random: np.random.Generator) -> Pixels:
    values = np.asarray(color) * (1 + shade[..., None]) + random.normal(0, 2.5, (SIDE, SIDE, 3))
    return np.rint(values.clip(0, 255)).astype(np.float32)


def _blend(outside: Pixels, inside: NDArray[np.floating], mask: NDArray[np.bool_]) -> Pixels:
    """Blend two images with a mask whose edge is about two pixels wide."""
    weight = gaussian_filter(mask.astype(np.float32), 1.0)[..., None]
    return np.rint((weight * inside + (1 - weight) * outside).clip(0, 255)).astype(np.float32)
