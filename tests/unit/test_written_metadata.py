"""Test the metadata of written files: PNG text chunks, EXIF types, and the reports of exiftool and ImageMagick."""

import io
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

from artgen import images, metadata
from artgen.outputs.encoding import EncodingOptions, encode_image

RECORD: dict[str, object] = {
    "task": "txt2img", "prompt": "a red fox", "negative_prompt": "bad", "seed": 7, "steps": 4, "scheduler": "euler",
    "guidance_scale": 7.5, "width": 16, "height": 12, "model": "tiny", "artgen": "0.1",
}  # fmt: skip
PROMPTS = {"ascii": "a red fox", "latin-1": "façade, ½ §", "utf-8": "狐, 🦊", "ambiguous": "Ã¼ Â½", "lines": "a\nb\tc"}
FORMATS = ("png", "jpeg", "webp")
EXPOSURE = {
    0x829A: IFDRational(1, 125), 0x829D: IFDRational(28, 10), 0x8822: 2, 0x8827: 400, 0x8830: 2, 0x8831: 400,
    0x8832: 100_000, 0x9003: "2024:05:06 07:08:09", 0x9004: "2024:05:06 07:08:09", 0x9010: "+02:00", 0x9011: "+02:00",
    0x9012: "+02:00", 0x9201: IFDRational(7), 0x9202: IFDRational(3), 0x9203: 3.5, 0x9204: IFDRational(1, 3),
    0x9205: IFDRational(3), 0x9206: IFDRational(3), 0x9207: 5, 0x9208: 1, 0x9209: 16, 0x920A: IFDRational(50),
    0x9290: "12", 0x9291: "12", 0x9292: "12", 0xA402: 0, 0xA403: 0, 0xA405: 50, 0xA432: (24.0, 70.0, 2.8, 2.8),
    0xA433: "Canon", 0xA434: "RF 24-70",
}  # fmt: skip
REQUIRED_JPEG_TAGS = {0x9000, 0x9101, 0xA000, 0xA001, 0xA002, 0xA003}
BYTE, SHORT, LONG, RATIONAL, UNDEFINED, SIGNED_RATIONAL = 1, 3, 4, 5, 7, 10


def encode(prompt: str, kind: str, level: str = "full", mode: str = "RGB") -> bytes:
    image = Image.new(mode, (16, 12), "white")
    return encode_image(image, {**RECORD, "prompt": prompt}, EncodingOptions(kind, metadata=level))[0]


def png_texts(data: bytes) -> dict[str, tuple[bytes, str]]:
    """Return the type and the text of each text chunk by its key, decoded as the PNG standard requires."""
    found, offset = {}, 8
    while offset < len(data):
        (length,) = struct.unpack_from(">I", data, offset)
        kind, body = data[offset + 4 : offset + 8], data[offset + 8 : offset + 8 + length]
        offset += 12 + length
        if kind in (b"tEXt", b"iTXt"):
            key, _, rest = body.partition(b"\0")
            text = rest.decode("latin-1") if kind == b"tEXt" else rest.split(b"\0", 4)[-1].decode("utf-8")
            found[key.decode()] = (kind, text)
    return found


def exif_types(data: bytes) -> dict[int, tuple[int, bytes]]:
    """Return the type and the value of each tag of the Exif IFD in the EXIF block of a file, without Pillow."""
    tiff = data[data.index(b"MM\0*") :] if b"MM\0*" in data else data[data.index(b"II*\0") :]
    order = ">" if tiff[:2] == b"MM" else "<"

    def entries(offset: int) -> dict[int, tuple[int, int, int, int]]:
        (count,) = struct.unpack_from(f"{order}H", tiff, offset)
        fields = (struct.unpack_from(f"{order}HHLL", tiff, offset + 2 + 12 * i) for i in range(count))
        return {tag: (kind, number, value, offset + 10 + 12 * i) for i, (tag, kind, number, value) in enumerate(fields)}

    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8}
    first = entries(struct.unpack_from(f"{order}L", tiff, 4)[0])
    found = {}
    for tag, (kind, number, value, position) in entries(first[0x8769][2]).items() if 0x8769 in first else ():
        size = sizes[kind] * number
        start = position if size <= 4 else value
        found[tag] = (kind, tiff[start : start + size])
    return found


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("level", ["full", "minimal"])
def test_png_text_is_latin_1_where_possible(name: str, level: str, tmp_path: Path) -> None:
    path = tmp_path / "fox.png"
    path.write_bytes(encode(PROMPTS[name], "png", level))
    texts = png_texts(path.read_bytes())
    expected = b"iTXt" if level == "full" and name in ("utf-8", "ambiguous") else b"tEXt"
    keys = ["parameters", "artgen"] if level == "full" else ["artgen"]
    assert [texts[key][0] for key in keys] == [expected] * len(keys)
    found = metadata.read_metadata(path)
    if level == "full":
        assert found.record == {**RECORD, "prompt": PROMPTS[name]}
        assert texts["parameters"][1].startswith(f"{PROMPTS[name]}\nNegative prompt: bad\nSteps: 4, ")


@settings(deadline=None, max_examples=60)
@given(prompt=st.text(st.characters(max_codepoint=255), max_size=40) | st.text(max_size=40))
def test_every_png_text_reads_back(prompt: str) -> None:
    texts = png_texts(encode(prompt, "png"))
    is_latin_1 = all(ord(character) < 256 for character in texts["parameters"][1])
    assert texts["parameters"][0] == b"iTXt" or is_latin_1
    assert texts["parameters"][1] == metadata.format_a1111({**RECORD, "prompt": prompt})
    with Image.open(io.BytesIO(encode(prompt, "png"))) as image:
        assert image.text["parameters"] == texts["parameters"][1]  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
@pytest.mark.parametrize("name", PROMPTS)
def test_user_comment_has_the_type_undefined(kind: str, name: str) -> None:
    tags = exif_types(encode(PROMPTS[name], kind))
    assert tags[0x9286][0] == UNDEFINED
    comment = tags[0x9286][1]
    assert comment[:8] == b"UNICODE\0"
    assert comment[8:].decode("utf-16-be") == metadata.format_a1111({**RECORD, "prompt": PROMPTS[name]})


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
@pytest.mark.parametrize("level", ["full", "minimal"])
def test_jpeg_has_the_tags_that_exif_requires(mode: str, level: str) -> None:
    data = encode("a fox", "jpeg", level, mode)
    tags = exif_types(data)
    assert tags.keys() >= REQUIRED_JPEG_TAGS
    assert [tags[tag] for tag in (0x9000, 0x9101, 0xA000)] == [
        (UNDEFINED, b"0232"), (UNDEFINED, b"\1\2\3\0"), (UNDEFINED, b"0100")
    ]  # fmt: skip
    exif = Image.open(io.BytesIO(data)).getexif()
    assert (exif.get_ifd(0x8769)[0xA002], exif.get_ifd(0x8769)[0xA003]) == (16, 12)
    assert (exif[0x011A], exif[0x011B], exif[0x0128], exif[0x0213]) == (72, 72, 2, 1)


def test_color_space_is_uncalibrated_with_another_profile() -> None:
    from icc_profiles import ADOBE_PRIMARIES, rgb_profile

    def color_space(profile: bytes | None) -> object:
        image = Image.new("RGB", (8, 8))
        image.info |= {} if profile is None else {"icc_profile": profile}
        data, _ = encode_image(image, RECORD, EncodingOptions("jpeg"))
        return Image.open(io.BytesIO(data)).getexif().get_ifd(0x8769)[0xA001]

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert [color_space(profile) for profile in (None, srgb)] == [1, 1]
    assert color_space(rgb_profile(2.2, ADOBE_PRIMARIES)) == 0xFFFF


def camera_photo(path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0132] = "Canon", "R5", "2024:05:06 07:08:09"
    exif[0x8769] = EXPOSURE
    Image.effect_noise((40, 30), 60).convert("RGB").save(path, exif=exif, dpi=(300, 200))


def denoised(path: Path, kind: str) -> bytes:
    read = images.load_lossless(path)
    return encode_image(read.image, {"task": "denoise", "artgen": "0.2"}, EncodingOptions(kind), read.low_bytes)[0]


@pytest.mark.parametrize("kind", FORMATS)
def test_copied_exposure_has_the_types_of_the_standard(kind: str, tmp_path: Path) -> None:
    camera_photo(tmp_path / "photo.jpg")
    tags = exif_types(denoised(tmp_path / "photo.jpg", kind))
    assert tags.keys() - REQUIRED_JPEG_TAGS == EXPOSURE.keys()
    for tag, standard in {
        0x8831: LONG, 0x8832: LONG, 0x9201: SIGNED_RATIONAL, 0x9203: SIGNED_RATIONAL, 0x9204: SIGNED_RATIONAL,
        0xA432: RATIONAL, 0x829A: RATIONAL, 0x8827: SHORT,
    }.items():  # fmt: skip
        assert tags[tag][0] == standard
    copied = Image.open(io.BytesIO(denoised(tmp_path / "photo.jpg", kind))).getexif().get_ifd(0x8769)
    for tag, value in EXPOSURE.items():
        assert copied[tag] == pytest.approx(value) if not isinstance(value, str) else copied[tag] == value


@pytest.mark.parametrize("value", ["text", -1, 2**40, (1, "x"), IFDRational(1, 3)])
@pytest.mark.parametrize("tag", [0x8827, 0x9003, 0x829A])
def test_values_of_another_type_are_not_copied(tag: int, value: object, tmp_path: Path) -> None:
    from artgen.images.file_attributes import _EXPOSURE_TYPES, _convert

    fits = {0x8827: (), 0x9003: ("text",), 0x829A: (IFDRational(1, 3),)}[tag]
    assert (_convert(value, _EXPOSURE_TYPES[tag]) is not None) == (value in fits)


def run(*arguments: object) -> str:
    completed = subprocess.run(list(map(str, arguments)), capture_output=True, timeout=120, check=False)
    return (completed.stdout + completed.stderr).decode("utf-8", "replace")


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_exiftool_reports_nothing(tmp_path: Path) -> None:
    camera_photo(tmp_path / "photo.jpg")
    for kind in FORMATS:
        for level in metadata.METADATA_LEVELS:
            for name, prompt in PROMPTS.items():
                (tmp_path / f"{name}-{level}.{kind}").write_bytes(encode(prompt, kind, level))
        for mode in ("L", "RGBA", "LA"):
            (tmp_path / f"{mode}.{kind}").write_bytes(encode("a fox", kind, mode=mode))
        (tmp_path / f"derived.{kind}").write_bytes(encode_image(Image.new("RGB", (9, 9)), {}, EncodingOptions(kind))[0])
        (tmp_path / f"denoised.{kind}").write_bytes(denoised(tmp_path / "photo.jpg", kind))
    (tmp_path / "photo.jpg").unlink()
    files = sorted(tmp_path.glob("*.*"))
    report = run("exiftool", "-validate", "-warning", "-error", "-a", "-q", "-s3", *files)
    assert report.split() == ["OK"] * len(files), report


@pytest.mark.skipif(shutil.which("identify") is None, reason="ImageMagick is not installed")
@pytest.mark.parametrize("name", ["ascii", "latin-1"])
def test_imagemagick_shows_the_parameters(name: str, tmp_path: Path) -> None:
    (tmp_path / "fox.png").write_bytes(encode(PROMPTS[name], "png"))
    report = run("identify", "-format", "%[parameters]", tmp_path / "fox.png")
    assert "Negative prompt: bad\nSteps: 4, Sampler: Euler" in report
    assert '"prompt": ' in run("identify", "-format", "%[artgen]", tmp_path / "fox.png")
