"""Create control maps for the training: edges of renders, and strokes that look as if drawn by hand.

A control map is a bool array of shape (side, side); True is a white line on black. Edges come from
`skimage.feature.canny` (Canny 1986) with the parameters of artgen's `canny` maps, varied at random.
"""

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.feature import canny
from skimage.morphology import remove_small_objects

Pixels = np.ndarray

SIGMA_PX = 1.0
LOW_THRESHOLD = 0.1
HIGH_THRESHOLD = 0.2
EIGHT_NEIGHBORS = np.ones((3, 3), bool)


def gray_levels(image: Pixels) -> Pixels:
    """Return the luma of a uint8 RGB image, float32 in [0, 1]."""
    return np.asarray(Image.fromarray(image).convert("L"), np.float32) / 255


def edges(image: Pixels, sigma: float = SIGMA_PX, threshold_factor: float = 1.0) -> Pixels:
    """Return the Canny edges of a uint8 RGB image, bool (side, side). `sigma` is in pixels."""
    low, high = LOW_THRESHOLD * threshold_factor, HIGH_THRESHOLD * threshold_factor
    found: Pixels = canny(gray_levels(image), sigma, low, high)  # type: ignore[no-untyped-call]
    return found


def varied_edges(image: Pixels, random: np.random.Generator) -> Pixels:
    """Return Canny edges with random parameters; half of the maps have no short edges."""
    found = edges(image, random.uniform(0.7, 1.6), float(np.exp(random.uniform(np.log(0.5), np.log(2)))))
    return long_edges(found, int(random.integers(4, 16))) if random.random() < 0.5 else found


def long_edges(mask: Pixels, length: int) -> Pixels:
    """Remove connected edges of fewer than `length` pixels."""
    kept: Pixels = remove_small_objects(mask, max_size=length - 1, connectivity=2)
    return kept


def silhouette(contours: Pixels) -> Pixels:
    """Return the outer contours only: people who draw often omit the inner ones."""
    filled = ndimage.binary_fill_holes(ndimage.binary_closing(contours, EIGHT_NEIGHBORS, 2))
    outer: Pixels = filled & ~ndimage.binary_erosion(filled, EIGHT_NEIGHBORS)
    return outer


def smooth_noise(random: np.random.Generator, side: int, scale: float) -> Pixels:
    """Return smooth noise with mean 0 and standard deviation 1, float32 (side, side). `scale` is in pixels."""
    noise = ndimage.gaussian_filter(random.standard_normal((side, side), np.float32), scale, mode="wrap")
    scaled: Pixels = noise / noise.std()
    return scaled


def strokes(image: Pixels, random: np.random.Generator) -> Pixels:
    """Return strokes along the main contours of an image: displaced, with gaps, and of varying thickness."""
    side = len(image)
    contours = edges(image, random.uniform(1.0, 2.4), random.uniform(0.6, 1.6))
    contours = long_edges(contours, int(random.integers(6, 28)))
    if random.random() < 0.35:
        contours = silhouette(contours)
    wobble = random.uniform(0.2, 1.8) * side / 128
    scale = random.uniform(4, 14) * side / 128
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    distance = ndimage.distance_transform_edt(~contours) if contours.any() else np.full((side, side), side, float)
    displaced = ndimage.map_coordinates(
        distance.astype(np.float32),
        (rows + wobble * smooth_noise(random, side, scale), columns + wobble * smooth_noise(random, side, scale)),
        order=1,
        mode="nearest",
    )
    radius = random.uniform(0.5, 2.2) * side / 128 * (1 + 0.25 * smooth_noise(random, side, scale))
    drawn = displaced <= np.maximum(radius, 0.5)
    if random.random() < 0.6:
        gaps = smooth_noise(random, side, random.uniform(3, 7)) > random.uniform(1.6, 2.6)
        drawn &= ~gaps
    result: Pixels = drawn
    return result


def drawing(mask: Pixels) -> Pixels:
    """Return strokes as a sketch on paper: black on white, uint8 RGB (side, side, 3)."""
    gray = np.where(mask, 0, 255).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2)


def training_maps(image: Pixels, random: np.random.Generator) -> Pixels:
    """Return the control maps of an image, bool (4, side, side): two of edges, strokes, and the edges of a sketch."""
    edge_maps = [varied_edges(image, random) for _ in range(2)]
    white_strokes, sketch = strokes(image, random), drawing(strokes(image, random))
    return np.stack([*edge_maps, white_strokes, edges(sketch, random.uniform(0.7, 1.3))])
