"""Test how masks of every mode are read: values are scaled with a note, or refused with a remedy."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from artgen import images
from artgen.errors import InputFileError
from artgen.images import LoadedMask

SIZE = (64, 48)
BOX = (10, 8, 40, 30)
INSIDE, EDGE = (20, 20), 2


def paint(mode: str, foreground: object, background: object = 0) -> Image.Image:
    image = Image.new(mode, SIZE, background)  # type: ignore[arg-type]
    image.paste(foreground, BOX)  # type: ignore[arg-type]
    return image


def palette(*colors: tuple[int, int, int]) -> Image.Image:
    """Return a palette image whose index 1 is the box, and whose further indices are single rows below."""
    image = Image.new("P", SIZE)
    image.putpalette([channel for color in colors for channel in color])
    image.paste(1, BOX)
    for index in range(2, len(colors)):
        image.paste(index, (0, 40 + index, 64, 41 + index))
    return image


def wide(mode: str, value: float, background: float = 0) -> Image.Image:
    kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
    array = np.full(SIZE[::-1], background, kind)
    array[BOX[1] : BOX[3], BOX[0] : BOX[2]] = value
    return Image.fromarray(array)


def load(
    image: Image.Image, tmp_path: Path, suffix: str = "png", *, invert: bool = False, **save: object
) -> LoadedMask:
    path = tmp_path / f"mask.{suffix}"
    image.save(path, **save)
    return images.load_mask(path, SIZE, invert=invert)


EXPECTED = paint("L", 255).tobytes()
COVERAGE = 30 * 22 / (64 * 48)

SCALED = {
    "0 and 1": lambda: paint("L", 1),
    "0 and 3": lambda: paint("L", 3),
    "0 and 128": lambda: paint("L", 128),
    "0 and 246": lambda: paint("L", 246),
    "gray RGB 0 and 1": lambda: paint("RGB", (1, 1, 1)),
    "palette black and red": lambda: palette((0, 0, 0), (255, 0, 0)),
    "palette black and dark blue": lambda: palette((0, 0, 0), (0, 0, 90)),
    "red": lambda: paint("RGB", (255, 0, 0)),
    "green": lambda: paint("RGB", (0, 255, 0)),
    "dark magenta": lambda: paint("RGB", (120, 0, 120)),
    "red RGBA": lambda: paint("RGBA", (255, 0, 0, 255), (0, 0, 0, 255)),
    "16-bit 0 and 1": lambda: wide("I;16", 1),
    "16-bit 0 and 128": lambda: wide("I;16", 128),
    "16-bit 0 and 30000": lambda: wide("I;16", 30000),
    "32-bit 0 and 1": lambda: wide("I", 1),
    "float 0 and 0.5": lambda: wide("F", 0.5),
    "background of 3 and 200": lambda: paint("L", 200, 3),
}
EXACT = {
    "L": lambda: paint("L", 255),
    "1": lambda: paint("1", 1),
    "RGB": lambda: paint("RGB", (255, 255, 255)),
    "LA": lambda: paint("LA", (255, 255), (0, 255)),
    "palette": lambda: palette((0, 0, 0), (255, 255, 255)),
    "16 bits": lambda: wide("I;16", 65535),
    "16-bit 0 and 255": lambda: wide("I;16", 255),
    "32-bit 0 and 255": lambda: wide("I", 255),
    "float 0 and 1": lambda: wide("F", 1),
    "float 0 and 255": lambda: wide("F", 255),
}
REFUSED = {
    "labels 0 to 3": lambda: palette_values(0, 1, 2, 3),
    "labels 0, 7, 31": lambda: palette_values(0, 7, 31),
    "labels 1 and 2": lambda: paint("L", 2, 1),
    "labels 1 and 2 on 0": lambda: palette_values(0, 1, 2),
    "palette of three colors": lambda: palette((0, 0, 0), (128, 0, 0), (0, 128, 0)),
    "red and white": lambda: paint("RGB", (255, 0, 0), (255, 255, 255)),
    "white on blue": lambda: paint("RGB", (255, 255, 255), (0, 0, 255)),
    "red and green": lambda: paint("RGB", (255, 0, 0), (0, 255, 0)),
    "noise": lambda: Image.frombytes("RGB", SIZE, np.random.default_rng(1).bytes(3 * 64 * 48)),
}


def palette_values(*values: int) -> Image.Image:
    image = paint("L", values[1])
    for row, value in enumerate(values[2:]):
        image.paste(value, (0, 40 + row, 64, 41 + row))
    return image


@pytest.mark.parametrize("case", SCALED)
def test_masks_below_white_are_scaled_with_a_note(tmp_path: Path, case: str) -> None:
    image: Image.Image = SCALED[case]()
    loaded = load(image, tmp_path, "tiff" if image.mode in ("I", "F") else "png")
    assert loaded.mask.tobytes() == EXPECTED
    assert loaded.coverage == pytest.approx(COVERAGE)
    assert any("counts as white" in note or "one color" in note for note in loaded.notes)


@pytest.mark.parametrize("case", EXACT)
def test_black_and_white_masks_need_no_note(tmp_path: Path, case: str) -> None:
    image: Image.Image = EXACT[case]()
    loaded = load(image, tmp_path, "tiff" if image.mode in ("I", "F") else "png")
    assert loaded.mask.tobytes() == EXPECTED
    assert loaded.notes == ()


@pytest.mark.parametrize("case", REFUSED)
def test_label_maps_and_several_colors_are_refused(tmp_path: Path, case: str) -> None:
    with pytest.raises(InputFileError, match=r"is a label map|has several colors") as caught:
        load(REFUSED[case](), tmp_path)
    assert "white" in caught.value.hint
    assert str(tmp_path / "mask.png") in caught.value.message


@pytest.mark.parametrize("background", [1, 3, 8])
@pytest.mark.parametrize("invert", [False, True])
def test_a_dark_background_is_not_masked(tmp_path: Path, background: int, invert: bool) -> None:
    image = paint("L", 255 - background, background)
    loaded = load(image, tmp_path, invert=invert)
    assert loaded.coverage == pytest.approx(1 - COVERAGE if invert else COVERAGE)
    assert loaded.notes


@pytest.mark.parametrize("quality", [60, 75, 95])
@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_lossy_masks_are_masked_only_near_the_shape(tmp_path: Path, suffix: str, quality: int) -> None:
    image = Image.new("RGB", (256, 256))
    ImageDraw.Draw(image).ellipse((64, 64, 192, 192), fill="white")
    for color in ("white", "red"):
        colored = Image.new("RGB", image.size)
        colored.paste(color, mask=image.convert("L"))
        colored.save(tmp_path / f"mask.{suffix}", quality=quality)
        loaded = images.load_mask(tmp_path / f"mask.{suffix}", image.size)
        assert loaded.coverage == pytest.approx(0.1965, abs=0.06)
        assert loaded.mask.getpixel((128, 128)) >= 245  # type: ignore[operator]
        assert loaded.mask.getpixel((20, 20)) == 0


@pytest.mark.parametrize("value", [0, 3])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_masks_of_one_dark_value_are_empty(tmp_path: Path, value: int, suffix: str) -> None:
    with pytest.raises(InputFileError, match="is empty: all pixels are black"):
        load(Image.new("L", SIZE, value), tmp_path, suffix)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
@pytest.mark.parametrize("hidden", ["same", "other"])
@pytest.mark.parametrize("invert", [False, True])
def test_transparency_selects_the_pixels_that_the_note_names(
    tmp_path: Path, mode: str, hidden: str, invert: bool
) -> None:
    """The colors of transparent pixels do not matter: editors write black or white there."""
    if mode == "PA":
        image = palette((255, 255, 255) if hidden == "other" else (40, 40, 40), (40, 40, 40))
        loaded = load(image, tmp_path, invert=invert, transparency=0)
    else:
        color = (40,) * (len(mode) - 1)
        background = color if hidden == "same" else (255,) * (len(mode) - 1)
        loaded = load(paint(mode, (*color, 255), (*background, 0)), tmp_path, invert=invert)
    assert loaded.coverage == pytest.approx(1 - COVERAGE if invert else COVERAGE)
    assert (loaded.mask.getpixel(INSIDE) == 255) is not invert
    repainted = "transparent" if invert else "opaque"
    assert f"{repainted} pixels are repainted" in loaded.notes[0]
    assert ("omit --invert-mask" if invert else "add --invert-mask") in loaded.notes[0]


def test_soft_masks_keep_their_values(tmp_path: Path) -> None:
    ramp = Image.linear_gradient("L").resize(SIZE)
    ramp.paste(255, (0, 47, 64, 48))
    loaded = load(ramp, tmp_path)
    values, expected = np.asarray(loaded.mask).astype(int), np.asarray(ramp).astype(int)
    assert (values[expected > 8] == expected[expected > 8]).all()
    assert not values[expected <= 8].any()
    half = load(ramp.point(lambda value: value // 2), tmp_path)
    assert np.abs(np.asarray(half.mask).astype(int) - expected)[expected > 17].max() <= 3
    assert any(" of 255; it counts as white" in note for note in half.notes)
    assert "is gray, so these pixels are blended" in half.notes[-1]


MODES = st.sampled_from(["1", "L", "LA", "RGB", "RGBA", "P", "I;16"])


@given(MODES, st.integers(1, 255), st.sampled_from(["PNG", "TIFF"]))
def test_every_mask_of_two_values_selects_the_same_pixels(
    tmp_path_factory: pytest.TempPathFactory, mode: str, value: int, kind: str
) -> None:
    build: dict[str, Callable[[], Image.Image]] = {
        "1": lambda: paint("1", 1),
        "L": lambda: paint("L", value),
        "LA": lambda: paint("LA", (value, 255), (0, 255)),
        "RGB": lambda: paint("RGB", (value, value, value)),
        "RGBA": lambda: paint("RGBA", (value, 0, 0, 255), (0, 0, 0, 255)),
        "P": lambda: palette((0, 0, 0), (value, value // 2, 0)),
        "I;16": lambda: wide("I;16", value),
    }
    buffer = io.BytesIO()
    build[mode]().save(buffer, kind)
    path = tmp_path_factory.mktemp("mask") / "mask.bin"
    path.write_bytes(buffer.getvalue())
    mask = images.load_mask(path, SIZE).mask
    assert (np.asarray(mask) > 0).tobytes() == (np.frombuffer(EXPECTED, np.uint8) > 0).tobytes()
    assert mask.getpixel(INSIDE) == 255
