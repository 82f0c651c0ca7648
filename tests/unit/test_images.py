"""Test loading images and masks, and changing the canvas, with real files."""

import io
import itertools
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from artgen import images
from artgen.errors import InputFileError, UsageError
from artgen.outputs.png import encode_png


def gradient(width: int = 12, height: int = 8) -> Image.Image:
    y, x = numpy.mgrid[0:height, 0:width]
    return Image.fromarray(numpy.stack([x * 20, y * 30, x * y], axis=2).astype("uint8"), "RGB")


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.mode == other.mode and one.size == other.size and one.tobytes() == other.tobytes()


def python(program: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment, timeout=600
    )


def stored_pixels(image: Image.Image, orientation: int) -> Image.Image:
    """Return the pixels that EXIF `orientation` transforms to `image`."""
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    return image.transpose(Image.Transpose(inverse[orientation])) if orientation > 1 else image


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "webp", "tiff", "jpg"])
def test_every_orientation_gives_the_same_pixels(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = gradient().resize((48, 32), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[0x0112] = orientation
    if suffix != "tiff":  # Pillow cannot write it in TIFF
        exif[0x8825] = {1: "N", 2: (52.0, 31.0, 0.0)}
    path = tmp_path / f"fox.{suffix}"
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(suffix, {})
    stored_pixels(upright, orientation).save(path, exif=exif, **options)
    loaded = images.load_image(path).image
    difference = numpy.abs(numpy.asarray(loaded, int) - numpy.asarray(upright, int))
    assert loaded.size == upright.size
    assert difference.max() <= (3 if suffix == "jpg" else 0)
    assert not loaded.info
    assert not dict(loaded.getexif())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr", "LAB"])
def test_every_mode_is_loaded_as_rgb(tmp_path: Path, mode: str) -> None:
    source = gradient()
    if mode in ("I;16", "I", "F"):
        gray = numpy.asarray(source.convert("L"))
        image = {
            "I;16": lambda: Image.fromarray(gray.astype("uint16") * 257),
            "I": lambda: Image.fromarray(gray.astype("int32") * 257),
            "F": lambda: Image.fromarray(gray.astype("float32") / 255),
        }[mode]()
        expected = source.convert("L").convert("RGB")
    else:
        image = source.convert("RGBA").convert("PA") if mode == "PA" else _converted(source, mode)
        expected = image.convert("RGB")
    path = tmp_path / ("fox.png" if mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else "fox.tiff")
    try:
        image.save(path)
    except OSError:  # no supported format stores it; test only the split of the colors
        assert mode == "PA"
        from artgen.images.channels import split_alpha

        assert same(split_alpha(image, path).color, expected)
        return
    loaded = images.load_image(path)
    assert loaded.image.mode == "RGB"
    assert same(loaded.image, expected)
    assert loaded.alpha is None
    assert bool(loaded.notes) == (mode in ("CMYK", "I;16", "I", "F"))


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        result = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
        assert result is not None
        result.info.clear()
        return result
    return image.convert(mode)


def test_16_bits_are_scaled_without_clipping(tmp_path: Path) -> None:
    values = numpy.array([[0, 257, 32768, 65535]], "uint16")
    Image.fromarray(values).save(tmp_path / "16bit.png")
    loaded = images.load_image(tmp_path / "16bit.png")
    assert [pixel[0] for pixel in numpy.asarray(loaded.image)[0].tolist()] == [0, 1, 128, 255]
    assert "16-bit" in loaded.notes[0]


_CHUNKY = [{}, {"tile": (16, 16)}, {"compression": "zlib", "predictor": True}]
_PLANAR = [{"planarconfig": "separate"}, {"planarconfig": "separate", "rowsperstrip": 5}]
_COMPRESSED_PLANES = {"compression": "zlib", "planarconfig": "separate"}


def write_16bit_tiff(
    path: Path, values: "numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.uint16]]", **layout: Any
) -> None:
    """Write a TIFF with tifffile, which supports all layouts."""
    planes = values.transpose(2, 0, 1) if "planarconfig" in layout else values.squeeze()
    is_gray = values.shape[2] == 1
    tifffile.imwrite(path, numpy.ascontiguousarray(planes), photometric="minisblack" if is_gray else "rgb", **layout)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    ("mode", "layout"),
    [*itertools.product(["L", "RGB", "RGBA"], _CHUNKY), *itertools.product(["RGB", "RGBA"], _PLANAR)],
    ids=str,
)
def test_16_bit_tiffs_are_read_without_loss(tmp_path: Path, mode: str, layout: dict[str, Any], byteorder: str) -> None:
    values = numpy.random.default_rng(1).integers(0, 65536, (33, 21, len(mode)), dtype="uint16")
    more = {"extrasamples": ("unassalpha",)} if mode == "RGBA" else {}
    write_16bit_tiff(tmp_path / "16bit.tiff", values, byteorder=byteorder, **layout, **more)
    read = images.load_lossless(tmp_path / "16bit.tiff")
    assert read.image.mode == mode
    assert read.low_bytes is not None
    high, low = (numpy.asarray(part).reshape(values.shape).astype("uint16") for part in (read.image, read.low_bytes))
    numpy.testing.assert_array_equal(high * 256 + low, values)
    assert not read.notes
    loaded = images.load_image(tmp_path / "16bit.tiff")
    assert "16" in loaded.notes[0]
    if mode != "RGBA":
        difference = numpy.asarray(loaded.image).astype(int) - values / 257
        assert abs(difference).max() < 1


def test_loss_of_16_bits_is_noted(tmp_path: Path) -> None:
    values = numpy.random.default_rng(1).integers(0, 65536, (33, 21, 3), dtype="uint16")
    write_16bit_tiff(tmp_path / "planes.tiff", values, **_COMPRESSED_PLANES)
    read = images.load_lossless(tmp_path / "planes.tiff")
    numpy.testing.assert_array_equal(numpy.asarray(read.image), values >> 8)
    assert read.low_bytes is None
    assert read.notes == ("Only the high 8 bits of the 16-bit values in 'planes.tiff' are used.",)
    high, low = (Image.fromarray((part & 255).astype("uint8")) for part in (values >> 8, values))
    (tmp_path / "16bit.png").write_bytes(encode_png(high, {}, low_bytes=low))
    loaded = images.load_image(tmp_path / "16bit.png")
    assert loaded.notes == ("Only the high 8 bits of the 16-bit values in '16bit.png' are used.",)
    assert not images.load_lossless(tmp_path / "16bit.png").notes


def test_nan_values_are_rejected(tmp_path: Path) -> None:
    Image.fromarray(numpy.array([[0.5, numpy.nan]], "float32")).save(tmp_path / "bad.tiff")
    with pytest.raises(InputFileError, match="NaN"):
        images.load_image(tmp_path / "bad.tiff")


def test_transparent_pixels_are_blended_with_the_background(tmp_path: Path) -> None:
    image = Image.new("RGBA", (3, 1), (200, 0, 0, 255))
    image.putpixel((1, 0), (200, 0, 0, 0))
    image.putpixel((2, 0), (200, 0, 0, 128))
    image.save(tmp_path / "a.png")
    loaded = images.load_image(tmp_path / "a.png", background="#0000ff")
    assert loaded.image.getpixel((0, 0)) == (200, 0, 0)
    assert loaded.image.getpixel((1, 0)) == (0, 0, 255)
    assert loaded.image.getpixel((2, 0)) == (100, 0, 127)
    assert loaded.alpha is not None
    assert loaded.alpha.getpixel((1, 0)) == 0
    assert "#0000ff" in loaded.notes[0]
    with pytest.raises(UsageError, match="not a color"):
        images.load_image(tmp_path / "a.png", background="nope")


def test_transparent_palette_entry_gives_alpha(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "p.png", transparency=0)
    loaded = images.load_image(tmp_path / "p.png", background="black")
    assert loaded.image.getpixel((0, 0)) == (0, 0, 0)
    assert loaded.image.getpixel((1, 0)) == (200, 100, 50)


def test_color_profile_is_converted_to_srgb(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    gradient().save(tmp_path / "srgb.png", icc_profile=srgb)
    loaded = images.load_image(tmp_path / "srgb.png")
    assert same(loaded.image, gradient())
    assert loaded.notes == ()
    gradient().save(tmp_path / "broken.png", icc_profile=b"nonsense")
    assert "ignored" in images.load_image(tmp_path / "broken.png").notes[0]
    gradient().save(tmp_path / "swapped.png", icc_profile=_swap_red_and_blue(srgb))
    loaded = images.load_image(tmp_path / "swapped.png")
    assert "converted" in loaded.notes[0]
    red, green, blue = loaded.image.getpixel((11, 0))  # stored as (220, 0, 0) with a profile whose red primary is blue
    assert blue > 200
    assert max(red, green) < 30


def _swap_red_and_blue(profile: bytes) -> bytes:
    """Return an sRGB profile with swapped red and blue primaries and another name."""
    assert b"rXYZ" in profile
    swapped = profile.replace(b"rXYZ", b"tmpX", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tmpX", b"bXYZ", 1)
    for name in ("sRGB", "sRGB".encode("utf-16-be")):
        raw = name.encode() if isinstance(name, str) else name
        swapped = swapped.replace(raw, raw.replace(b"s", b"x"))
    return swapped


@pytest.mark.parametrize(("suffix", "many"), [("gif", True), ("webp", True), ("png", True), ("tiff", True)])
def test_the_first_frame_is_loaded(tmp_path: Path, suffix: str, many: bool) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    path = tmp_path / f"moving.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(path, save_all=many, append_images=frames[1:], **options)
    loaded = images.load_image(path)
    assert loaded.image.getpixel((4, 4)) == (255, 0, 0)
    assert "2 images" in loaded.notes[0]


def _noise(size: int = 64) -> Image.Image:
    return Image.frombytes("RGB", (size, size), numpy.random.default_rng(1).bytes(3 * size * size))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff", "bmp", "gif"])
@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.9])
def test_truncated_files_are_rejected(tmp_path: Path, suffix: str, fraction: float) -> None:
    complete = tmp_path / f"complete.{suffix}"
    _noise().save(complete)
    images.load_image(complete)
    data = complete.read_bytes()
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(data[: int(len(data) * fraction)])
    with pytest.raises(InputFileError, match=r"cut\.") as caught:
        images.load_image(path)
    assert caught.value.exit_code == 3


def test_damaged_png_data_is_rejected(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    _noise().save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "bit.png").write_bytes(data)
    with pytest.raises(InputFileError, match="damaged"):
        images.load_image(tmp_path / "bit.png")


def test_wrong_checksum_is_rejected(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    _noise().save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[-13] ^= 0xFF  # last byte of the IDAT checksum, before the 12 bytes of IEND
    (tmp_path / "crc.png").write_bytes(data)
    with pytest.raises(InputFileError, match="damaged"):
        images.load_image(tmp_path / "crc.png")


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"]), st.integers(0, 2000), st.binary(max_size=40))
def test_random_changes_give_an_input_error_or_an_image(
    tmp_path_factory: pytest.TempPathFactory, kind: str, offset: int, junk: bytes
) -> None:
    buffer = io.BytesIO()
    _noise(16).save(buffer, kind)
    data = bytearray(buffer.getvalue())
    data[offset : offset + len(junk)] = junk
    path = tmp_path_factory.mktemp("junk") / "x.bin"
    path.write_bytes(data)
    message = ""
    try:
        mode = images.load_image(path).image.mode
    except InputFileError as error:
        mode, message = None, error.message
    assert mode == "RGB" or str(path) in message


def test_decompression_bombs_are_rejected_before_decoding(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("1", (1, 1)).save(buffer, "PNG")
    data = buffer.getvalue()
    header = b"IHDR" + struct.pack(">II", 20_000, 20_000) + data[24:29]
    (tmp_path / "bomb.png").write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])
    with pytest.raises(InputFileError, match="pixels"):
        images.load_image(tmp_path / "bomb.png")
    gradient().save(tmp_path / "fox.png")
    with pytest.raises(InputFileError, match="12x8 = 96 pixels; the limit is 95"):
        images.load_image(tmp_path / "fox.png", max_pixels=95)


def test_unusable_files_give_a_reason(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("this is a poem", "utf-8")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "paper.png").write_bytes(b"%PDF-1.7 \xff\xfe")
    gradient().save(tmp_path / "vector.ico")
    for name, reason in {
        "nowhere.png": "does not exist",
        "nowhere\udcff.png": "does not exist",
        "text.png": "content is text",
        "empty.png": "is empty",
        "paper.png": "a PDF document",
        "vector.ico": "Cannot read .* as an image",
        "": "is a folder",
    }.items():
        with pytest.raises(InputFileError, match=reason) as caught:
            images.load_image(tmp_path / name)
        assert str(tmp_path / name).encode("utf-8", "backslashreplace").decode() in caught.value.message
    with pytest.raises(InputFileError):
        images.load_image(Path("nul\0.png"))


def test_missing_read_permission_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    gradient().save(path)
    path.chmod(0)
    program = (
        "import os, sys, pathlib\nfrom artgen import errors\nfrom artgen.images import load_image\n"
        "import PIL.PngImagePlugin, PIL.ImageCms\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        f"try: load_image(pathlib.Path({str(path)!r}))\n"
        "except errors.InputFileError as error: print(error.message); sys.exit(error.exit_code)\n"
    )
    done = python(program)
    assert done.returncode == 3, done.stderr
    assert "permission" in done.stdout


def test_mask_coverage_inversion_and_size(tmp_path: Path) -> None:
    half = Image.new("L", (10, 10), 0)
    half.paste(255, (0, 0, 5, 10))
    half.save(tmp_path / "half.png")
    loaded = images.load_mask(tmp_path / "half.png", (10, 10))
    assert loaded.coverage == 0.5
    assert same(loaded.mask, half)
    assert loaded.notes == ()
    inverted = images.load_mask(tmp_path / "half.png", (10, 10), invert=True)
    assert inverted.mask.getpixel((0, 0)) == 0
    assert inverted.mask.getpixel((9, 0)) == 255
    with pytest.raises(InputFileError, match="10x10, but the image is 20x30") as caught:
        images.load_mask(tmp_path / "half.png", (20, 30))
    assert "--resize-mask" in caught.value.hint
    resized = images.load_mask(tmp_path / "half.png", (20, 30), resize=True)
    assert resized.mask.size == (20, 30)
    assert "10x10 to 20x30" in resized.notes[0]


def test_empty_mask_is_rejected_and_full_mask_is_noted(tmp_path: Path) -> None:
    Image.new("RGB", (10, 10), "black").save(tmp_path / "black.png")
    with pytest.raises(InputFileError, match="is empty"):
        images.load_mask(tmp_path / "black.png", (10, 10))
    full = images.load_mask(tmp_path / "black.png", (10, 10), invert=True)
    assert full.coverage == 1
    assert "100.0%" in full.notes[0]
    Image.new("L", (10, 10), 255).save(tmp_path / "white.png")
    with pytest.raises(InputFileError, match="are white, which --invert-mask keeps"):
        images.load_mask(tmp_path / "white.png", (10, 10), invert=True)
    one = Image.new("L", (10, 10), 0)
    one.putpixel((3, 3), 1)
    one.save(tmp_path / "faint.png")
    assert images.load_mask(tmp_path / "faint.png", (10, 10)).coverage == pytest.approx(0.01)


def test_mask_from_the_alpha_channel(tmp_path: Path) -> None:
    strokes = Image.new("RGBA", (4, 1), (30, 30, 30, 0))
    strokes.putpixel((1, 0), (30, 30, 30, 255))
    strokes.save(tmp_path / "strokes.png")
    loaded = images.load_mask(tmp_path / "strokes.png", (4, 1))
    assert list(loaded.mask.tobytes()) == [0, 255, 0, 0]
    assert "its transparency is the mask: opaque pixels are repainted" in loaded.notes[0]
    both = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
    both.putpixel((1, 0), (255, 255, 255, 255))
    both.putpixel((2, 0), (255, 255, 255, 0))
    both.save(tmp_path / "both.png")
    assert list(images.load_mask(tmp_path / "both.png", (3, 1)).mask.tobytes()) == [0, 255, 0]


PIXELS = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(PIXELS, st.data())
def test_composite_keeps_unmasked_pixels(size: tuple[int, int], data: st.DataObject) -> None:
    count = size[0] * size[1]
    raw = {name: data.draw(st.binary(min_size=n, max_size=n)) for name, n in (("a", 3 * count), ("b", 3 * count))}
    source, strokes = (Image.frombytes("RGB", size, raw[name]) for name in "ab")
    values = data.draw(st.lists(st.sampled_from([0, 0, 1, 128, 254, 255]), min_size=count, max_size=count))
    mask = Image.frombytes("L", size, bytes(values))
    for applied_mask in (mask, images.feather(mask, 2.5)):
        result = numpy.asarray(images.composite(source, strokes, applied_mask)).astype(float)
        weight = numpy.asarray(applied_mask).astype(float)[..., None] / 255
        one, other = numpy.asarray(source).astype(float), numpy.asarray(strokes).astype(float)
        kept = numpy.asarray(mask) == 0
        assert (result[kept] == one[kept]).all()
        assert (numpy.abs(result - (one * (1 - weight) + other * weight)) <= 0.51).all()


def test_composite_rejects_different_sizes() -> None:
    with pytest.raises(ValueError, match="cannot composite"):
        images.composite(gradient(), gradient(4, 4), Image.new("L", (12, 8)))


@given(PIXELS, st.sampled_from([1, 2, 8, 64]), st.sampled_from(["RGB", "L"]), st.data())
def test_padding_equals_numpy_reflect(size: tuple[int, int], multiple: int, mode: str, data: st.DataObject) -> None:
    length = size[0] * size[1] * (3 if mode == "RGB" else 1)
    image = Image.frombytes(mode, size, data.draw(st.binary(min_size=length, max_size=length)))
    padded, box = images.pad_to_multiple(image, multiple)
    assert padded.width % multiple == padded.height % multiple == 0
    assert padded.width - image.width < multiple
    assert same(padded.crop(box), image)
    extra = [(0, padded.height - image.height), (0, padded.width - image.width), (0, 0)][: 3 if mode == "RGB" else 2]
    assert (numpy.asarray(padded) == numpy.pad(numpy.asarray(image), extra, mode="reflect")).all()


def test_image_with_a_valid_size_is_not_padded() -> None:
    image = gradient(16, 8)
    assert images.pad_to_multiple(image, 8)[0] is image


def test_expanding_keeps_the_original_pixels() -> None:
    image = gradient()
    canvas, mask = images.expand_canvas(image, left=5, top=20, right=0, bottom=3)
    assert canvas.size == mask.size == (17, 31)
    box = (5, 20, 17, 28)
    assert same(canvas.crop(box), image)
    assert mask.crop(box).getextrema() == (0, 0)
    assert mask.histogram()[255] == 17 * 31 - 12 * 8
    flat, _ = images.expand_canvas(Image.new("RGB", (1, 1), (9, 80, 200)), left=2, right=2, top=2, bottom=2)
    assert flat.getcolors() == [(25, (9, 80, 200))]


def test_parse_expand() -> None:
    assert images.parse_expand("64") == images.Expansion(64, 64, 64, 64)
    assert images.parse_expand(" left=64, top=32") == images.Expansion(64, 32, 0, 0)
    assert images.parse_expand("x=8,y=16") == images.Expansion(8, 16, 8, 16)
    assert images.parse_expand("64").expanded_size(10, 20) == (138, 148)
    for text in (
        "",
        "0",
        "-1",
        "left",
        "left=",
        "up=3",
        "left=1,x=2",
        "64,64",
        "left=9999",
        "left=1,",
        "1.5",
        "=5",
        "٣",
    ):
        with pytest.raises(UsageError):
            images.parse_expand(text)
    assert images.expansion_to_size((100, 101), 103, 101) == images.Expansion(1, 0, 2, 0)
    for width, height in ((99, 200), (100, 101), (100_000, 101)):
        with pytest.raises(UsageError):
            images.expansion_to_size((100, 101), width, height)


def test_parse_size() -> None:
    assert images.parse_size("768x512") == images.parse_size("768X512") == images.parse_size("768×512") == (768, 512)
    for text in ("", "768", "0x5", "-1x5", "1x2x3", "axb", "1.5x2", "99999999x1"):
        with pytest.raises(UsageError):
            images.parse_size(text)
    assert images.nearest_sizes(500, 512, 8) == ((496, 512), (504, 512))
    assert images.nearest_sizes(3, 9, 8)[0] == (8, 8)
    assert images.nearest_sizes(512, 512, 8) == ((512, 512),)


def test_import_loads_neither_numpy_nor_torch() -> None:
    program = "import sys, artgen.images, artgen.metadata, artgen.outputs, artgen.system.terminal\n"
    program += "sys.exit(bool({'numpy', 'torch', 'rich'} & set(sys.modules)))"
    assert python(program).returncode == 0


def test_metadata_of_the_input_is_dropped(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "secret")
    gradient().save(tmp_path / "t.png", pnginfo=text)
    loaded = images.load_image(tmp_path / "t.png")
    assert loaded.image.info == {}
    assert len(loaded.sha256) == 64
