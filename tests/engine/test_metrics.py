"""Test image metrics: known values, and the order of distortions."""

import io
import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from skimage import data

from artgen.engine.metrics import psnr, ssim, vae_feature_distance


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """Return an image with gradients, edges and texture, shape (96, 96, 3)."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:96, :96] / 24
    gray = 120 + 40 * np.sin(1.7 * x + 0.3) + 20 * np.cos(2.3 * y + x)
    gray = gray + 50 * ((x - 2) ** 2 + (y - 2) ** 2 < 1) - 40 * (x + y > 6) + 30 * (np.sin(20 * x) > 0.5) * (y < 1)
    gray[:, :30] += 12 * rng.standard_normal((96, 30))
    return np.clip(np.round(gray[..., None] * [0.8, 1, 1.1]), 0, 255).astype(np.uint8)


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8)


def noisy(scene: np.ndarray, sigma: float) -> np.ndarray:
    return to_uint8(scene + sigma * np.random.default_rng(0).standard_normal(scene.shape))


def blurred(scene: np.ndarray, radius: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return to_uint8(gaussian_filter(scene.astype(float), (radius, radius, 0)))


def compressed(scene: np.ndarray, quality: float) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(scene).save(file, "JPEG", quality=int(quality))
    return np.asarray(Image.open(file))


def with_equal_psnr(other: np.ndarray, scene: np.ndarray, distort: Callable[[float], np.ndarray]) -> np.ndarray:
    """Return the distortion of `scene` whose PSNR equals the PSNR of `other`."""
    low, high = 0.0, 128.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if psnr(distort(middle), scene) > psnr(other, scene) else (low, middle)
    distorted = distort(high)
    # Brightness changes in steps of one gray level, so the PSNR may be lower by up to 0.6 dB.
    assert psnr(other, scene) - 0.6 < psnr(distorted, scene) <= psnr(other, scene)
    return distorted


def test_psnr_equals_the_definition(scene: np.ndarray) -> None:
    gray = np.full((10, 12), 100, np.uint8)
    assert psnr(gray + 5, gray) == pytest.approx(20 * math.log10(255 / 5))
    assert psnr(scene, scene) == math.inf
    assert psnr(np.zeros_like(scene), np.full_like(scene, 255)) == 0


def test_ssim_of_constant_images_is_the_luminance_term() -> None:
    first, second = np.full((20, 20, 3), 100.0), np.full((20, 20, 3), 150.0)
    constant = (0.01 * 255) ** 2
    assert ssim(first, second) == pytest.approx((2 * 100 * 150 + constant) / (100**2 + 150**2 + constant), abs=1e-4)


def test_ssim_decreases_with_noise(scene: np.ndarray) -> None:
    values = [ssim(noisy(scene, sigma), scene) for sigma in (0, 5, 15, 50)]
    assert values[0] == pytest.approx(1)
    assert all(better > worse for better, worse in pairwise(values))


@pytest.mark.parametrize("metric", [psnr, ssim, vae_feature_distance])
@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (5, 5, 3), (11, 7), (17, 33, 3), (20, 20, 1)])
def test_all_sizes_and_channel_counts_are_supported(metric: Callable[..., float], shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, 256, shape).astype(np.uint8) for _ in range(2))
    assert math.isfinite(metric(first, second))
    assert metric(first, first) == {psnr: math.inf, ssim: pytest.approx(1), vae_feature_distance: 0}[metric]


@pytest.mark.parametrize("metric", [psnr, ssim, vae_feature_distance])
def test_invalid_shapes_are_rejected(metric: Callable[..., float]) -> None:
    with pytest.raises(ValueError, match="the same shape"):
        metric(np.zeros((4, 4)), np.zeros((4, 5)))
    with pytest.raises(ValueError, match="pixels must be"):
        metric(np.zeros((4, 4, 4)), np.zeros((4, 4, 4)))


def test_feature_distance_increases_with_noise_blur_and_compression(scene: np.ndarray) -> None:
    for distort, strengths in (
        (noisy, (5, 15, 40, 80)),
        (blurred, (0.5, 1, 2, 4)),
        (compressed, (90, 50, 20, 5)),
    ):
        distances = [vae_feature_distance(distort(scene, strength), scene) for strength in strengths]
        assert distances == sorted(distances)
        assert 0 < distances[0] < distances[-1] / 2


@pytest.mark.parametrize("name", ["scene", "chelsea", "hubble_deep_field"])
def test_blur_has_a_higher_feature_distance_than_other_distortions_of_equal_psnr(name: str, scene: np.ndarray) -> None:
    image = scene if name == "scene" else getattr(data, name)()[100:196, 200:296]
    blur = blurred(image, 1.5)
    distance = vae_feature_distance(blur, image)
    noise = np.random.default_rng(1).standard_normal(image.shape)
    mean = image.mean((0, 1))
    for distort in (
        lambda strength: to_uint8(image + strength * noise),
        lambda strength: to_uint8(image + strength),
        lambda strength: to_uint8((image - mean) * (1 - strength / 150) + mean),
    ):
        assert vae_feature_distance(with_equal_psnr(blur, image, distort), image) < 0.97 * distance


def test_gray_image_equals_three_equal_channels(scene: np.ndarray) -> None:
    gray, worse = scene[..., 0], noisy(scene, 20)[..., 0]
    in_color = vae_feature_distance(np.stack([worse] * 3, -1), np.stack([gray] * 3, -1))
    assert vae_feature_distance(worse, gray) == pytest.approx(in_color, rel=1e-4)


def test_distance_of_a_large_image_is_the_mean_of_its_tiles(scene: np.ndarray) -> None:
    worse = noisy(scene, 20)
    small = vae_feature_distance(worse, scene)
    wide = [np.tile(image[:24], (1, 6, 1)) for image in (worse, scene)]
    assert wide[0].shape == (24, 576, 3)
    assert vae_feature_distance(*wide) == pytest.approx(
        vae_feature_distance(*(image[:, :288] for image in wide)), rel=1e-3
    )
    assert vae_feature_distance(*wide) == pytest.approx(small, rel=0.5)
