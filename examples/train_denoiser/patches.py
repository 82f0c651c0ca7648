"""Sample random clean patches and add noise as in image files."""

from pathlib import Path

import numpy as np
from image_sources import VALIDATION_PANORAMAS
from PIL import Image

SIDE = 64
MIN_SIGMA, MAX_SIGMA = 0.5, 100.0  # gray levels, 0 to 255


def to_srgb(linear: np.ndarray, exposure: float, gamma: float) -> np.ndarray:
    """Convert linear light to an sRGB-like image, uint8."""
    bright = np.clip(linear.astype(np.float32) * exposure, 0, 1) ** (1 / gamma)
    return np.asarray((bright * 255).round(), np.uint8)


def load_panorama(path: Path, exposure: float = 0.9, gamma: float = 2.2) -> np.ndarray:
    """Load a panorama as an image. Exposure 1 maps the 95th percentile of the light to white."""
    light = np.load(path)
    return to_srgb(light, exposure / float(np.percentile(light, 95)), gamma)


def load_photographs(raw: Path) -> list[np.ndarray]:
    """Load the training photographs, uint8 of shape (H, W, 3) or (H, W). Panoramas have three exposures."""
    found = [np.asarray(Image.open(path)) for path in sorted(raw.glob("*.png"))]
    for path in sorted(raw.glob("*.npy")):
        if path.stem not in VALIDATION_PANORAMAS:
            found += [load_panorama(path, exposure) for exposure in (0.5, 0.9, 1.8)]
    return found


def downscale(image: np.ndarray, factor: float) -> np.ndarray:
    """Downscale an image by a factor below 1, for finer texture and less noise."""
    size = round(image.shape[1] * factor), round(image.shape[0] * factor)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


class Patches:
    """Sample clean patches of photographs and dead-leaves images."""

    def __init__(self, raw: Path, leaves: Path) -> None:
        photographs = load_photographs(raw)
        self.photographs = photographs + [downscale(p, s) for p in photographs for s in (0.7, 0.45)]
        self.photographs = [p for p in self.photographs if min(p.shape[:2]) > SIDE]
        # The sampling weight grows more slowly than the area of an image.
        weight = np.array([p.shape[0] * p.shape[1] * (1.0 if p.ndim == 3 else 0.6) for p in self.photographs]) ** 0.6
        self.cumulative_weights = np.cumsum(weight) / weight.sum()
        self.leaves = np.load(leaves, mmap_mode="r")

    def sample_clean(self, random: np.random.Generator) -> np.ndarray:
        """Return one patch, float32 (SIDE, SIDE, 3), 0 to 255, randomly flipped, rotated and recolored."""
        if random.random() < 0.35:
            image = self.leaves[random.integers(len(self.leaves))]
        else:
            image = self.photographs[int(np.searchsorted(self.cumulative_weights, random.random()))]
        row, column = (int(random.integers(0, n - SIDE + 1)) for n in image.shape[:2])
        patch = np.asarray(image[row : row + SIDE, column : column + SIDE], np.float32)
        if patch.ndim == 2:
            patch = np.repeat(patch[..., None], 3, 2)
        elif random.random() < 0.5:
            patch = patch[..., random.permutation(3)]
        patch = np.rot90(patch, int(random.integers(4)))
        if random.random() < 0.5:
            patch = patch[:, ::-1]
        if random.random() < 0.5:  # contrast and brightness, slightly different per channel
            gain = random.uniform(0.5, 1.15) * random.uniform(0.9, 1.1, 3)
            patch = patch * gain + random.uniform(0, 1) * (255 - 255 * gain.max())
        return np.clip(patch, 0, 255).astype(np.float32)

    def sample_pair(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
        """Return a clean and a noisy patch on 0 to 255, and sigma.

        One of six patches is gray with the same noise in all channels, like a gray file converted to RGB. Half of the
        patches are clipped and rounded to eight bits.
        """
        clean = self.sample_clean(random)
        sigma = float(MIN_SIGMA + (MAX_SIGMA - MIN_SIGMA) * random.random() ** 1.4)
        noise = random.standard_normal(clean.shape, np.float32)
        if random.random() < 1 / 6:
            clean = np.repeat(clean @ np.array([[0.299], [0.587], [0.114]], np.float32), 3, 2)
            noise = np.repeat(noise[..., :1], 3, 2)
        noisy = clean + sigma * noise
        if random.random() < 0.5:
            noisy = np.clip(np.round(noisy), 0, 255)
        return clean, noisy, sigma

    def sample_batch(self, random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return clean and noisy patches, float32 (count, 3, SIDE, SIDE), -1 to 1, and their sigmas."""
        pairs = [self.sample_pair(random) for _ in range(count)]
        clean, noisy = (np.stack([p[i] for p in pairs]).transpose(0, 3, 1, 2) / 127.5 - 1 for i in (0, 1))
        return clean, noisy, np.array([p[2] for p in pairs], np.float32) / 127.5
