"""Check AVIF and HEIC files as inputs."""

import io
import struct
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from artgen.dataset.scan import scan_folder
from artgen.errors import InputFileError
from artgen.images import iter_images, load_image, load_mask
from artgen.images.heif import heif_format, heif_notes
from artgen.metadata import read_metadata

pillow_heif = pytest.importorskip("pillow_heif")

SUFFIXES = ("avif", "heic")
PARAMETERS = "a red fox\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 64x64"


def photo() -> Image.Image:
    """Return an image whose left half is red and whose upper right quarter is blue."""
    image = Image.new("RGB", (96, 64), "white")
    image.paste("red", (0, 0, 48, 64))
    image.paste("blue", (48, 0, 96, 32))
    return image


def save(image: Image.Image, path: Path, **options: object) -> Path:
    if path.suffix == ".heic":
        buffer = io.BytesIO()
        pillow_heif.from_pillow(image).save(buffer, quality=95, **options)
        path.write_bytes(buffer.getvalue())
    else:
        image.save(path, quality=95, **options)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_loads_the_pixels(tmp_path: Path, suffix: str) -> None:
    loaded = load_image(save(photo(), tmp_path / f"photo.{suffix}"))
    assert loaded.notes == ()
    assert max(ImageStat.Stat(ImageChops.difference(loaded.image, photo())).mean) < 4


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_content_selects_the_decoder(tmp_path: Path, suffix: str) -> None:
    path = save(photo(), tmp_path / f"photo.{suffix}").rename(tmp_path / "photo.jpg")
    assert load_image(path).image.size == (96, 64)


def test_applies_the_orientation_of_avif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = load_image(save(photo(), tmp_path / "photo.avif", exif=exif)).image
    assert max(ImageStat.Stat(ImageChops.difference(upright, photo().transpose(Image.Transpose.ROTATE_270))).mean) < 4


def test_applies_the_rotation_of_heic_once(tmp_path: Path) -> None:
    image = photo()
    exif = Image.Exif()
    exif[0x0112] = 6
    image.info["exif"] = exif.tobytes()
    path = tmp_path / "photo.heic"
    pillow_heif.register_heif_opener()
    image.save(path, "HEIF", quality=95)
    upright = load_image(path).image
    assert max(ImageStat.Stat(ImageChops.difference(upright, photo().transpose(Image.Transpose.ROTATE_270))).mean) < 4


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_transparency_is_kept(tmp_path: Path, suffix: str) -> None:
    image = photo()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    loaded = load_image(save(image, tmp_path / f"photo.{suffix}"))
    assert loaded.alpha is not None
    assert loaded.alpha.getextrema()[0] < 20


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_several_images_have_a_note(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo.{suffix}"
    if suffix == "heic":
        heif = pillow_heif.from_pillow(Image.new("RGB", (32, 32), "green"))
        heif.add_from_pillow(photo())
        heif.save(path, primary_index=1)
    else:
        photo().save(path, save_all=True, append_images=[Image.new("RGB", (96, 64), "green")])
    loaded = load_image(path)
    assert loaded.image.size == (96, 64)
    assert "contains 2 images" in loaded.notes[0]


def test_more_bits_have_a_note(tmp_path: Path) -> None:
    values = bytes(range(256)) * (2 * 64 * 64 * 3 // 256)
    path = tmp_path / "photo.heic"
    pillow_heif.from_bytes("RGB;16", (64, 64), values).save(path)
    assert load_image(path).notes == ("The 10-bit values of 'photo.heic' are scaled to 8 bits.",)
    data = b"\0" * 8 + b"av1C\x81\x00\x40\x00"
    assert heif_notes(Image.new("RGB", (1, 1)), data, "a.avif") == [
        "The 10-bit values of 'a.avif' are scaled to 8 bits."
    ]


@pytest.mark.parametrize(
    ("codes", "space"),
    [((12, 13), "Display P3"), ((9, 16), "BT.2020 PQ"), ((9, 18), "BT.2020 HLG"), ((1, 13), ""), ((2, 2), "")],
)
def test_other_color_spaces_have_a_note(codes: tuple[int, int], space: str) -> None:
    data = b"\0" * 8 + b"colrnclx" + struct.pack(">HHHB", *codes, 1, 128)
    notes = heif_notes(Image.new("RGB", (1, 1)), data, "a.avif")
    assert [f"'a.avif' has the color space {space} without" in note for note in notes] == [True] * bool(space)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_mask_is_read(tmp_path: Path, suffix: str) -> None:
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (16, 16, 48, 48))
    values = load_mask(save(mask.convert("RGB"), tmp_path / f"mask.{suffix}"), (64, 64)).mask
    assert values.getpixel((32, 32)) > 250
    assert values.getpixel((4, 4)) < 5


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_metadata_is_read(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x8769] = {0x9286: b"UNICODE\0" + PARAMETERS.encode("utf-16-be")}
    metadata = read_metadata(save(photo(), tmp_path / f"photo.{suffix}", exif=exif.tobytes()))
    assert metadata.values["prompt"] == "a red fox"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_folders_contain_the_image(tmp_path: Path, suffix: str) -> None:
    path = save(photo(), tmp_path / f"photo.{suffix}")
    assert [found for found, _ in iter_images([tmp_path])] == [path]
    assert scan_folder(tmp_path).image_files == [path]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("keep", [40, 200, -20])
def test_damaged_files_are_refused(tmp_path: Path, suffix: str, keep: int) -> None:
    path = save(photo(), tmp_path / f"photo.{suffix}")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputFileError, match="damaged"):
        load_image(path)


def test_heic_without_the_extra_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(photo(), tmp_path / "photo.heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for read in (load_image, read_metadata):
        with pytest.raises(InputFileError, match="pillow-heif") as caught:
            read(path)
        assert "artgen[heif]" in caught.value.hint


@pytest.mark.parametrize(
    ("major", "compatible", "expected"),
    [
        (b"avif", b"mif1avif", "AVIF"),
        (b"avis", b"msf1", "AVIF"),
        (b"mif1", b"mif1avifmiaf", "AVIF"),
        (b"mif1", b"heic", "HEIF"),
        (b"heix", b"mif1", "HEIF"),
        (b"hevc", b"", "HEIF"),
        (b"isom", b"mp42", ""),
        (b"qt  ", b"", ""),
    ],
)
def test_brands_select_the_format(major: bytes, compatible: bytes, expected: str) -> None:
    head = struct.pack(">I", 16 + len(compatible)) + b"ftyp" + major + b"\0\0\0\0" + compatible
    assert heif_format(head + b"\0" * 64) == expected


def test_other_containers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "video.avif"
    path.write_bytes(struct.pack(">I", 16) + b"ftypisom" + b"\0" * 300)
    with pytest.raises(InputFileError, match="unknown format"):
        load_image(path)
