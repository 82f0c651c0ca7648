"""PNG files: the same pixels and chunks as Pillow's, by whichever way they are written."""

import contextlib
import io
import struct
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from random import Random
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from artgen import metadata
from artgen.errors import UsageError
from artgen.metadata import image_save_args
from artgen.outputs import parse_destination
from artgen.outputs.encoding import EncodingOptions, encode_image
from artgen.outputs.png import encode_png
from artgen.spec.settings import OutputSettings

CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "I;16": 1}
COLOUR_TYPES = {"L": 0, "LA": 4, "RGB": 2, "RGBA": 6, "I;16": 0}
RECORD: dict[str, object] = {
    "task": "txt2img", "prompt": "a red fox, IDAT IEND \0 ünïcode", "seed": 7, "steps": 4, "scheduler": "euler",
    "guidance_scale": 7.5, "width": 8, "height": 8, "model": "tiny", "artgen": "0.1",
}  # fmt: skip


def without_isal() -> contextlib.AbstractContextManager[object]:
    """Makes `import isal` fail, as where it is not installed."""
    return mock.patch.dict(sys.modules, {"isal": None})


@st.composite
def pictures(draw: st.DrawFn) -> Image.Image:
    """Noise, slopes and flat colours of every mode and of odd sizes."""
    mode = draw(st.sampled_from(sorted(CHANNELS)))
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    length = width * height * CHANNELS[mode] * (2 if mode == "I;16" else 1)
    kind = draw(st.sampled_from(["noise", "slope", "flat"]))
    if kind == "noise":
        data = draw(st.randoms(use_true_random=False)).randbytes(length)
    else:
        step = draw(st.integers(0, 255)) if kind == "slope" else 0
        data = bytes(i * step % 256 for i in range(length))
    return Image.frombytes(mode, (width, height), data)


def chunks(file: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a file that keeps to the PNG specification in all that is looked at here."""
    assert file[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = [], 8
    while at < len(file):
        (length,) = struct.unpack_from(">I", file, at)
        assert length < 2**31
        kind, body = file[at + 4 : at + 8], file[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", file, at + 8 + length)[0] == zlib.crc32(kind + body)
        found.append((kind, body))
        at += 12 + length
    kinds = [kind for kind, _ in found]
    assert at == len(file)
    assert kinds[0] == b"IHDR"
    assert kinds[-1] == b"IEND"
    assert found[-1][1] == b""
    assert kinds.count(b"IHDR") == kinds.count(b"IEND") == 1
    first, count = kinds.index(b"IDAT"), kinds.count(b"IDAT")
    assert kinds[first : first + count] == [b"IDAT"] * count
    return found


def lines(file: bytes, width: int, height: int) -> list[bytes]:
    """The filtered lines of a picture of so many bytes a line, which must fill its data exactly."""
    inflate = zlib.decompressobj()
    data = inflate.decompress(b"".join(body for kind, body in chunks(file) if kind == b"IDAT"))
    assert inflate.eof
    assert inflate.unused_data == b""
    assert len(data) == (1 + width) * height
    found = [data[i : i + 1 + width] for i in range(0, len(data), 1 + width)]
    assert all(line[0] <= 4 for line in found)
    return found


def check_file(file: bytes, image: Image.Image) -> None:
    lines(file, len(image.tobytes()) // image.height, image.height)
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks(file)[0][1])
    assert (width, height) == image.size
    assert (depth, colour) == (16 if image.mode == "I;16" else 8, COLOUR_TYPES[image.mode])
    assert rest == [0, 0, 0]
    with Image.open(io.BytesIO(file)) as read:
        read.load()
        assert (read.mode, read.size) == (image.mode, image.size)
        assert read.tobytes() == image.tobytes()


def pillows(image: Image.Image, options: Mapping[str, object]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


@settings(deadline=None, max_examples=150)
@given(
    image=pictures(),
    isal=st.booleans(),
    level=st.none() | st.integers(0, 9),
    kept=st.sampled_from(metadata.METADATA_LEVELS),
)
def test_pixels_and_chunks_are_pillows(image: Image.Image, isal: bool, level: int | None, kept: str) -> None:
    with contextlib.nullcontext() if isal else without_isal():
        file, beside = encode_image(image, RECORD, EncodingOptions("png", metadata=kept, png_level=level))
    assert beside is None
    check_file(file, image)
    options = image_save_args(RECORD, "png", kept).save_kwargs
    same = [chunk for chunk in chunks(pillows(image, options)) if chunk[0] != b"IDAT"]
    assert [chunk for chunk in chunks(file) if chunk[0] != b"IDAT"] == same


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    mode=st.sampled_from(["L", "LA", "RGB", "RGBA"]),
    isal=st.booleans(),
    level=st.none() | st.integers(0, 9),
    random=st.randoms(use_true_random=False),
)
def test_sixteen_bits_a_channel(
    size: tuple[int, int], mode: str, isal: bool, level: int | None, random: Random
) -> None:
    length = size[0] * size[1] * CHANNELS[mode]
    high, low = random.randbytes(length), random.randbytes(length)
    image = Image.frombytes(mode, size, high)
    with contextlib.nullcontext() if isal else without_isal():
        file = encode_png(image, {}, level, Image.frombytes(mode, size, low))
    assert chunks(file)[0][1] == struct.pack(">IIBBBBB", *size, 16, COLOUR_TYPES[mode], 0, 0, 0)
    above, pixels = bytes(2 * length // size[1]), b""
    for line in lines(file, 2 * length // size[1], size[1]):
        assert line[0] == 2
        above = bytes((a + b) % 256 for a, b in zip(line[1:], above, strict=True))
        pixels += above
    assert (pixels[0::2], pixels[1::2]) == (high, low)


def test_chunks_before_and_after_the_pixels_stay_where_they_are() -> None:
    image = Image.effect_noise((40, 30), 80).convert("RGB")
    info = PngInfo()
    info.add_text("Title", "tEXt")
    info.add_itxt("Title", "iTXt with IDAT in it")
    info.add(b"gAMA", struct.pack(">I", 45455))
    info.add(b"vpAg", b"IENDIDAT", after_idat=True)
    options = {"pnginfo": info, "dpi": (300, 300), "icc_profile": b"a profile", "exif": Image.Exif()}
    ours, theirs = chunks(encode_png(image, options)), chunks(pillows(image, options))
    assert [chunk for chunk in ours if chunk[0] != b"IDAT"] == [chunk for chunk in theirs if chunk[0] != b"IDAT"]
    kinds = [kind for kind, _ in ours]
    assert kinds.index(b"pHYs") < kinds.index(b"IDAT") < kinds.index(b"vpAg")


def test_large_pictures_come_in_several_chunks() -> None:
    image = Image.effect_noise((1100, 1000), 80).convert("RGBA")
    image.putalpha(Image.effect_noise((1100, 1000), 80))
    file = encode_png(image, {})
    check_file(file, image)
    assert [kind for kind, _ in chunks(file)].count(b"IDAT") > 1


def test_the_fast_way_is_taken_where_there_is_one() -> None:
    pytest.importorskip("isal")
    picture = Image.linear_gradient("L").convert("RGB")
    assert {line[0] for line in lines(encode_png(picture, {}), 3 * picture.width, picture.height)} == {2}
    with without_isal():
        assert encode_png(picture, {}) != encode_png(picture, {}, 6) == pillows(picture, {})


@pytest.mark.parametrize("mode", ["1", "P"])
def test_other_modes_are_left_to_pillow(mode: str) -> None:
    image = Image.linear_gradient("L").convert(mode)
    assert encode_png(image, {}) == pillows(image, {})


def drawing() -> Image.Image:
    image = Image.radial_gradient("L").convert("RGB")
    ImageDraw.Draw(image).ellipse((40, 40, 200, 160), fill="teal")
    return image


def test_a_level_trades_time_for_size() -> None:
    image = drawing()
    sizes = {level: len(encode_png(image, {}, level)) for level in (0, 1, 6, 9)}
    assert sizes[0] > sizes[1] > sizes[6] >= sizes[9]
    assert len(encode_png(image, {})) < sizes[0] / 4
    with without_isal():
        assert len(encode_png(image, {})) < sizes[0] / 4


def test_a_destination_takes_a_level(tmp_path: Path) -> None:
    places = [
        parse_destination(OutputSettings(output=str(tmp_path / f"{level}.png"), png_level=level)) for level in (0, 1, 9)
    ]
    sizes = [place.save(drawing(), RECORD).stat().st_size for place in places]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3
    for wrong in (-1, 10):
        with pytest.raises(UsageError, match="0 to 9"):
            parse_destination(OutputSettings(output="fox.png", png_level=wrong))
