"""How close a picture comes to another: known values, and the order in which people would put distortions."""

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
    """Hills, edges and texture, (96, 96, 3)."""
    random = np.random.default_rng(5)
    y, x = np.mgrid[:96, :96] / 24
    grey = 120 + 40 * np.sin(1.7 * x + 0.3) + 20 * np.cos(2.3 * y + x)
    grey = grey + 50 * ((x - 2) ** 2 + (y - 2) ** 2 < 1) - 40 * (x + y > 6) + 30 * (np.sin(20 * x) > 0.5) * (y < 1)
    grey[:, :30] += 12 * random.standard_normal((96, 30))
    return np.clip(np.round(grey[..., None] * [0.8, 1, 1.1]), 0, 255).astype(np.uint8)


def eight_bits(pixels: np.ndarray) -> np.ndarray:
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8)


def noisy(scene: np.ndarray, sigma: float) -> np.ndarray:
    return eight_bits(scene + sigma * np.random.default_rng(0).standard_normal(scene.shape))


def blurred(scene: np.ndarray, radius: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return eight_bits(gaussian_filter(scene.astype(float), (radius, radius, 0)))


def compressed(scene: np.ndarray, quality: float) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(scene).save(file, "JPEG", quality=int(quality))
    return np.asarray(Image.open(file))


def as_bad_as(other: np.ndarray, scene: np.ndarray, distort: Callable[[float], np.ndarray]) -> np.ndarray:
    """The distortion of the strength that has the PSNR of `other`."""
    low, high = 0.0, 128.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if psnr(distort(middle), scene) > psnr(other, scene) else (low, middle)
    found = distort(high)
    # Brightness comes in whole grey levels; the distortion may be the worse one by that.
    assert psnr(other, scene) - 0.6 < psnr(found, scene) <= psnr(other, scene)
    return found


def test_psnr_is_that_of_the_textbook(scene: np.ndarray) -> None:
    grey = np.full((10, 12), 100, np.uint8)
    assert psnr(grey + 5, grey) == pytest.approx(20 * math.log10(255 / 5))
    assert psnr(scene, scene) == math.inf
    assert psnr(np.zeros_like(scene), np.full_like(scene, 255)) == 0


def test_ssim_of_constant_pictures_is_the_luminance_term() -> None:
    first, second = np.full((20, 20, 3), 100.0), np.full((20, 20, 3), 150.0)
    constant = (0.01 * 255) ** 2
    assert ssim(first, second) == pytest.approx((2 * 100 * 150 + constant) / (100**2 + 150**2 + constant), abs=1e-4)


def test_ssim_falls_with_noise(scene: np.ndarray) -> None:
    found = [ssim(noisy(scene, sigma), scene) for sigma in (0, 5, 15, 50)]
    assert found[0] == pytest.approx(1)
    assert all(better > worse for better, worse in pairwise(found))


@pytest.mark.parametrize("measure", [psnr, ssim, vae_feature_distance])
@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (5, 5, 3), (11, 7), (17, 33, 3), (20, 20, 1)])
def test_any_size_is_measured(measure: Callable[..., float], shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    first, second = (random.integers(0, 256, shape).astype(np.uint8) for _ in range(2))
    assert math.isfinite(measure(first, second))
    assert measure(first, first) == {psnr: math.inf, ssim: pytest.approx(1), vae_feature_distance: 0}[measure]


@pytest.mark.parametrize("measure", [psnr, ssim, vae_feature_distance])
def test_pictures_that_cannot_be_compared_are_refused(measure: Callable[..., float]) -> None:
    with pytest.raises(ValueError, match="of one shape"):
        measure(np.zeros((4, 4)), np.zeros((4, 5)))
    with pytest.raises(ValueError, match="pixels must be"):
        measure(np.zeros((4, 4, 4)), np.zeros((4, 4, 4)))


def test_the_distance_grows_with_noise_blur_and_compression(scene: np.ndarray) -> None:
    for distort, strengths in (
        (noisy, (5, 15, 40, 80)),
        (blurred, (0.5, 1, 2, 4)),
        (compressed, (90, 50, 20, 5)),
    ):
        distances = [vae_feature_distance(distort(scene, strength), scene) for strength in strengths]
        assert distances == sorted(distances)
        assert 0 < distances[0] < distances[-1] / 2


@pytest.mark.parametrize("name", ["scene", "chelsea", "hubble_deep_field"])
def test_blur_looks_worse_than_changes_of_equal_error_that_keep_what_is_there(name: str, scene: np.ndarray) -> None:
    given = scene if name == "scene" else getattr(data, name)()[100:196, 200:296]
    blur = blurred(given, 1.5)
    distance = vae_feature_distance(blur, given)
    random = np.random.default_rng(1).standard_normal(given.shape)
    middle = given.mean((0, 1))
    for distort in (
        lambda strength: eight_bits(given + strength * random),
        lambda strength: eight_bits(given + strength),
        lambda strength: eight_bits((given - middle) * (1 - strength / 150) + middle),
    ):
        assert vae_feature_distance(as_bad_as(blur, given, distort), given) < 0.97 * distance


def test_grey_counts_as_three_equal_channels(scene: np.ndarray) -> None:
    grey, worse = scene[..., 0], noisy(scene, 20)[..., 0]
    coloured = vae_feature_distance(np.stack([worse] * 3, -1), np.stack([grey] * 3, -1))
    assert vae_feature_distance(worse, grey) == pytest.approx(coloured, rel=1e-4)


def test_a_large_picture_is_the_mean_of_its_parts(scene: np.ndarray) -> None:
    worse = noisy(scene, 20)
    small = vae_feature_distance(worse, scene)
    wide = [np.tile(picture[:24], (1, 6, 1)) for picture in (worse, scene)]
    assert wide[0].shape == (24, 576, 3)
    assert vae_feature_distance(*wide) == pytest.approx(vae_feature_distance(*(p[:, :288] for p in wide)), rel=1e-3)
    assert vae_feature_distance(*wide) == pytest.approx(small, rel=0.5)
