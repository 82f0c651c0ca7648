"""Test which resolution and EXIF data of an input reach an output: the date and the camera, never the GPS position."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import IFDRational

from artgen import images
from artgen.outputs.encoding import EncodingOptions, encode_image

SECRETS = ("SN-12345", "Jane Doe", "Maker", "a comment", "private")
KEPT = {0x010F: "Canon", 0x0110: "EOS R5", 0x0132: "2024:05:06 07:08:09"}
KEPT_EXPOSURE = {0x9003: "2024:05:06 07:08:09", 0x9011: "+02:00", 0x8827: 400, 0xA434: "RF 24-70", 0xA405: 50}
RECORD: dict[str, object] = {"task": "denoise", "artgen": "0.2"}


def camera_exif(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    for tag, value in (
        KEPT | {0x0112: orientation, 0x013B: SECRETS[1], 0x8298: SECRETS[1], 0x010E: SECRETS[4]}
    ).items():
        exif[tag] = value
    exif[0x8769] = KEPT_EXPOSURE | {
        0x829A: IFDRational(1, 125), 0xA432: (24.0, 70.0, 2.8, 2.8), 0xA431: SECRETS[0], 0xA435: SECRETS[0],
        0xA430: SECRETS[1], 0x927C: SECRETS[2].encode(), 0x9286: b"ASCII\0\0\0" + SECRETS[3].encode(),
    }  # fmt: skip
    exif[0x8825] = {1: "N", 2: (52.0, 31.0, 7.0), 3: "E", 4: (13.0, 24.0, 9.0)}
    return exif


def save_photo(path: Path, orientation: int = 1, dpi: tuple[int, int] = (300, 200)) -> None:
    exif, image = camera_exif(orientation), Image.effect_noise((40, 30), 60).convert("RGB")
    xmp = f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>GPSLatitude 52 {SECRETS[4]}</x:xmpmeta>".encode()
    options: dict[str, Any] = {"dpi": dpi, "exif": exif, "xmp": xmp}
    if path.suffix == ".png":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        info.add_text("Comment", SECRETS[3])
        options |= {"pnginfo": info}
    elif path.suffix == ".webp":
        exif[0x011A], exif[0x011B], exif[0x0128] = float(dpi[0]), float(dpi[1]), 2
        options |= {"exif": exif.tobytes(), "lossless": True}
    elif path.suffix == ".tiff":
        options |= {"exif": read_back(exif)}
    image.save(path, **options)


def read_back(exif: Image.Exif) -> Image.Exif:
    """Return EXIF data as read from a file, which Pillow needs to write it to TIFF."""
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "JPEG", exif=exif)
    return Image.open(buffer).getexif()


def written(path: Path, kind: str, level: str = "full") -> Image.Image:
    read = images.load_lossless(path)
    data, _ = encode_image(read.image, RECORD, EncodingOptions(kind, metadata=level), read.low_bytes)
    for secret in SECRETS:
        assert secret.encode() not in data
        assert secret.encode("utf-16-be") not in data
    assert b"GPSLatitude" not in data
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("source", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_date_camera_and_resolution_are_copied(tmp_path: Path, source: str, kind: str) -> None:
    save_photo(tmp_path / f"photo.{source}")
    found = written(tmp_path / f"photo.{source}", kind)
    exif = found.getexif()
    assert {tag: exif.get(tag) for tag in KEPT} == KEPT
    exposure = dict(exif.get_ifd(0x8769))
    assert {tag: exposure.get(tag) for tag in KEPT_EXPOSURE} == KEPT_EXPOSURE
    assert float(exposure[0x829A]) == pytest.approx(1 / 125)
    assert not exif.get_ifd(0x8825)
    assert 0x0112 not in exif
    dpi = (exif.get(0x011A), exif.get(0x011B)) if kind == "webp" else found.info["dpi"]
    assert tuple(float(value) for value in dpi) == pytest.approx((300, 200), abs=0.1)


@pytest.mark.parametrize("source", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_level_none_copies_nothing(tmp_path: Path, source: str, kind: str) -> None:
    save_photo(tmp_path / f"photo.{source}")
    found = written(tmp_path / f"photo.{source}", kind, "none")
    assert not dict(found.getexif())
    assert "dpi" not in found.info


@pytest.mark.parametrize("source", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_level_minimal_copies_only_the_resolution(tmp_path: Path, source: str, kind: str) -> None:
    save_photo(tmp_path / f"photo.{source}")
    found = written(tmp_path / f"photo.{source}", kind, "minimal")
    required = {0x0213, 0x8769} if kind == "jpeg" else set()
    # 0x0131 is artgen's Software.
    assert set(found.getexif()) <= {0x0131, 0x011A, 0x011B, 0x0128} | required
    assert set(found.getexif().get_ifd(0x8769)) <= {0x9000, 0x9101, 0xA000, 0xA001, 0xA002, 0xA003}
    assert ("dpi" in found.info) or kind == "webp"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_resolution_is_rotated_with_the_image(tmp_path: Path, orientation: int) -> None:
    save_photo(tmp_path / "photo.jpg", orientation)
    found = written(tmp_path / "photo.jpg", "jpeg")
    assert found.size == ((30, 40) if orientation > 4 else (40, 30))
    assert found.info["dpi"] == ((200, 300) if orientation > 4 else (300, 200))
    assert found.getexif().get(0x0112, 1) == 1


def test_loaded_images_for_generation_have_no_attributes(tmp_path: Path) -> None:
    save_photo(tmp_path / "photo.jpg")
    loaded = images.load_image(tmp_path / "photo.jpg", keep_source=True)
    assert loaded.image.info == {}
    assert loaded.source is None
    Image.open(tmp_path / "photo.jpg").convert("L").save(tmp_path / "gray.jpg", exif=camera_exif(), dpi=(300, 300))
    loaded = images.load_image(tmp_path / "gray.jpg", keep_source=True)
    assert loaded.source is not None
    assert loaded.source.image.info == {}


@pytest.mark.parametrize("value", ["x" * 200, "a\x1b[31mb", "two\nlines", b"bytes", float("nan"), (1.0,) * 9])
def test_unusual_values_are_not_copied(value: object) -> None:
    from artgen.images.file_attributes import _is_plain

    assert not _is_plain(value)


def test_damaged_exif_is_ignored(tmp_path: Path) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(range(200))
    Image.new("RGB", (9, 9)).save(tmp_path / "photo.jpg", exif=exif)
    assert not dict(written(tmp_path / "photo.jpg", "png").getexif())
