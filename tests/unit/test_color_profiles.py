"""Test that color profiles are classified by their data, and that colors keep their appearance or their profile."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from icc_profiles import ADOBE_PRIMARIES, P3_PRIMARIES, cmyk_profile, gray_profile, rgb_profile
from PIL import Image, ImageCms

from artgen import images
from artgen.images.color_profiles import from_srgb_16bit, read_profile, to_srgb
from artgen.outputs.encoding import EncodingOptions, encode_image
from artgen.outputs.png import encode_png

NAMES = ["sRGB", "sRGB IEC61966-2.1", "Display P3", ""]
PROFILES = {
    "linear": rgb_profile(1),
    "gamma 1.8": rgb_profile(1.8),
    "gamma 2.2": rgb_profile(2.2),
    "Display P3": rgb_profile("srgb", P3_PRIMARIES),
    "Adobe RGB": rgb_profile(2.2, ADOBE_PRIMARIES),
    "gray linear": gray_profile(1),
    "gray 1.8": gray_profile(1.8),
    "CMYK": cmyk_profile(),
}


def mode_of(name: str) -> str:
    return "L" if name.startswith("gray") else "CMYK" if name == "CMYK" else "RGB"


def random_16bit(mode: str, size: tuple[int, int] = (20, 16)) -> tuple[Image.Image, Image.Image]:
    channels = () if len(mode) == 1 else (len(mode),)
    values = np.random.default_rng(1).integers(0, 65536, (size[1], size[0], *channels), dtype=np.uint16)
    high, low = (Image.fromarray(part.astype(np.uint8), mode) for part in (values >> 8, values & 255))
    return high, low


def save(path: Path, mode: str, profile: bytes | None, depth: int) -> tuple[Image.Image, Image.Image | None]:
    """Save random colors with a profile. Return their high and low bytes."""
    high, low = random_16bit(mode)
    kwargs = {} if profile is None else {"icc_profile": profile}
    if depth == 16:
        path.write_bytes(encode_png(high, kwargs, low_bytes=low))
        return high, low
    high.save(path, "JPEG" if mode == "CMYK" else "PNG", **kwargs)
    return high, None


def converted(image: Image.Image, profile: bytes) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    """Return the colors in sRGB, converted with Little CMS."""
    parsed = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    srgb = ImageCms.createProfile("sRGB")
    flags = ImageCms.Flags.NOOPTIMIZE if image.mode == "L" else ImageCms.Flags.NONE
    result = ImageCms.profileToProfile(image, parsed, srgb, outputMode="RGB", flags=flags)
    assert result is not None
    return np.asarray(result).astype(int)


@pytest.mark.parametrize("description", NAMES)
@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("depth", [8, 16])
def test_colors_are_converted_whatever_the_description(tmp_path: Path, name: str, description: str, depth: int) -> None:
    mode = mode_of(name)
    if mode == "CMYK" and depth == 16:
        pytest.skip("Pillow does not read 16-bit CMYK")
    profile = PROFILES[name].replace(b"sRGB\0", description.encode()[:4].ljust(4) + b"\0")
    path = tmp_path / "image.bin"
    high, _ = save(path, mode, profile, depth)
    loaded = images.load_image(path)
    if mode == "CMYK":
        high = Image.open(path)
    difference = np.abs(np.asarray(loaded.image) - converted(high, profile))
    # the 16-bit value is up to one 8-bit level above its high byte; a linear profile has a slope of 13 at black
    assert difference.max() <= (0 if depth == 8 else 15)
    assert any("converted to sRGB" in note for note in loaded.notes)


@pytest.mark.parametrize("description", ["Display P3", "linear", "sRGB", "Adobe RGB (1998)"])
@pytest.mark.parametrize("build", [rgb_profile, gray_profile], ids=["RGB", "gray"])
def test_srgb_data_is_not_converted_whatever_the_description(tmp_path: Path, build, description: str) -> None:  # type: ignore[no-untyped-def]
    mode = "RGB" if build is rgb_profile else "L"
    high, _ = save(tmp_path / "image.png", mode, build("srgb", name=description), 8)
    loaded = images.load_image(tmp_path / "image.png")
    assert loaded.image.tobytes() == high.convert("RGB").tobytes()
    assert loaded.notes == ()


@pytest.mark.parametrize("name", [name for name in PROFILES if name != "CMYK"])
@pytest.mark.parametrize("depth", [8, 16])
def test_lossless_images_keep_values_and_profile(tmp_path: Path, name: str, depth: int) -> None:
    high, low = save(tmp_path / "image.png", mode_of(name), PROFILES[name], depth)
    read = images.load_lossless(tmp_path / "image.png")
    assert read.image.mode == mode_of(name)
    assert read.image.tobytes() == high.tobytes()
    assert (read.low_bytes and read.low_bytes.tobytes()) == (low and low.tobytes())
    assert read.notes == ()
    for kind in ("png", "jpeg"):
        data, _ = encode_image(read.image, {}, EncodingOptions(kind, metadata="none"), read.low_bytes)
        assert Image.open(io.BytesIO(data)).info["icc_profile"] == PROFILES[name]


def test_gray_profile_is_not_written_to_webp(tmp_path: Path) -> None:
    """WebP stores gray as RGB, for which a gray profile is invalid."""
    high, _ = save(tmp_path / "image.png", "L", PROFILES["gray 1.8"], 8)
    read = images.load_lossless(tmp_path / "image.png")
    data, _ = encode_image(read.image, {}, EncodingOptions("webp", quality=100, metadata="none"))
    found = Image.open(io.BytesIO(data))
    assert "icc_profile" not in found.info
    assert (np.asarray(found.convert("RGB")) == converted(high, PROFILES["gray 1.8"])).all()


@pytest.mark.parametrize("damage", [b"nonsense", PROFILES["linear"][:150], PROFILES["linear"][:300], b"\0" * 200])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_damaged_profiles_are_noted_and_read_as_srgb(tmp_path: Path, damage: bytes, mode: str) -> None:
    high, _ = save(tmp_path / "image.png", mode, damage, 8)
    loaded = images.load_image(tmp_path / "image.png")
    assert loaded.image.tobytes() == high.convert("RGB").tobytes()
    read = images.load_lossless(tmp_path / "image.png")
    assert "icc_profile" not in read.image.info
    for notes in (loaded.notes, read.notes):
        assert notes == ("The color profile of 'image.png' is ignored: it is not valid for the image.",)


def test_implausible_and_compressed_garbage_is_noted(tmp_path: Path) -> None:
    note = ("The color profile of 'image.png' is ignored: it is not valid for the image.",)
    black, white, hard = rgb_profile(1, ((0, 0, 0),) * 3), rgb_profile(0.004), rgb_profile(200)
    for profile in (black, white, hard, gray_profile(0.004)):
        high, _ = save(tmp_path / "image.png", "RGB" if b"RGB " in profile else "L", profile, 8)
        loaded = images.load_image(tmp_path / "image.png")
        assert (loaded.image.tobytes(), loaded.notes) == (high.convert("RGB").tobytes(), note)
    buffer = io.BytesIO()
    high.save(buffer, "PNG")
    body = b"iCCPname\0\0garbage"
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "image.png").write_bytes(buffer.getvalue()[:33] + chunk + buffer.getvalue()[33:])
    assert images.load_image(tmp_path / "image.png").notes == note


@pytest.mark.parametrize(("mode", "name"), [("RGB", "gray linear"), ("RGB", "CMYK"), ("L", "CMYK")])
def test_profiles_of_other_color_spaces_are_noted(tmp_path: Path, mode: str, name: str) -> None:
    high, _ = save(tmp_path / "image.png", mode, PROFILES[name], 8)
    loaded = images.load_image(tmp_path / "image.png")
    assert loaded.image.tobytes() == high.convert("RGB").tobytes()
    assert "is ignored" in loaded.notes[0]


@pytest.mark.parametrize("name", [name for name in PROFILES if name != "CMYK"])
def test_conversion_to_16_bits_has_no_error_in_dark_colors(name: str) -> None:
    """8-bit values of a linear profile have an error of 6 levels in dark colors."""
    mode = mode_of(name)
    profile = read_profile(PROFILES[name], mode)
    ramp = Image.frombytes("L", (256, 1), bytes(range(256))).convert("RGB")
    high, low = from_srgb_16bit(ramp, profile, mode)
    difference = np.abs(np.asarray(to_srgb(high, profile, low)).astype(int) - np.asarray(ramp))
    assert difference.max() <= 1


def test_png_color_spaces_without_a_profile_are_noted(tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    chunks = {
        b"gAMA": struct.pack(">I", 100_000),
        b"cHRM": struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000),
        b"cICP": bytes([9, 16, 0, 1]),
    }
    for name, data in chunks.items():
        info = PngInfo()
        info.add(name, data)
        Image.new("RGB", (3, 3)).save(tmp_path / "image.png", pnginfo=info)
        assert [name.decode() in note for note in images.load_image(tmp_path / "image.png").notes] == [True]
    for name, data in {b"gAMA": struct.pack(">I", 45455), b"sRGB": b"\0", b"cICP": bytes([1, 13, 0, 1])}.items():
        info = PngInfo()
        info.add(name, data)
        Image.new("RGB", (3, 3)).save(tmp_path / "image.png", pnginfo=info)
        assert images.load_image(tmp_path / "image.png").notes == ()


def test_profile_for_one_direction_is_converted_to_srgb(tmp_path: Path) -> None:
    """The profiles of scanners have no table from sRGB, so generated pixels cannot be converted to them."""
    from icc_profiles import rgb_scanner_profile

    save(tmp_path / "image.png", "RGB", rgb_scanner_profile(), 16)
    profile = read_profile(rgb_scanner_profile(), "RGB")
    assert profile is not None
    assert (profile.is_srgb, profile.is_invertible) == (False, False)
    loaded = images.load_image(tmp_path / "image.png", keep_source=True)
    assert loaded.source is None
    assert any("converted to sRGB" in note for note in loaded.notes)
    assert images.load_lossless(tmp_path / "image.png").image.info["icc_profile"] == rgb_scanner_profile()
