"""Test that the commands that show images convert colors as the others do."""

from pathlib import Path

import pytest
from command_line import run
from icc_profiles import gray_profile, rgb_profile
from PIL import Image

COLOR, IN_SRGB = (60, 128, 200), (133, 188, 229)


@pytest.mark.parametrize("rotated", [False, True])
def test_sheet_shows_the_colors_and_the_orientation_of_the_file(rotated: bool) -> None:
    image = Image.new("RGB", (64, 32), COLOR)
    exif = Image.Exif()
    if rotated:
        exif[0x0112] = 6
    image.save("a.png", icc_profile=rgb_profile(1), exif=exif)
    run("sheet", "a.png", "-o", "sheet.png", "--cell", "64", "--label", "none")
    sheet = Image.open("sheet.png")
    assert sheet.getpixel((8 + 32, 8 + 32)) == IN_SRGB
    assert (sheet.getpixel((8 + 2, 8 + 32)) == IN_SRGB) is not rotated
    assert (sheet.getpixel((8 + 32, 8 + 2)) == IN_SRGB) is rotated


def test_sheet_shows_16_bits_and_transparency() -> None:
    Image.new("I;16", (64, 64), 128 * 257).save("a.png", icc_profile=gray_profile("srgb"))
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save("b.png")
    for name, expected in (("a", (128,) * 3), ("b", (255,) * 3)):
        run("sheet", f"{name}.png", "-o", f"sheet-{name}.png", "--cell", "64", "--label", "none")
        assert Image.open(f"sheet-{name}.png").getpixel((40, 40)) == expected


def test_training_images_are_converted() -> None:
    from artgen.dataset.decode import load_rgb_image

    Image.new("RGB", (64, 64), COLOR).save("a.png", icc_profile=rgb_profile(1))
    loaded = load_rgb_image(Path("a.png"))
    assert loaded.image.getpixel((3, 3)) == IN_SRGB
    assert "converted to sRGB" in loaded.notes[0]


def test_scored_images_are_converted() -> None:
    from artgen.jobs.anomaly import load_input_image

    Image.new("RGB", (64, 64), COLOR).save("a.png", icc_profile=rgb_profile(1))
    loaded = load_input_image(Path("a.png"))
    assert loaded.image.getpixel((3, 3)) == IN_SRGB
    assert "converted to sRGB" in loaded.notes[0]
