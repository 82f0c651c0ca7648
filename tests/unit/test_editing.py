"""Test that generated pixels replace only the masked pixels, in every mode, depth and profile."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from icc_profiles import ADOBE_PRIMARIES, P3_PRIMARIES, gray_profile, rgb_profile
from PIL import Image

from artgen import images
from artgen.images import editing
from artgen.images.color_profiles import read_profile

MODES = ("L", "LA", "RGB", "RGBA")
GRAY_PROFILES = (None, gray_profile(1), gray_profile(1.8), gray_profile("srgb"), rgb_profile(1.8))
RGB_PROFILES = (None, rgb_profile(1), rgb_profile("srgb", P3_PRIMARIES), rgb_profile(2.2, ADOBE_PRIMARIES))


def random_image(mode: str, size: tuple[int, int], seed: int) -> Image.Image:
    return Image.frombytes(mode, size, np.random.default_rng(seed).bytes(size[0] * size[1] * len(mode)))


def random_source(
    mode: str, size: tuple[int, int], profile: bytes | None, is_16bit: bool, seed: int
) -> images.LosslessImage:
    image = random_image(mode, size, seed)
    image.info = {} if profile is None else {"icc_profile": profile}
    low_bytes = random_image(mode, size, seed + 1) if is_16bit else None
    return images.LosslessImage(image, low_bytes, "", (), read_profile(profile, mode.removesuffix("A")))


@st.composite
def sources(draw: st.DrawFn) -> images.LosslessImage:
    mode = draw(st.sampled_from(MODES))
    profile = draw(st.sampled_from(GRAY_PROFILES if mode.startswith("L") else RGB_PROFILES))
    size = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    return random_source(mode, size, profile, draw(st.booleans()), draw(st.integers(0, 99)))


def values(image: images.LosslessImage) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    high = np.asarray(image.image).astype(int)
    return high if image.low_bytes is None else high * 256 + np.asarray(image.low_bytes)


@given(sources(), st.data())
def test_only_masked_pixels_change(source: images.LosslessImage, data: st.DataObject) -> None:
    width, height = source.image.size
    levels = data.draw(st.lists(st.sampled_from([0, 0, 1, 128, 255]), min_size=width * height, max_size=width * height))
    mask = Image.frombytes("L", source.image.size, bytes(levels))
    generated = random_image("RGB", source.image.size, 7)
    result = images.paste_generated(source, generated, mask)
    before, after, kept = values(source), values(result), np.asarray(mask) == 0
    assert (after[kept] == before[kept]).all()
    assert result.image.mode == source.image.mode
    assert result.image.info == source.image.info
    if source.image.mode.endswith("A"):
        assert (after[..., -1] == before[..., -1]).all()


@given(sources(), st.integers(0, 99))
def test_generated_pixels_have_the_same_colors_in_srgb(source: images.LosslessImage, seed: int) -> None:
    generated = random_image("RGB", source.image.size, seed)
    result = images.paste_generated(source, generated, Image.new("L", source.image.size, 255))
    found, _ = images.convert_to_srgb(result.image, result.low_bytes)
    color = images.drop_alpha(found)
    difference = np.abs(np.asarray(color).astype(int) - np.asarray(generated.convert(color.mode)))
    assert difference.max() <= (16 if source.profile else 0)


@pytest.mark.parametrize("is_16bit", [False, True])
def test_blending_in_parts_equals_blending_at_once(monkeypatch: pytest.MonkeyPatch, is_16bit: bool) -> None:
    source = random_source("RGBA", (30, 40), rgb_profile(1), is_16bit, 3)
    generated, mask = random_image("RGB", (30, 40), 5), random_image("L", (30, 40), 6)
    expected = values(images.paste_generated(source, generated, mask))
    monkeypatch.setattr(editing, "_MAX_BLENDED_PIXELS", 70)
    assert (values(images.paste_generated(source, generated, mask)) == expected).all()


@pytest.mark.parametrize("mode", MODES)
def test_resizing_and_expanding_keep_16_bits(mode: str) -> None:
    source = random_source(mode, (20, 16), None, True, 1)
    flat = np.full((16, 20), 40_000)
    assert source.low_bytes is not None
    constant = images.LosslessImage(
        Image.new(mode, (20, 16), (40_000 >> 8,) * len(mode) if len(mode) > 1 else 40_000 >> 8),
        Image.new(mode, (20, 16), (40_000 & 255,) * len(mode) if len(mode) > 1 else 40_000 & 255),
        "", (),
    )  # fmt: skip
    assert (values(images.resize_lossless(constant, (33, 9))) == flat[0, 0]).all()
    wide = images.expand_lossless(source, images.Expansion(left=3, bottom=5))
    assert wide.image.size == (23, 21)
    assert (values(wide)[:16, 3:] == values(source)).all()
    if mode.endswith("A"):
        assert (values(wide)[16:, :, -1] == 65535).all()
