"""Test PNG files with an independent reader: pixels, chunks and metadata."""

import io
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from random import Random

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
COLOR_TYPES = {"L": 0, "LA": 4, "RGB": 2, "RGBA": 6, "I;16": 0}
RECORD: dict[str, object] = {
    "task": "txt2img", "prompt": "a red fox, IDAT IEND \0 ünïcode", "seed": 7, "steps": 4, "scheduler": "euler",
    "guidance_scale": 7.5, "width": 8, "height": 8, "model": "tiny", "artgen": "0.1",
}  # fmt: skip


@st.composite
def images(draw: st.DrawFn) -> Image.Image:
    """Generate noise, gradients and flat colors in every mode and in odd sizes."""
    mode = draw(st.sampled_from(sorted(CHANNELS)))
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    length = width * height * CHANNELS[mode] * (2 if mode == "I;16" else 1)
    kind = draw(st.sampled_from(["noise", "gradient", "flat"]))
    if kind == "noise":
        data = draw(st.randoms(use_true_random=False)).randbytes(length)
    else:
        step = draw(st.integers(0, 255)) if kind == "gradient" else 0
        data = bytes(i * step % 256 for i in range(length))
    return Image.frombytes(mode, (width, height), data)


def chunks(file: bytes) -> list[tuple[bytes, bytes]]:
    """Return the chunks of a PNG file. Check the signature, the checksums and the order of the chunks."""
    assert file[:8] == b"\x89PNG\r\n\x1a\n"
    found, offset = [], 8
    while offset < len(file):
        (length,) = struct.unpack_from(">I", file, offset)
        assert length < 2**31
        kind, body = file[offset + 4 : offset + 8], file[offset + 8 : offset + 8 + length]
        assert struct.unpack_from(">I", file, offset + 8 + length)[0] == zlib.crc32(kind + body)
        found.append((kind, body))
        offset += 12 + length
    kinds = [kind for kind, _ in found]
    assert offset == len(file)
    assert kinds[0] == b"IHDR"
    assert kinds[-1] == b"IEND"
    assert found[-1][1] == b""
    assert kinds.count(b"IHDR") == kinds.count(b"IEND") == 1
    first, count = kinds.index(b"IDAT"), kinds.count(b"IDAT")
    assert kinds[first : first + count] == [b"IDAT"] * count
    return found


def lines(file: bytes, width: int, height: int) -> list[bytes]:
    """Return the filtered lines of an image with `width` bytes per line. Check the length of the data."""
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
    width, height, depth, color_type, *rest = struct.unpack(">IIBBBBB", chunks(file)[0][1])
    assert (width, height) == image.size
    assert (depth, color_type) == (16 if image.mode == "I;16" else 8, COLOR_TYPES[image.mode])
    assert rest == [0, 0, 0]
    with Image.open(io.BytesIO(file)) as read:
        read.load()
        assert (read.mode, read.size) == (image.mode, image.size)
        assert read.tobytes() == image.tobytes()


def save_with_pillow(image: Image.Image, save_kwargs: Mapping[str, object]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **save_kwargs)
    return buffer.getvalue()


@settings(deadline=None, max_examples=150)
@given(
    image=images(),
    level=st.none() | st.integers(0, 9),
    metadata_level=st.sampled_from(metadata.METADATA_LEVELS),
)
def test_pixels_and_chunks_equal_pillow(image: Image.Image, level: int | None, metadata_level: str) -> None:
    file, sidecar = encode_image(image, RECORD, EncodingOptions("png", metadata=metadata_level, png_level=level))
    assert sidecar is None
    check_file(file, image)
    save_kwargs = image_save_args(RECORD, "png", metadata_level).save_kwargs
    expected = [chunk for chunk in chunks(save_with_pillow(image, save_kwargs)) if chunk[0] != b"IDAT"]
    assert [chunk for chunk in chunks(file) if chunk[0] != b"IDAT"] == expected


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    mode=st.sampled_from(["L", "LA", "RGB", "RGBA"]),
    level=st.none() | st.integers(0, 9),
    random=st.randoms(use_true_random=False),
)
def test_16_bits_per_channel(size: tuple[int, int], mode: str, level: int | None, random: Random) -> None:
    length = size[0] * size[1] * CHANNELS[mode]
    high, low = random.randbytes(length), random.randbytes(length)
    image = Image.frombytes(mode, size, high)
    file = encode_png(image, {}, level, Image.frombytes(mode, size, low))
    assert chunks(file)[0][1] == struct.pack(">IIBBBBB", *size, 16, COLOR_TYPES[mode], 0, 0, 0)
    above, values = bytes(2 * length // size[1]), b""
    for line in lines(file, 2 * length // size[1], size[1]):
        assert line[0] == 2
        above = bytes((a + b) % 256 for a, b in zip(line[1:], above, strict=True))
        values += above
    assert (values[0::2], values[1::2]) == (high, low)


@pytest.mark.parametrize("low_bytes", [None, Image.new("RGB", (40, 30))], ids=["8-bit", "16-bit"])
def test_chunks_keep_their_place_before_and_after_the_pixels(low_bytes: Image.Image | None) -> None:
    image = Image.effect_noise((40, 30), 80).convert("RGB")
    info = PngInfo()
    info.add_text("Title", "tEXt")
    info.add_itxt("Title", "iTXt with IDAT in it")
    info.add(b"gAMA", struct.pack(">I", 45455))
    info.add(b"vpAg", b"IENDIDAT", after_idat=True)
    save_kwargs = {"pnginfo": info, "dpi": (300, 300), "icc_profile": b"a profile", "exif": Image.Exif()}
    found, expected = (
        chunks(encode_png(image, save_kwargs, low_bytes=low_bytes)),
        chunks(save_with_pillow(image, save_kwargs)),
    )
    ignored = (b"IDAT",) if low_bytes is None else (b"IDAT", b"IHDR")
    assert [chunk for chunk in found if chunk[0] not in ignored] == [
        chunk for chunk in expected if chunk[0] not in ignored
    ]
    kinds = [kind for kind, _ in found]
    assert kinds.index(b"pHYs") < kinds.index(b"IDAT") < kinds.index(b"vpAg")


def test_large_images_have_several_data_chunks() -> None:
    image = Image.effect_noise((1100, 1000), 80).convert("RGBA")
    image.putalpha(Image.effect_noise((1100, 1000), 80))
    file = encode_png(image, {})
    check_file(file, image)
    assert [kind for kind, _ in chunks(file)].count(b"IDAT") > 1
    file = encode_png(image, {}, low_bytes=image)
    assert [kind for kind, _ in chunks(file)].count(b"IDAT") > 1
    assert len(lines(file, 2 * 4 * 1100, 1000)) == 1000


def test_the_fast_encoding_is_the_default() -> None:
    image = Image.linear_gradient("L").convert("RGB")
    fast = save_with_pillow(image, {"compress_level": 1, "compress_type": zlib.Z_RLE})
    assert encode_png(image, {}) == fast != encode_png(image, {}, 6) == save_with_pillow(image, {})


@pytest.mark.parametrize("mode", ["1", "P"])
def test_modes_without_color_channels(mode: str) -> None:
    image = Image.linear_gradient("L").convert(mode)
    with Image.open(io.BytesIO(encode_png(image, {}))) as read:
        assert (read.mode, read.tobytes()) == (mode, image.tobytes())


def shapes() -> Image.Image:
    image = Image.radial_gradient("L").convert("RGB")
    ImageDraw.Draw(image).ellipse((40, 40, 200, 160), fill="teal")
    return image


def test_a_higher_level_gives_a_smaller_file() -> None:
    image = shapes()
    sizes = {level: len(encode_png(image, {}, level)) for level in (0, 1, 6, 9)}
    assert sizes[0] > sizes[1] > sizes[6] >= sizes[9]
    assert len(encode_png(image, {})) < sizes[0] / 4


def test_a_destination_applies_the_level(tmp_path: Path) -> None:
    destinations = [
        parse_destination(OutputSettings(output=str(tmp_path / f"{level}.png"), png_level=level)) for level in (0, 1, 9)
    ]
    sizes = [destination.save(shapes(), RECORD).stat().st_size for destination in destinations]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3
    for level in (-1, 10):
        with pytest.raises(UsageError, match="0 to 9"):
            parse_destination(OutputSettings(output="fox.png", png_level=level))
