"""Test the noise estimate."""

import io

import numpy as np
import pytest
from PIL import Image

from artgen.engine.denoise.noise_estimate import Pixels, estimate_sigma


def photograph(height: int = 240, width: int = 320, channels: int = 3, texture: float = 6) -> np.ndarray:
    """Return a scene with a dark and a bright half, gradients, edges and a textured corner, shape (H, W, C)."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:height, :width] / 60
    scene = 120 + 90 * np.sin(0.7 * x + 0.3) + 30 * np.cos(1.3 * y + 0.5 * x)
    scene = scene + 50 * ((x - 2) ** 2 + (y - 2) ** 2 < 1) - 40 * (x + y > 6)
    scene[: height // 3, : width // 3] += texture * rng.standard_normal((height // 3, width // 3))
    tints = np.linspace(0.8, 1.1, channels)
    return np.clip(np.round(scene[..., None] * tints), 0, 255)


def noisy(clean: np.ndarray, sigma: float, seed: int = 0) -> Pixels:
    """Return the image with noise, clipped and rounded as in a file."""
    noise = sigma * np.random.default_rng(seed).standard_normal(clean.shape)
    return np.clip(np.round(clean + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("sigma", "seed"), [(5, 0), (10, 1), (15, 2), (25, 3), (25, 4), (50, 5), (75, 6)])
def test_sigma_of_clipped_noise_is_estimated(sigma: float, seed: int) -> None:
    estimate = estimate_sigma(noisy(photograph(), sigma, seed))
    assert estimate.sigma == pytest.approx(sigma, rel=0.1)
    assert estimate.is_white


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket", "camera"])
def test_noise_of_photographs_is_estimated(name: str) -> None:
    data = pytest.importorskip("skimage.data")
    clean = getattr(data, name)()
    assert estimate_sigma(clean).sigma < 2
    for sigma in (10, 50):
        estimate = estimate_sigma(noisy(clean, sigma))
        assert estimate.sigma == pytest.approx(sigma, rel=0.04)
        assert estimate.is_white


@pytest.mark.parametrize("name", ["grass", "gravel", "brick"])
def test_texture_is_not_noise(name: str) -> None:
    data = pytest.importorskip("skimage.data")
    assert estimate_sigma(getattr(data, name)()).sigma < 10


def test_sigma_of_a_dark_image_is_corrected_for_clipping() -> None:
    dark = np.full((150, 150), 12.0)
    image = noisy(dark, 20)
    assert image.std() < 16
    assert estimate_sigma(image).sigma == pytest.approx(20, rel=0.1)


def test_correlated_noise_is_not_white() -> None:
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(np.random.default_rng(0).standard_normal((240, 320, 3)), (0.6, 0.6, 0))
    image = np.clip(np.round(photograph() + 15 * blurred / blurred.std()), 0, 255).astype(np.uint8)
    estimate = estimate_sigma(image)
    assert not estimate.is_white
    assert "correlated" in estimate.reason
    assert 8 < estimate.sigma < 22


@pytest.mark.parametrize("quality", [10, 30, 50])
def test_jpeg_noise_is_not_white_with_a_cropped_block_grid(quality: int) -> None:
    file = io.BytesIO()
    Image.fromarray(photograph().astype(np.uint8)).save(file, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(file))
    for left in (0, 3):
        estimate = estimate_sigma(decoded[left:, left:])
        assert not estimate.is_white
        assert "JPEG" in estimate.reason
        assert 0.5 < estimate.sigma < 12


def test_equal_channels_count_as_one() -> None:
    gray = noisy(photograph(channels=1), 20)[..., 0]
    assert estimate_sigma(np.stack([gray] * 3, axis=-1)) == estimate_sigma(gray) == estimate_sigma(gray[..., None])


def test_floats_and_bytes_give_the_same_estimate() -> None:
    image = noisy(photograph(), 20)
    assert estimate_sigma(image.astype(np.float32)) == estimate_sigma(image)


@pytest.mark.parametrize("value", [0, 1, 128, 255])
def test_constant_image_has_no_noise(value: int) -> None:
    estimate = estimate_sigma(np.full((60, 40, 3), value, np.uint8))
    assert (estimate.sigma, estimate.is_white) == (0, True)


def test_graphics_have_no_noise() -> None:
    y, x = np.mgrid[:240, :240]
    disc = np.where((x - 120) ** 2 + (y - 110) ** 2 < 6000, 200, 20).astype(np.uint8)
    assert estimate_sigma(disc).sigma < 0.5
    pixel_art = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    assert estimate_sigma(pixel_art.repeat(8, 0).repeat(8, 1)).sigma < 0.5


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (5, 5, 3), (7, 30, 3)])
def test_images_below_the_patch_size_have_no_estimate(shape: tuple[int, ...]) -> None:
    estimate = estimate_sigma(np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8))
    assert estimate.sigma == 0
    assert estimate.is_white
    assert "small" in estimate.reason


@pytest.mark.parametrize("shape", [(8, 8), (16, 16, 3), (9, 41), (64, 48)])
def test_small_images_have_a_rough_estimate(shape: tuple[int, ...]) -> None:
    estimate = estimate_sigma(noisy(np.full(shape, 120.0), 20))
    assert estimate.sigma == pytest.approx(20, rel=0.35)
    assert estimate.is_white


@pytest.mark.parametrize("shape", [(4,), (4, 4, 2), (4, 4, 4), (2, 4, 4, 3), (0, 4)])
def test_other_shapes_are_rejected(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="pixels must be"):
        estimate_sigma(np.zeros(shape, np.uint8))
