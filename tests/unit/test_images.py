"""Loading, masks and canvases, on real files."""

import io
import itertools
import os
import subprocess
import sys
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


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """The stored pixels that EXIF `orientation` turns back into `image`."""
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    return image.transpose(Image.Transpose(inverse[orientation])) if orientation > 1 else image


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "webp", "tiff", "jpg"])
def test_every_orientation_gives_the_same_pixels(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = gradient().resize((48, 32), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[0x0112] = orientation
    if suffix != "tiff":  # Pillow cannot write it there
        exif[0x8825] = {1: "N", 2: (52.0, 31.0, 0.0)}
    path = tmp_path / f"fox.{suffix}"
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(suffix, {})
    turned(upright, orientation).save(path, exif=exif, **options)
    loaded = images.load_image(path).image
    difference = numpy.abs(numpy.asarray(loaded, int) - numpy.asarray(upright, int))
    assert loaded.size == upright.size
    assert difference.max() <= (3 if suffix == "jpg" else 0)
    assert not loaded.info
    assert not dict(loaded.getexif())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr", "LAB"])
def test_every_mode_ends_in_rgb(tmp_path: Path, mode: str) -> None:
    source = gradient()
    if mode in ("I;16", "I", "F"):
        grey = numpy.asarray(source.convert("L"))
        image = {
            "I;16": lambda: Image.fromarray(grey.astype("uint16") * 257),
            "I": lambda: Image.fromarray(grey.astype("int32") * 257),
            "F": lambda: Image.fromarray(grey.astype("float32") / 255),
        }[mode]()
        wanted = source.convert("L").convert("RGB")
    else:
        image = source.convert("RGBA").convert("PA") if mode == "PA" else _converted(source, mode)
        wanted = image.convert("RGB")
    path = tmp_path / ("fox.png" if mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else "fox.tiff")
    try:
        image.save(path)
    except OSError:  # no format of ours stores it; the splitting of colours is still tested
        assert mode == "PA"
        from artgen.images.loading import split_alpha

        assert same(split_alpha(image, path).color, wanted)
        return
    loaded = images.load_image(path)
    assert loaded.image.mode == "RGB"
    assert same(loaded.image, wanted)
    assert loaded.alpha is None
    assert bool(loaded.notes) == (mode in ("I;16", "I", "F"))


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        result = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
        assert result is not None
        result.info.clear()
        return result
    return image.convert(mode)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    values = numpy.array([[0, 257, 32768, 65535]], "uint16")
    Image.fromarray(values).save(tmp_path / "deep.png")
    loaded = images.load_image(tmp_path / "deep.png")
    assert [pixel[0] for pixel in numpy.asarray(loaded.image)[0].tolist()] == [0, 1, 128, 255]
    assert "16-bit" in loaded.notes[0]


_CHUNKY = [{}, {"tile": (16, 16)}, {"compression": "zlib", "predictor": True}]
_PLANAR = [{"planarconfig": "separate"}, {"planarconfig": "separate", "rowsperstrip": 5}]
_UPPER = {"compression": "zlib", "planarconfig": "separate"}


def write_deep_tiff(
    path: Path, values: "numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.uint16]]", **how: Any
) -> None:
    """By tifffile, which knows them all."""
    planes = values.transpose(2, 0, 1) if "planarconfig" in how else values.squeeze()
    grey = values.shape[2] == 1
    tifffile.imwrite(path, numpy.ascontiguousarray(planes), photometric="minisblack" if grey else "rgb", **how)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    ("mode", "how"),
    [*itertools.product(["L", "RGB", "RGBA"], _CHUNKY), *itertools.product(["RGB", "RGBA"], _PLANAR)],
    ids=str,
)
def test_tiffs_of_sixteen_bits_are_read_whole(tmp_path: Path, mode: str, how: dict[str, Any], byteorder: str) -> None:
    values = numpy.random.default_rng(1).integers(0, 65536, (33, 21, len(mode)), dtype="uint16")
    more = {"extrasamples": ("unassalpha",)} if mode == "RGBA" else {}
    write_deep_tiff(tmp_path / "deep.tiff", values, byteorder=byteorder, **how, **more)
    read = images.load_lossless(tmp_path / "deep.tiff")
    assert read.image.mode == mode
    assert read.low_bytes is not None
    high, low = (numpy.asarray(part).reshape(values.shape).astype("uint16") for part in (read.image, read.low_bytes))
    numpy.testing.assert_array_equal(high * 256 + low, values)
    assert not read.notes
    loaded = images.load_image(tmp_path / "deep.tiff")
    assert "16" in loaded.notes[0]
    if mode != "RGBA":
        difference = numpy.asarray(loaded.image).astype(int) - values / 257
        assert abs(difference).max() < 1


def test_what_is_lost_of_sixteen_bits_is_said(tmp_path: Path) -> None:
    values = numpy.random.default_rng(1).integers(0, 65536, (33, 21, 3), dtype="uint16")
    write_deep_tiff(tmp_path / "planes.tiff", values, **_UPPER)
    read = images.load_lossless(tmp_path / "planes.tiff")
    numpy.testing.assert_array_equal(numpy.asarray(read.image), values >> 8)
    assert read.low_bytes is None
    assert read.notes == ("of the 16 bits of each value in 'planes.tiff' the upper 8 are used",)
    high, low = (Image.fromarray((part & 255).astype("uint8")) for part in (values >> 8, values))
    (tmp_path / "deep.png").write_bytes(encode_png(high, {}, low_bytes=low))
    loaded = images.load_image(tmp_path / "deep.png")
    assert loaded.notes == ("of the 16 bits of each value in 'deep.png' the upper 8 are used",)
    assert not images.load_lossless(tmp_path / "deep.png").notes


def test_values_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    Image.fromarray(numpy.array([[0.5, numpy.nan]], "float32")).save(tmp_path / "bad.tiff")
    with pytest.raises(InputFileError, match="NaN"):
        images.load_image(tmp_path / "bad.tiff")


def test_transparency_lies_over_the_background(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (3, 1), (200, 0, 0, 255))
    picture.putpixel((1, 0), (200, 0, 0, 0))
    picture.putpixel((2, 0), (200, 0, 0, 128))
    picture.save(tmp_path / "a.png")
    loaded = images.load_image(tmp_path / "a.png", background="#0000ff")
    assert loaded.image.getpixel((0, 0)) == (200, 0, 0)
    assert loaded.image.getpixel((1, 0)) == (0, 0, 255)
    assert loaded.image.getpixel((2, 0)) == (100, 0, 127)
    assert loaded.alpha is not None
    assert loaded.alpha.getpixel((1, 0)) == 0
    assert "#0000ff" in loaded.notes[0]
    with pytest.raises(UsageError, match="not a colour"):
        images.load_image(tmp_path / "a.png", background="nope")


def test_a_transparent_palette_entry_counts_as_alpha(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / "p.png", transparency=0)
    loaded = images.load_image(tmp_path / "p.png", background="black")
    assert loaded.image.getpixel((0, 0)) == (0, 0, 0)
    assert loaded.image.getpixel((1, 0)) == (200, 100, 50)


def test_a_colour_profile_is_converted(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    gradient().save(tmp_path / "srgb.png", icc_profile=lab)
    loaded = images.load_image(tmp_path / "srgb.png")
    assert same(loaded.image, gradient())
    assert loaded.notes == ()
    gradient().save(tmp_path / "broken.png", icc_profile=b"nonsense")
    assert "ignored" in images.load_image(tmp_path / "broken.png").notes[0]
    gradient().save(tmp_path / "swapped.png", icc_profile=_swapped(lab))
    loaded = images.load_image(tmp_path / "swapped.png")
    assert "converted" in loaded.notes[0]
    red, green, blue = loaded.image.getpixel((11, 0))  # stored (220, 0, 0) on a profile whose red is blue
    assert blue > 200
    assert max(red, green) < 30


def _swapped(profile: bytes) -> bytes:
    """An sRGB profile whose red and blue primaries are exchanged, under another name."""
    assert b"rXYZ" in profile
    swapped = profile.replace(b"rXYZ", b"tmpX", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tmpX", b"bXYZ", 1)
    for name in ("sRGB", "sRGB".encode("utf-16-be")):
        raw = name.encode() if isinstance(name, str) else name
        swapped = swapped.replace(raw, raw.replace(b"s", b"x"))
    return swapped


@pytest.mark.parametrize(("suffix", "many"), [("gif", True), ("webp", True), ("png", True), ("tiff", True)])
def test_the_first_frame_is_taken(tmp_path: Path, suffix: str, many: bool) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    path = tmp_path / f"moving.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(path, save_all=many, append_images=frames[1:], **options)
    loaded = images.load_image(path)
    assert loaded.image.getpixel((4, 4)) == (255, 0, 0)
    assert "2 pictures" in loaded.notes[0]


def _noise(size: int = 64) -> Image.Image:
    return Image.frombytes("RGB", (size, size), numpy.random.default_rng(1).bytes(3 * size * size))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff", "bmp", "gif"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    whole = tmp_path / f"whole.{suffix}"
    _noise().save(whole)
    images.load_image(whole)
    data = whole.read_bytes()
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputFileError, match=r"cut\.") as caught:
        images.load_image(path)
    assert caught.value.exit_code == 3


def test_damaged_png_data_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    _noise().save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "bit.png").write_bytes(data)
    with pytest.raises(InputFileError, match="damaged"):
        images.load_image(tmp_path / "bit.png")


def test_a_wrong_check_sum_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    _noise().save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[-13] ^= 0xFF  # the last byte of the pixels' CRC, before the twelve bytes of IEND
    (tmp_path / "crc.png").write_bytes(data)
    with pytest.raises(InputFileError, match="damaged"):
        images.load_image(tmp_path / "crc.png")


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"]), st.integers(0, 2000), st.binary(max_size=40))
def test_garbage_is_an_input_error_or_a_picture(
    tmp_path_factory: pytest.TempPathFactory, kind: str, at: int, junk: bytes
) -> None:
    buffer = io.BytesIO()
    _noise(16).save(buffer, kind)
    data = bytearray(buffer.getvalue())
    data[at : at + len(junk)] = junk
    path = tmp_path_factory.mktemp("junk") / "x.bin"
    path.write_bytes(data)
    message = ""
    try:
        mode = images.load_image(path).image.mode
    except InputFileError as error:
        mode, message = None, error.message
    assert mode == "RGB" or str(path) in message


def test_bombs_are_refused_before_decoding(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    with pytest.raises(InputFileError, match="pixels"):
        images.load_image(tmp_path / "bomb.png")
    gradient().save(tmp_path / "fox.png")
    with pytest.raises(InputFileError, match="12x8, 96 pixels; at most 95"):
        images.load_image(tmp_path / "fox.png", max_pixels=95)


def test_what_is_no_picture_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("this is a poem", "utf-8")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "paper.png").write_bytes(b"%PDF-1.7 \xff\xfe")
    gradient().save(tmp_path / "vector.ico")
    for name, reason in {
        "nowhere.png": "does not exist",
        "nowhere\udcff.png": "does not exist",
        "text.png": "looks like text",
        "empty.png": "is empty",
        "paper.png": "a PDF document",
        "vector.ico": "not a picture that can be read",
        "": "is a folder",
    }.items():
        with pytest.raises(InputFileError, match=reason) as caught:
            images.load_image(tmp_path / name)
        assert str(tmp_path / name).encode("utf-8", "backslashreplace").decode() in caught.value.message
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputFileError, match="regular file"):
        images.load_image(tmp_path / "pipe.png")
    with pytest.raises(InputFileError):
        images.load_image(Path("nul\0.png"))


def test_a_file_without_permission_is_said(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    gradient().save(path)
    path.chmod(0)
    program = (
        "import os, sys, pathlib\nfrom artgen import images, errors\n"
        "import PIL.PngImagePlugin, PIL.ImageCms\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        f"try: images.load_image(pathlib.Path({str(path)!r}))\n"
        "except errors.InputFileError as error: print(error.message); sys.exit(error.exit_code)\n"
    )
    done = python(program)
    assert done.returncode == 3, done.stderr
    assert "permission" in done.stdout


def test_masks(tmp_path: Path) -> None:
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
    with pytest.raises(InputFileError, match="10x10 and the picture is 20x30") as caught:
        images.load_mask(tmp_path / "half.png", (20, 30))
    assert "--resize-mask" in caught.value.hint
    fitted = images.load_mask(tmp_path / "half.png", (20, 30), resize=True)
    assert fitted.mask.size == (20, 30)
    assert "10x10 to 20x30" in fitted.notes[0]


def test_an_empty_mask_is_refused_and_a_full_one_noted(tmp_path: Path) -> None:
    Image.new("RGB", (10, 10), "black").save(tmp_path / "black.png")
    with pytest.raises(InputFileError, match="repaints nothing"):
        images.load_mask(tmp_path / "black.png", (10, 10))
    full = images.load_mask(tmp_path / "black.png", (10, 10), invert=True)
    assert full.coverage == 1
    assert "100.0%" in full.notes[0]
    Image.new("L", (10, 10), 255).save(tmp_path / "white.png")
    with pytest.raises(InputFileError, match="once inverted"):
        images.load_mask(tmp_path / "white.png", (10, 10), invert=True)
    one = Image.new("L", (10, 10), 0)
    one.putpixel((3, 3), 1)
    one.save(tmp_path / "faint.png")
    assert images.load_mask(tmp_path / "faint.png", (10, 10)).coverage == pytest.approx(0.01)


def test_masks_with_transparency(tmp_path: Path) -> None:
    painted = Image.new("RGBA", (4, 1), (30, 30, 30, 0))
    painted.putpixel((1, 0), (30, 30, 30, 255))
    painted.save(tmp_path / "strokes.png")
    loaded = images.load_mask(tmp_path / "strokes.png", (4, 1))
    assert list(loaded.mask.tobytes()) == [0, 255, 0, 0]
    assert "transparency is used" in loaded.notes[0]
    both = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
    both.putpixel((1, 0), (255, 255, 255, 255))
    both.putpixel((2, 0), (255, 255, 255, 0))
    both.save(tmp_path / "both.png")
    assert list(images.load_mask(tmp_path / "both.png", (3, 1)).mask.tobytes()) == [0, 255, 0]


PIXELS = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(PIXELS, st.data())
def test_composite_keeps_what_is_not_masked(size: tuple[int, int], data: st.DataObject) -> None:
    count = size[0] * size[1]
    raw = {name: data.draw(st.binary(min_size=n, max_size=n)) for name, n in (("a", 3 * count), ("b", 3 * count))}
    source, painted = (Image.frombytes("RGB", size, raw[name]) for name in "ab")
    values = data.draw(st.lists(st.sampled_from([0, 0, 1, 128, 254, 255]), min_size=count, max_size=count))
    mask = Image.frombytes("L", size, bytes(values))
    for used in (mask, images.feather(mask, 2.5)):
        result = numpy.asarray(images.composite(source, painted, used)).astype(float)
        weight = numpy.asarray(used).astype(float)[..., None] / 255
        one, other = numpy.asarray(source).astype(float), numpy.asarray(painted).astype(float)
        kept = numpy.asarray(mask) == 0
        assert (result[kept] == one[kept]).all()
        assert (numpy.abs(result - (one * (1 - weight) + other * weight)) <= 0.51).all()


def test_composite_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="cannot composite"):
        images.composite(gradient(), gradient(4, 4), Image.new("L", (12, 8)))


@given(PIXELS, st.sampled_from([1, 2, 8, 64]), st.sampled_from(["RGB", "L"]), st.data())
def test_padding_is_a_reflection(size: tuple[int, int], multiple: int, mode: str, data: st.DataObject) -> None:
    length = size[0] * size[1] * (3 if mode == "RGB" else 1)
    image = Image.frombytes(mode, size, data.draw(st.binary(min_size=length, max_size=length)))
    padded, box = images.pad_to_multiple(image, multiple)
    assert padded.width % multiple == padded.height % multiple == 0
    assert padded.width - image.width < multiple
    assert same(padded.crop(box), image)
    extra = [(0, padded.height - image.height), (0, padded.width - image.width), (0, 0)][: 3 if mode == "RGB" else 2]
    assert (numpy.asarray(padded) == numpy.pad(numpy.asarray(image), extra, mode="reflect")).all()


def test_a_fitting_picture_is_not_padded() -> None:
    image = gradient(16, 8)
    assert images.pad_to_multiple(image, 8)[0] is image


def test_expanding_keeps_the_original() -> None:
    image = gradient()
    canvas, mask = images.expand_canvas(image, left=5, top=20, right=0, bottom=3)
    assert canvas.size == mask.size == (17, 31)
    box = (5, 20, 17, 28)
    assert same(canvas.crop(box), image)
    assert mask.crop(box).getextrema() == (0, 0)
    assert mask.histogram()[255] == 17 * 31 - 12 * 8
    flat, _ = images.expand_canvas(Image.new("RGB", (1, 1), (9, 80, 200)), left=2, right=2, top=2, bottom=2)
    assert flat.getcolors() == [(25, (9, 80, 200))]


def test_expansions_are_read() -> None:
    assert images.parse_expand("64") == images.Expansion(64, 64, 64, 64)
    assert images.parse_expand(" left=64, top=32") == images.Expansion(64, 32, 0, 0)
    assert images.parse_expand("x=8,y=16") == images.Expansion(8, 16, 8, 16)
    assert images.parse_expand("64").expanded_size(10, 20) == (138, 148)
    for bad in (
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
            images.parse_expand(bad)
    assert images.expansion_to_size((100, 101), 103, 101) == images.Expansion(1, 0, 2, 0)
    for width, height in ((99, 200), (100, 101), (100_000, 101)):
        with pytest.raises(UsageError):
            images.expansion_to_size((100, 101), width, height)


def test_sizes_are_read() -> None:
    assert images.parse_size("768x512") == images.parse_size("768X512") == images.parse_size("768×512") == (768, 512)
    for bad in ("", "768", "0x5", "-1x5", "1x2x3", "axb", "1.5x2", "99999999x1"):
        with pytest.raises(UsageError):
            images.parse_size(bad)
    assert images.nearest_sizes(500, 512, 8) == ((496, 512), (504, 512))
    assert images.nearest_sizes(3, 9, 8)[0] == (8, 8)
    assert images.nearest_sizes(512, 512, 8) == ((512, 512),)


def test_loading_needs_no_numpy() -> None:
    program = "import sys, artgen.images, artgen.metadata, artgen.outputs, artgen.system.terminal\n"
    program += "sys.exit(bool({'numpy', 'torch', 'rich'} & set(sys.modules)))"
    assert python(program).returncode == 0


def test_no_text_of_the_input_is_kept(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "secret")
    gradient().save(tmp_path / "t.png", pnginfo=text)
    loaded = images.load_image(tmp_path / "t.png")
    assert loaded.image.info == {}
    assert len(loaded.sha256) == 64
