"""Test that results keep the values, the mode, the transparency and the profile of the input image.

The tests run the real commands with two steps, in every mode and format that artgen reads.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import FAST
from command_line import run as run_command
from icc_profiles import ADOBE_PRIMARIES, P3_PRIMARIES, cmyk_profile, gray_profile, rgb_profile
from PIL import Image
from typer.testing import Result

from artgen import images
from artgen.outputs.png import encode_png

SIZE = WIDTH, HEIGHT = 33, 27
BOX = (6, 5, 20, 19)
PROFILES = {
    "linear": rgb_profile(1),
    "P3": rgb_profile("srgb", P3_PRIMARIES),
    "Adobe": rgb_profile(2.2, ADOBE_PRIMARIES),
}
MODEL: list[str] = []
"""Options that select the tiny model."""

Values = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def values(path: str) -> Values:
    """Return the values of all channels: 0 to 255, or 0 to 65535 for 16 bits per channel."""
    read = images.load_lossless(Path(path))
    high = np.asarray(read.image).astype(int)
    return high if read.low_bytes is None else high * 256 + np.asarray(read.low_bytes)


def run(command: str, *arguments: str, code: int = 0) -> Result:
    """Run a command, with the tiny model if it needs a model."""
    return run_command(command, *arguments, *(() if command == "denoise" else MODEL), code=code)


def random_image(mode: str, seed: int = 1) -> Image.Image:
    data = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, len(mode)), dtype=np.uint8)
    return Image.fromarray(data[..., 0] if len(mode) == 1 else data, mode)


def save_16bit(mode: str, profile: bytes | None = None) -> None:
    kwargs = {} if profile is None else {"icc_profile": profile}
    Path("in.png").write_bytes(encode_png(random_image(mode), kwargs, low_bytes=random_image(mode, seed=2)))


def save_mode(mode: str) -> str:
    """Save an image in a mode of Pillow. Return the file name."""
    image = random_image("RGB")
    name = "in.tiff" if mode in ("PA", "CMYK", "I", "F", "YCbCr") else "in.png"
    gray = np.asarray(image.convert("L"))
    arrays = {
        "I;16": gray.astype(np.uint16) * 257,
        "I": gray.astype(np.int32) * 257,
        "F": gray.astype(np.float32) / 255,
    }
    if mode in arrays:
        Image.fromarray(arrays[mode]).save(name)
    elif mode in ("LA", "RGBA"):
        random_image(mode).save(name)
    elif mode == "PA":
        palette = image.convert("P")
        palette.save("in.png", transparency=3)
        return "in.png"
    else:
        image.convert(mode).save(name)
    return name


CASES: dict[str, Callable[[], object]] = {
    **{f"8-bit {mode}": lambda mode=mode: random_image(mode).save("in.png") for mode in ("L", "LA", "RGB", "RGBA")},
    **{f"16-bit {mode}": lambda mode=mode: save_16bit(mode) for mode in ("L", "LA", "RGB", "RGBA")},
    **{
        f"8-bit {name} {mode}": lambda mode=mode, profile=profile: random_image(mode).save(
            "in.png", icc_profile=profile
        )
        for mode in ("RGB", "RGBA")
        for name, profile in PROFILES.items()
    },
    **{f"16-bit {name}": lambda profile=profile: save_16bit("RGBA", profile) for name, profile in PROFILES.items()},
    "8-bit gray gamma 1.8": lambda: random_image("L").save("in.png", icc_profile=gray_profile(1.8)),
    "16-bit gray gamma 1.8": lambda: save_16bit("LA", gray_profile(1.8)),
}


@pytest.fixture(autouse=True)
def _mask_and_model(sd1: str) -> None:
    MODEL[:] = ["-m", sd1]
    mask = Image.new("L", SIZE)
    mask.paste(255, BOX)
    mask.save("mask.png")


OUTSIDE = np.ones((HEIGHT, WIDTH), bool)
OUTSIDE[BOX[1] : BOX[3], BOX[0] : BOX[2]] = False


@pytest.mark.parametrize("case", CASES)
def test_inpaint_and_outpaint_keep_values_alpha_and_profile(case: str) -> None:
    CASES[case]()
    before = values("in.png")
    run("inpaint", "in.png", "x", "-M", "mask.png", *FAST, "-o", "out.png")
    after = values("out.png")
    assert after.shape == before.shape
    assert (after[OUTSIDE] == before[OUTSIDE]).all()
    assert (after[~OUTSIDE] != before[~OUTSIDE]).any()
    run("outpaint", "in.png", "x", "--expand", "left=3,bottom=6", "--feather", "0", *FAST, "-o", "wide.png")
    wide = values("wide.png")
    assert (wide[:HEIGHT, 3:] == before).all()
    if case.split()[-1].endswith("A"):
        assert (after[..., -1] == before[..., -1]).all()
        assert (wide[HEIGHT:, :, -1] == wide[..., -1].max()).all()
    profiles = [Image.open(name).info.get("icc_profile") for name in ("in.png", "out.png", "wide.png")]
    assert profiles[0] == profiles[1] == profiles[2]


@pytest.mark.parametrize("case", ["8-bit RGBA", "16-bit P3"])
def test_the_bundled_model_keeps_values(case: str) -> None:
    """The bundled model masks the latents itself, and not in the pipeline of diffusers."""
    CASES[case]()
    run_command("inpaint", "in.png", "x", "-M", "mask.png", *FAST, "-o", "out.png")
    assert (values("out.png")[OUTSIDE] == values("in.png")[OUTSIDE]).all()


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("depth", [8, 16])
def test_repainted_pixels_have_the_same_appearance_in_every_profile(name: str, depth: int) -> None:
    """The model reads the same colors, so the result in sRGB is the same up to rounding."""
    image = Image.new("RGB", SIZE, (90, 120, 100))
    image.save("srgb.png")
    profile = images.color_profiles.read_profile(PROFILES[name], "RGB")
    high, low = images.color_profiles.from_srgb_16bit(image, profile, "RGB")
    if depth == 16:
        Path("other.png").write_bytes(encode_png(high, {"icc_profile": PROFILES[name]}, low_bytes=low))
    else:
        images.color_profiles.from_srgb(image, profile, "RGB").save("other.png", icc_profile=PROFILES[name])
    found = []
    for source in ("srgb.png", "other.png"):
        run("inpaint", source, "a blue cat", "-M", "mask.png", "--feather", "3", *FAST, "-o", f"out-{source}")
        found.append(np.asarray(images.load_image(Path(f"out-{source}")).image).astype(int))
    assert np.abs(found[0] - found[1]).max() <= (12 if depth == 8 else 6)
    assert np.abs(found[0] - found[1]).mean() <= 1.5


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr"])
def test_every_mode_runs_through_every_command(mode: str) -> None:
    name = save_mode(mode)
    before = images.load_lossless(Path(name)).image
    is_gray = mode in ("1", "L", "LA", "I;16", "I", "F")
    has_alpha = mode in ("LA", "PA", "RGBA")
    for command, expected_mode in {
        "img2img": "RGB", "inpaint": "L" if is_gray else "RGB", "outpaint": "L" if is_gray else "RGB",
        "denoise": "L" if is_gray else "RGB",
    }.items():  # fmt: skip
        arguments = {
            "inpaint": ("x", "-M", "mask.png", *FAST),
            "outpaint": ("x", "--expand", "right=7", *FAST),
            "denoise": ("--method", "tv", "--sigma", "5"),
        }.get(command, ("x", *FAST))
        run(command, name, *arguments, "-o", f"{command}.png")
        result = images.load_lossless(Path(f"{command}.png")).image
        assert result.mode == expected_mode + ("A" if has_alpha else "")
        assert result.size == ((WIDTH + 7, HEIGHT) if command == "outpaint" else SIZE)
        if has_alpha:
            kept = result.getchannel("A").crop((0, 0, *SIZE))
            assert kept.tobytes() == before.getchannel("A").tobytes()
    found = np.asarray(images.load_lossless(Path("inpaint.png")).image)
    assert (found[OUTSIDE] == np.asarray(before)[OUTSIDE]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_gives_the_same_result(orientation: int) -> None:
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    image = random_image("RGBA")
    stored = image.transpose(Image.Transpose(inverse[orientation])) if orientation > 1 else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save("in.png", exif=exif)
    run("inpaint", "in.png", "x", "-M", "mask.png", *FAST, "-o", "out.png")
    result = Image.open("out.png")
    assert result.size == SIZE
    assert result.getexif().get(0x0112, 1) == 1
    assert (np.asarray(result)[OUTSIDE] == np.asarray(image)[OUTSIDE]).all()


@pytest.mark.parametrize("suffix", ["tiff", "webp", "bmp", "gif", "jpg"])
def test_every_input_format_keeps_the_pixels_outside_the_mask(suffix: str) -> None:
    random_image("RGB").save(f"in.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    before = np.asarray(Image.open(f"in.{suffix}").convert("RGB"))
    for output in ("out.png", "out.webp"):
        run("inpaint", f"in.{suffix}", "x", "-M", "mask.png", *FAST, "-o", output, "--quality", "100")
        after = np.asarray(Image.open(output).convert("RGB"))
        assert (after[OUTSIDE] == before[OUTSIDE]).all()


def test_lossless_webp_keeps_the_colors_of_transparent_pixels() -> None:
    image = random_image("RGBA")
    image.putalpha(image.getchannel("A").point(lambda value: 0 if value < 128 else value))
    image.save("in.png")
    run("inpaint", "in.png", "x", "-M", "mask.png", *FAST, "-o", "out.webp", "--quality", "100")
    assert (np.asarray(Image.open("out.webp"))[OUTSIDE] == np.asarray(image)[OUTSIDE]).all()


def test_cmyk_profile_is_converted() -> None:
    cmyk = Image.new("CMYK", SIZE, (180, 20, 40, 30))
    cmyk.save("in.jpg", icc_profile=cmyk_profile("sRGB"), quality=100)
    expected = np.asarray(images.load_image(Path("in.jpg")).image)
    assert np.abs(expected.astype(int) - np.asarray(cmyk.convert("RGB"))).max() > 10
    result = run("inpaint", "in.jpg", "x", "-M", "mask.png", *FAST, "-o", "out.png")
    assert "converted to sRGB" in result.stderr
    assert (np.asarray(Image.open("out.png"))[OUTSIDE] == expected[OUTSIDE]).all()
    assert "icc_profile" not in Image.open("out.png").info


@pytest.mark.parametrize("command", ["img2img", "inpaint", "outpaint", "denoise"])
def test_transparency_in_jpeg_is_refused_before_generating(command: str) -> None:
    random_image("RGBA").save("in.png")
    more = {"inpaint": ("x", "-M", "mask.png"), "outpaint": ("x", "--expand", "8"), "denoise": ()}.get(command, ("x",))
    result = run(command, "in.png", *more, "-o", "out.jpg", code=2)
    assert "JPEG cannot store transparency" in result.stderr
    opaque = random_image("RGB")
    opaque.putalpha(255)
    opaque.save("in.png")
    run(command, "in.png", *more, *(("--method", "tv") if command == "denoise" else FAST), "-o", "out.jpg")
    assert Image.open("out.jpg").mode == "RGB"


def test_size_of_the_result_resizes_all_channels() -> None:
    for mode, profile in (("LA", gray_profile(1.8)), ("RGBA", PROFILES["P3"]), ("L", None)):
        save_16bit(mode, profile)
        run("inpaint", "in.png", "x", "-M", "mask.png", *FAST, "-W", "66", "-H", "54", "-o", f"{mode}.png")
        result = images.load_lossless(Path(f"{mode}.png"))
        assert (result.image.mode, result.image.size, result.low_bytes is None) == (mode, (66, 54), False)
        assert result.image.info.get("icc_profile") == profile


def test_result_without_kept_pixels_has_the_properties_of_the_input() -> None:
    save_16bit("LA", gray_profile(1.8))
    run("inpaint", "in.png", "x", "-M", "mask.png", "--no-keep-original", *FAST, "-o", "out.png")
    result = images.load_lossless(Path("out.png"))
    assert (result.image.mode, result.low_bytes is None) == ("LA", False)
    assert (values("out.png")[..., 1] == values("in.png")[..., 1]).all()


def test_frames_of_a_16_bit_gray_image_are_written() -> None:
    save_16bit("LA", gray_profile(1.8))
    run("inpaint", "in.png", "x", "-M", "mask.png", *FAST, "-o", "out.png", "--frames", "frames/")
    run("inpaint", "in.png", "x", "-M", "mask.png", *FAST, "-o", "same.png")
    assert (values("out.png") == values("same.png")).all()
    assert {Image.open(path).mode for path in Path("frames").iterdir()} == {"RGB"}


def test_notes_name_what_the_output_loses() -> None:
    random_image("RGBA").save("in.png")
    result = run("inpaint", "in.png", "x", "-M", "mask.png", *FAST, "-o", "a.png", "--dry-run")
    assert "transparent pixels stay transparent" in result.stderr
    save_16bit("RGB")
    arguments = ("inpaint", "in.png", "x", "-M", "mask.png", *FAST, "--dry-run")
    assert "JPEG stores 8 bits" in run(*arguments, "-o", "a.jpg").stderr
    assert "JPEG is lossy" in run(*arguments, "-o", "a.jpg").stderr
    assert "lossy" not in run(*arguments, "-o", "a.png").stderr
    assert "lossy" not in run(*arguments, "-o", "a.webp", "--quality", "100").stderr
    Path("folder").mkdir()
    for name in ("a", "b"):
        Image.open("in.png").save(f"folder/{name}.png")
    result = run("inpaint", "folder", "x", "-M", "mask.png", *FAST, "-o", "out/", "--format", "webp", "--dry-run")
    assert result.stderr.count("WEBP is lossy") == 1
    assert "stores 8 bits" in run("denoise", "in.png", "-o", "b.webp", "--method", "tv", "--dry-run").stderr
    random_image("L").save("in.png", icc_profile=gray_profile(1.8))
    for command in (("denoise", "in.png", "--method", "tv"), ("inpaint", "in.png", "x", "-M", "mask.png")):
        assert "WEBP has no gray mode" in run(*command, "--dry-run", "-o", "b.webp").stderr
        assert "WEBP has no gray mode" not in run(*command, "--dry-run", "-o", "b.png").stderr


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_the_first_image_of_several_is_read_with_a_note(suffix: str) -> None:
    first = random_image("RGB")
    first.save(f"in.{suffix}", save_all=True, append_images=[Image.new("RGB", SIZE)])
    for command in ("img2img", "inpaint", "outpaint", "denoise"):
        more = {"inpaint": ("x", "-M", "mask.png"), "outpaint": ("x", "--expand", "8"), "denoise": ()}.get(
            command, ("x",)
        )
        result = run(command, f"in.{suffix}", *more, "--dry-run")
        assert "contains 2 images; the first image is used" in result.stderr


def test_noise_and_reconstruct_convert_the_profile_with_a_note(sd1: str) -> None:
    Image.new("RGB", (128, 128), (60, 128, 200)).save("in.png", icc_profile=rgb_profile(1))
    result = run_command("noise", "in.png", "--steps", "2", "-o", "strip.png")
    assert "converted to sRGB" in result.stderr
    assert Image.open("strip.png").getpixel((64, 64)) == (133, 188, 229)
    result = run_command("reconstruct", "in.png", "-m", sd1, "-o", "sheet.png")
    assert "converted to sRGB" in result.stderr
    assert (133, 188, 229) in {color for _, color in Image.open("sheet.png").getcolors(1 << 20) or ()}
