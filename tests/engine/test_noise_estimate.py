"""How noisy a picture is, from the picture alone."""

import io

import numpy as np
import pytest
from PIL import Image

from artgen.engine.denoise.noise_estimate import Pixels, estimate_sigma


def photograph(height: int = 240, width: int = 320, channels: int = 3, texture: float = 6) -> np.ndarray:
    """A scene with a dark and a bright half, soft hills, edges and a textured corner; (height, width, channels)."""
    random = np.random.default_rng(5)
    y, x = np.mgrid[:height, :width] / 60
    scene = 120 + 90 * np.sin(0.7 * x + 0.3) + 30 * np.cos(1.3 * y + 0.5 * x)
    scene = scene + 50 * ((x - 2) ** 2 + (y - 2) ** 2 < 1) - 40 * (x + y > 6)
    scene[: height // 3, : width // 3] += texture * random.standard_normal((height // 3, width // 3))
    tints = np.linspace(0.8, 1.1, channels)
    return np.clip(np.round(scene[..., None] * tints), 0, 255)


def noisy(clean: np.ndarray, sigma: float, seed: int = 0) -> Pixels:
    """With noise as a file would hold it, clipped and rounded."""
    noise = sigma * np.random.default_rng(seed).standard_normal(clean.shape)
    return np.clip(np.round(clean + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("sigma", "seed"), [(5, 0), (10, 1), (15, 2), (25, 3), (25, 4), (50, 5), (75, 6)])
def test_the_sigma_of_clipped_noise_is_found(sigma: float, seed: int) -> None:
    found = estimate_sigma(noisy(photograph(), sigma, seed))
    assert found.sigma == pytest.approx(sigma, rel=0.1)
    assert found.is_white


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket", "camera"])
def test_on_photographs(name: str) -> None:
    data = pytest.importorskip("skimage.data")
    clean = getattr(data, name)()
    assert estimate_sigma(clean).sigma < 2
    for sigma in (10, 50):
        found = estimate_sigma(noisy(clean, sigma))
        assert found.sigma == pytest.approx(sigma, rel=0.04)
        assert found.is_white


@pytest.mark.parametrize("name", ["grass", "gravel", "brick"])
def test_texture_is_not_noise(name: str) -> None:
    data = pytest.importorskip("skimage.data")
    assert estimate_sigma(getattr(data, name)()).sigma < 10


def test_a_dark_picture_shows_half_of_its_noise_and_all_of_it_is_found() -> None:
    dark = np.full((150, 150), 12.0)
    given = noisy(dark, 20)
    assert given.std() < 16
    assert estimate_sigma(given).sigma == pytest.approx(20, rel=0.1)


def test_blurred_noise_is_not_white() -> None:
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(np.random.default_rng(0).standard_normal((240, 320, 3)), (0.6, 0.6, 0))
    given = np.clip(np.round(photograph() + 15 * blurred / blurred.std()), 0, 255).astype(np.uint8)
    found = estimate_sigma(given)
    assert not found.is_white
    assert "correlated" in found.reason
    assert 8 < found.sigma < 22


@pytest.mark.parametrize("quality", [10, 30, 50])
def test_jpeg_is_not_white_even_where_its_grid_is_cut_off(quality: int) -> None:
    file = io.BytesIO()
    Image.fromarray(photograph().astype(np.uint8)).save(file, "JPEG", quality=quality)
    opened = np.asarray(Image.open(file))
    for left in (0, 3):
        found = estimate_sigma(opened[left:, left:])
        assert not found.is_white
        assert "JPEG" in found.reason
        assert 0.5 < found.sigma < 12


def test_equal_channels_count_as_one() -> None:
    grey = noisy(photograph(channels=1), 20)[..., 0]
    assert estimate_sigma(np.stack([grey] * 3, axis=-1)) == estimate_sigma(grey) == estimate_sigma(grey[..., None])


def test_floats_count_as_bytes_do() -> None:
    given = noisy(photograph(), 20)
    assert estimate_sigma(given.astype(np.float32)) == estimate_sigma(given)


@pytest.mark.parametrize("value", [0, 1, 128, 255])
def test_a_constant_picture_has_none(value: int) -> None:
    found = estimate_sigma(np.full((60, 40, 3), value, np.uint8))
    assert (found.sigma, found.is_white) == (0, True)


def test_graphics_have_none() -> None:
    y, x = np.mgrid[:240, :240]
    disc = np.where((x - 120) ** 2 + (y - 110) ** 2 < 6000, 200, 20).astype(np.uint8)
    assert estimate_sigma(disc).sigma < 0.5
    pixel_art = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    assert estimate_sigma(pixel_art.repeat(8, 0).repeat(8, 1)).sigma < 0.5


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (5, 5, 3), (7, 30, 3)])
def test_below_a_patch_nothing_is_said(shape: tuple[int, ...]) -> None:
    found = estimate_sigma(np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8))
    assert found.sigma == 0
    assert found.is_white
    assert "small" in found.reason


@pytest.mark.parametrize("shape", [(8, 8), (16, 16, 3), (9, 41), (64, 48)])
def test_small_pictures_are_judged_roughly(shape: tuple[int, ...]) -> None:
    found = estimate_sigma(noisy(np.full(shape, 120.0), 20))
    assert found.sigma == pytest.approx(20, rel=0.35)
    assert found.is_white


@pytest.mark.parametrize("shape", [(4,), (4, 4, 2), (4, 4, 4), (2, 4, 4, 3), (0, 4)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="pixels must be"):
        estimate_sigma(np.zeros(shape, np.uint8))
