"""Test the input images of the Python API: every kind of object gives the pixels of the file that it stands for."""

import copy
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from artgen import images
from artgen.api.inputs import input_file
from artgen.errors import InputFileError, UsageError
from artgen.system.input_files import is_regular_file, open_input, read_input
from artgen.system.memory_file import MEMORY_NAME, MemoryFile

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "I;16B", "F")
SIZE = (6, 5)


def example(mode: str) -> Image.Image:
    """Return an image with many colors, and transparency if the mode has it."""
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE[::-1], 4), np.uint8)
    if mode == "F":
        return Image.fromarray(pixels[..., 0].astype(np.float32))
    if mode.startswith("I"):
        wide = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
        return wide if mode == "I;16" else wide.convert("I") if mode == "I" else wide.convert("I").convert("I;16B")
    rgba = Image.fromarray(pixels, "RGBA")
    if mode == "PA":
        return rgba.convert("P").convert("PA")
    return rgba.convert("RGB").convert("LAB") if mode == "LAB" else rgba.convert(mode)


@pytest.mark.parametrize("mode", MODES)
def test_pil_image_of_every_mode_is_read(mode: str) -> None:
    image = example(mode)
    before = image.tobytes()
    loaded = images.load_image(input_file(image), keep_source=True)
    assert loaded.image.size == SIZE
    assert (image.mode, image.tobytes()) == (mode, before)  # the object of the caller does not change
    if mode in ("RGB", "RGBA", "L", "LA", "1", "P"):
        expected = image.convert("RGBA")
        expected = Image.alpha_composite(Image.new("RGBA", SIZE, "white"), expected).convert("RGB")
        assert np.abs(np.asarray(loaded.image, int) - np.asarray(expected, int)).max() <= 1
    if mode == "I;16":
        source = loaded.source
        assert source is not None
        assert source.low_bytes is not None
        values = np.asarray(source.image).astype(int) * 256 + np.asarray(source.low_bytes)
        assert np.array_equal(values, np.asarray(image))


def test_pil_image_keeps_profile_orientation_and_transparency() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    example("RGB").save("a.png", icc_profile=profile, exif=exif, dpi=(300, 300))
    example("RGB").quantize(8).save("b.png", transparency=0)
    for name in ("a.png", "b.png"):
        with Image.open(name) as image:
            from_object = images.load_lossless(input_file(image))
        from_file = images.load_lossless(Path(name))
        assert from_object.image.tobytes() == from_file.image.tobytes()
        assert from_object.image.info.keys() == from_file.image.info.keys()
        assert (from_object.image.mode, from_object.image.size) == (from_file.image.mode, from_file.image.size)


def test_closed_and_damaged_pil_images_are_refused() -> None:
    example("RGB").save("a.png")
    closed = Image.open("a.png")
    closed.close()
    damaged = Image.open(io.BytesIO(Path("a.png").read_bytes()[:60]))
    for image in (closed, damaged, Image.new("RGB", (0, 0))):
        with pytest.raises(InputFileError, match=r"^Cannot read the PIL image of mask: .*\."):
            input_file(image, "mask")


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((5, 6, 3), np.uint8),
        np.arange(90, dtype=np.uint8).reshape(5, 6, 3)[::-1, ::2],
        np.asfortranarray(np.arange(90, dtype=np.uint8).reshape(5, 6, 3)),
        np.arange(120, dtype=np.uint8).reshape(5, 6, 4),
        np.arange(60, dtype=np.uint8).reshape(5, 6, 2),
        np.arange(30, dtype=np.uint8).reshape(5, 6),
        np.arange(30, dtype=np.uint8).reshape(5, 6, 1),
    ],
)
def test_8bit_array_is_stored_exactly(pixels: NDArray[np.uint8]) -> None:
    before = pixels.copy()
    loaded = images.load_lossless(input_file(pixels))
    assert np.array_equal(np.asarray(loaded.image), before.squeeze())
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 2), (5, 6, 3), (5, 6, 4)])
@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_16bit_array_is_stored_exactly(shape: tuple[int, ...], dtype: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 65536, shape).astype(dtype)
    loaded = images.load_lossless(input_file(pixels))
    assert loaded.low_bytes is not None
    values = np.asarray(loaded.image).astype(int) * 256 + np.asarray(loaded.low_bytes)
    assert np.array_equal(values, pixels)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_rounded_to_8_bits(dtype: type) -> None:
    values = np.array([[0, 1, 0.5, 1 / 255, 1.0000001, -1e-7]], dtype)
    loaded = images.load_lossless(input_file(values))
    assert np.asarray(loaded.image).tolist() == [[0, 255, 128, 1, 255, 0]]


def test_bool_array_is_a_mask() -> None:
    mask = np.zeros((5, 6), bool)
    mask[1:3, 2:4] = True
    loaded = images.load_mask(input_file(mask, "mask"), SIZE)
    assert np.array_equal(np.asarray(loaded.mask) == 255, mask)
    assert loaded.coverage == pytest.approx(mask.mean())


@pytest.mark.parametrize(
    ("array", "message", "hint"),
    [
        (np.zeros((3, 5, 6), np.uint8), "shape", "numpy.moveaxis(image, 0, -1)"),
        (np.zeros((1, 5, 6, 3), np.uint8), "shape", "image[0]"),
        (np.zeros((5, 6, 5), np.uint8), "shape", ""),
        (np.zeros((0, 6, 3), np.uint8), "shape", ""),
        (np.zeros(6, np.uint8), "shape", ""),
        (np.array(3, np.uint8), "shape", ""),
        (np.zeros((5, 6), np.int64), "type", "image.astype('uint8')"),
        (np.zeros((5, 6), np.complex64), "type", ""),
        (np.zeros((5, 6), object), "type", ""),
        (np.full((5, 6), 255.0), "0 to 1, not values from 255 to 255", "image / 255"),
        (np.linspace(-1, 1, 30).reshape(5, 6), "0 to 1, not values from -1 to 1", "(image + 1) / 2"),
        (np.full((5, 6), np.nan), "0 to 1, not NaN or infinity", ""),
        (np.full((5, 6), np.inf), "0 to 1, not NaN or infinity", ""),
    ],
)  # fmt: skip
def test_array_of_another_shape_type_or_range_is_refused(array: Any, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        input_file(array)
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("value", [None, 5, [Image.new("RGB", SIZE)], ("a.png", "b.png"), {"a": 1}, object(), Image])
def test_object_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match=r"^image must be a path, a PIL image, an array"):
        input_file(value)


def test_paths_bytes_and_files() -> None:
    example("RGB").save("a.png")
    data = Path("a.png").read_bytes()
    for path in ("a.png", Path("a.png"), os.fspath(Path.cwd() / "a.png")):
        assert not isinstance(input_file(path), MemoryFile)
        assert read_input(input_file(path), 1000) == data
    with open("a.png", "rb") as file:  # noqa: PTH123 - as users write it
        for source in (data, bytearray(data), memoryview(data), io.BytesIO(data), file):
            assert read_input(input_file(source), 1000) == data
    with open("a.png", encoding="latin-1") as text, pytest.raises(UsageError, match="text mode"):  # noqa: PTH123
        input_file(text)


def test_file_object_is_read_from_its_beginning() -> None:
    buffer = io.BytesIO()
    example("RGB").save(buffer, "PNG")
    assert read_input(input_file(buffer), 1000) == buffer.getvalue()


def test_file_object_that_cannot_be_read_is_refused() -> None:
    closed = io.BytesIO()
    closed.close()
    with open("a.bin", "wb") as output:  # noqa: PTH123 - as users write it
        for file in (closed, output):
            with pytest.raises(InputFileError, match=r"^Cannot read the file object of mask: .*\."):
                input_file(file, "mask")


def test_home_folder_is_expanded_and_an_empty_path_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path.cwd()))
    monkeypatch.setenv("USERPROFILE", str(Path.cwd()))
    assert input_file("~/a.png") == Path.cwd() / "a.png"
    with pytest.raises(UsageError, match=r"^image is empty\."):
        input_file("")


def test_name_dash_is_a_file_and_not_stdin() -> None:
    example("RGB").save("x.png")
    Path("x.png").rename("-")
    assert images.load_image(input_file("-")).image.size == SIZE


def test_file_in_memory_is_compared_by_content_and_can_be_copied() -> None:
    first, same, other = (MemoryFile.create("a.png", data) for data in (b"1", b"1", b"2"))
    assert first == same
    assert hash(first) == hash(same)
    assert first != other
    assert first != Path("a.png")
    assert Path("a.png") != first
    assert Path("b") == Path("b")
    for copied in (pickle.loads(pickle.dumps(first)), copy.deepcopy(first), copy.copy(first)):
        assert (copied, copied.content) == (first, b"1")
    assert not is_regular_file(first)
    assert open_input(first, 10).read() == b"1"
    assert not (first.parent / "a.png").exists()
    assert read_input(input_file(np.zeros((2, 2), np.uint8)), 1).startswith(b"\x89PNG")
    assert input_file(b"").name == MEMORY_NAME


def test_messages_of_unreadable_bytes_have_a_name() -> None:
    for data, reason in ((b"", "empty"), (b"text", "text"), (b"\x89PNG\r\n\x1a\n", "damaged")):
        with pytest.raises(InputFileError, match=f"'{MEMORY_NAME}'.*{reason}"):
            images.load_image(input_file(data))
