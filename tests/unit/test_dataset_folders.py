"""Test data sets with damaged, huge, hidden, linked and duplicate files, and with unusual names."""

import io
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from training_folders import create_image, load_dataset, save_image, write_file, write_jsonl

from artgen.cli import report_dataset
from artgen.dataset import buckets, datasheet, duplicates
from artgen.dataset.read import Dataset, open_training_image
from artgen.errors import InputFileError, UsageError


def reasons(dataset: Dataset) -> dict[str, str]:
    return {each.name: each.reason for each in dataset.rejected}


def image_names(dataset: Dataset) -> list[str]:
    return [each.name for each in dataset.images]


def test_every_unusable_file_is_rejected_with_its_reason() -> None:
    valid = save_image("a.png")
    create_image(1).convert("CMYK").save("data/cmyk.jpg")
    create_image(2).save("data/moving.gif", save_all=True, append_images=[create_image(3)])
    create_image(4).quantize(8).save("data/palette.png", transparency=0)
    wide = numpy.asarray(create_image(5).convert("L")).astype("uint16") * 257
    Image.fromarray(wide).save("data/wide.png")
    save_image("UPPER.JPEG", 6)
    save_image("jpeg-inside.png", 7, format="JPEG")
    save_image("no-suffix", 8, format="PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    save_image("turned.jpg", 9, exif=exif)
    Image.new("1", (10_000, 9_000)).save("data/huge.png")
    save_image("small.png", 10, (40, 300))
    write_file("cut.png", valid.read_bytes()[:-200])
    write_file("empty.jpg", b"")
    write_file("text.png", "no image")
    write_file("later.heic", b"\0\0\0\x18ftypheic" + b"\0" * 40)
    write_file("drawing.svg", "<svg/>")
    write_file("Thumbs.db", b"\0")
    write_file(".hidden.png", "no image")
    write_file("__MACOSX/a.png", "no image")
    Path("data/broken.png").symlink_to("nowhere.png")
    dataset = load_dataset(resolution=128)
    usable = "UPPER.JPEG a.png cmyk.jpg jpeg-inside.png moving.gif no-suffix palette.png turned.jpg wide.png"
    assert image_names(dataset) == usable.split()
    expected = {
        "huge.png": "10000x9000", "small.png": "64 pixels", "cut.png": "damaged", "empty.jpg": "is empty",
        "text.png": "content is text", "later.heic": "damaged", "drawing.svg": "SVG", "broken.png": "does not exist",
    }  # fmt: skip
    assert reasons(dataset).keys() == expected.keys()
    for name, text in expected.items():
        assert text in reasons(dataset)[name], reasons(dataset)[name]
    by_name = {each.name: each for each in dataset.images}
    assert (by_name["turned.jpg"].width, by_name["turned.jpg"].height) == (120, 160)
    assert "contains 2 images" in by_name["moving.gif"].notes[0]
    assert "blended with the background white" in " ".join(by_name["palette.png"].notes)
    assert any("Thumbs.db" in note for note in dataset.notes)
    for image in dataset.images:
        opened = open_training_image(image)
        assert (opened.mode, opened.size) == ("RGB", (image.width, image.height))


def test_links_are_followed_once_and_training_outputs_are_skipped() -> None:
    save_image("one/a.png")
    Path("data/one/loop").symlink_to("..")
    Path("data/zwei").symlink_to("one")
    save_image("my-style-training/samples.png", 1)
    write_file("my-style-training/datasheet.json", "{}")
    dataset = load_dataset()
    assert image_names(dataset) == ["one/a.png"]
    assert sum("already scanned" in note for note in dataset.notes) == 2
    assert any("output of a training" in note for note in dataset.notes)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root can read every file")
def test_unreadable_files_and_folders_are_reported() -> None:
    save_image("a.png")
    save_image("locked.png", 1).chmod(0)
    save_image("inside/b.png", 2)
    Path("data/inside").chmod(0)
    try:
        rejected = reasons(load_dataset())
    finally:
        Path("data/inside").chmod(0o700)
    assert "permission denied" in rejected["locked.png"].lower()
    assert "permission denied" in rejected["inside"].lower()


def test_file_names_can_be_undecodable_or_in_another_unicode_form() -> None:
    save_image("e\u0301clair.png")  # Unicode form NFD, as on macOS
    Path("data/\udcff\x1b[2J.png").write_bytes(save_image("b.png", 1).read_bytes())
    write_jsonl("metadata.jsonl", {"file_name": "\u00e9clair.png", "text": "a cake"})
    dataset = load_dataset(duplicates="keep")
    assert {each.caption for each in dataset.images} >= {"a cake"}
    sheet = datasheet.write_datasheet(dataset, Path("sheet.md"), run_info={"trigger": "x | y"})
    assert "\x1b" not in sheet.markdown_path.read_text()
    assert json.loads(sheet.json_path.read_text())["images"] == 3


def save_copy(path: str, seed: int, quality: int, *, mirror: bool = False) -> None:
    smaller = create_image(seed).resize((128, 96))
    (ImageOps.mirror(smaller) if mirror else smaller).save(Path("data", path), quality=quality)


def test_duplicates_are_kept_skipped_or_refused() -> None:
    original = save_image("m-original.png")
    write_file("b-copy.png", original.read_bytes())
    save_copy("c-smaller.jpg", 0, 60)
    save_copy("d-mirrored.jpg", 0, 60, mirror=True)
    save_image("another.png", 1)
    skipped = load_dataset()
    assert image_names(skipped) == ["another.png", "b-copy.png"]
    assert skipped.duplicate_groups == (("b-copy.png", "c-smaller.jpg", "d-mirrored.jpg", "m-original.png"),)
    assert reasons(skipped) == {
        "m-original.png": "is the same file as 'b-copy.png'",
        "c-smaller.jpg": "looks like 'b-copy.png'",
        "d-mirrored.jpg": "mirrors 'b-copy.png'",
    }
    kept = load_dataset(duplicates="keep")
    assert len(kept.images) == 5
    assert kept.duplicate_groups == skipped.duplicate_groups
    assert "it mirrors 'b-copy.png'" in next(e for e in kept.images if e.name == "d-mirrored.jpg").notes
    with pytest.raises(InputFileError, match="3 duplicate"):
        load_dataset(duplicates="refuse")


def test_different_line_drawings_are_not_duplicates() -> None:
    """Test images whose downscaled copies are all nearly white."""
    from PIL import ImageDraw

    for number in range(8):
        sketch = Image.new("RGB", (256, 256), "white")
        draw, rng = ImageDraw.Draw(sketch), random.Random(number)
        draw.line([(rng.randint(60, 196), rng.randint(60, 196)) for _ in range(8)], "black", 1)
        Path("data").mkdir(exist_ok=True)
        sketch.save(f"data/{number}.png")
    assert len(load_dataset().images) == 8


@given(st.integers(0, 1000), st.booleans())
def test_compressed_and_mirrored_copies_are_found(seed: int, mirror: bool) -> None:
    index = duplicates.DuplicateIndex(4)
    for other in range(3):
        index.add(duplicates.hash_image(create_image(seed + other)))
    data = io.BytesIO()
    copy = create_image(seed).resize((80, 60))
    (ImageOps.mirror(copy) if mirror else copy).save(data, "JPEG", quality=50)
    with Image.open(data) as reopened:
        assert index.find_match(duplicates.hash_image(reopened.convert("RGB"))) == (
            0,
            "mirrors" if mirror else "looks like",
        )
    assert index.find_match(duplicates.hash_image(create_image(seed + 5000))) is None


def test_images_are_filtered_by_license() -> None:
    for seed, name in enumerate(["cc0.png", "both.png", "nested.png", "none.png", "said.png", "silent.png"]):
        save_image(name, seed)
    write_jsonl(
        "provenance.jsonl",
        {"file_name": "cc0.png", "license": "CC0-1.0", "author": "A"},
        {"file_name": "both.png", "licence": "MIT OR CC-BY-4.0"},
        {"file_name": "nested.png", "licence": "(MIT OR GPL-3.0-only) AND CC-BY-4.0"},
        {"file_name": "none.png", "licence": "NOASSERTION", "consent": "asked by letter"},
        {"file_name": "*", "source": "the attic"},
    )
    all_images = load_dataset()
    assert next(e for e in all_images.images if e.name == "silent.png").provenance is not None
    assert image_names(load_dataset(require_license=True)) == ["both.png", "cc0.png", "nested.png"]
    assert image_names(load_dataset(licenses="mit, cc0-1.0")) == ["both.png", "cc0.png"]
    assert "is not accepted" in reasons(load_dataset(licenses="mit,cc0-1.0"))["nested.png"]
    with pytest.raises(InputFileError, match="3 without a license"):
        load_dataset(require_license=True, on_bad_image="refuse")
    with pytest.raises(InputFileError, match="all images are unusable"):
        load_dataset(licenses="Apache-2.0")
    with pytest.raises(UsageError):
        load_dataset(licenses=" , ")
    record = datasheet.datasheet_record(all_images, {})
    assert record["licenses"]["not stated"] == 2
    assert record["consents"] == {"not stated": 5, "asked by letter": 1}


def test_unused_metadata_is_reported() -> None:
    save_image("deep/a.png")
    write_jsonl("deep/metadata.jsonl", {"file_name": "a.png", "text": "near", "score": 5})
    write_jsonl("metadata.jsonl", {"file_name": "deep/b.png", "text": "gone"}, {"file_name": "../a.png", "text": "out"})
    write_file("deep/alone.txt", "words")
    dataset = load_dataset()
    assert dataset.images[0].caption == "near"
    notes = "\n".join(dataset.notes)
    assert "score" in notes
    assert "metadata.jsonl:1: 'deep/b.png'" in notes
    assert "metadata.jsonl:2: '../a.png'" in notes
    assert "deep/alone.txt" in notes


def test_long_and_empty_captions_have_notes() -> None:
    save_image("a.png")
    save_image("b.png", 1)
    write_file("a.txt", "word, " * 40)
    write_file("b.txt", "")
    long, empty = load_dataset().images
    assert "82 tokens" in long.notes[0]
    assert (empty.caption, empty.notes) == ("", ("the caption is empty",))


def test_image_that_changes_after_verification_is_rejected() -> None:
    save_image("a.png")
    image = load_dataset().images[0]
    save_image("a.png", 1)
    with pytest.raises(InputFileError, match="changed"):
        open_training_image(image)


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([(16, 8), (64, 8), (128, 8), (512, 64), (768, 8)]))
def test_buckets_are_within_their_limits_and_keep_the_orientation(
    width: int, height: int, kind: tuple[int, int]
) -> None:
    resolution, multiple = kind
    wide, high = buckets.nearest_bucket(width, height, resolution, multiple)
    assert wide % multiple == high % multiple == 0
    assert resolution**2 / 2.1 <= wide * high <= resolution**2
    assert max(wide, high) <= 2 * min(wide, high)
    assert buckets.nearest_bucket(height, width, resolution, multiple) == (high, wide) or width == height
    assert 0 <= buckets.cropped_fraction(width, height, (wide, high)) < 1
    assert (wide > high) <= (width > height)
    assert buckets.nearest_bucket(wide, high, resolution, multiple) == (wide, high)


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(["center", "random"]), st.integers(0, 9))
def test_resize_and_crop_fills_the_bucket(width: int, height: int, crop: str, seed: int) -> None:
    image = Image.new("RGB", (width, height), (10, 200, 30))
    cropped = buckets.resize_and_crop(image, (24, 16), crop, random.Random(seed))
    assert cropped.size == (24, 16)
    assert cropped.getextrema() == ((10, 10), (200, 200), (30, 30))


def test_random_crops_vary_and_center_crops_are_constant() -> None:
    ramp = Image.linear_gradient("L").rotate(90).convert("RGB").resize((200, 50))
    first_pixels = {
        buckets.resize_and_crop(ramp, (50, 50), "random", random.Random(s)).getpixel((0, 0)) for s in range(60)
    }
    assert len(first_pixels) > 20
    centered = {buckets.resize_and_crop(ramp, (50, 50), "center", random.Random(s)).tobytes() for s in range(5)}
    assert len(centered) == 1


def test_report_counts_files_and_shortens_long_lists(capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(20):
        write_file(f"bad{number:02}.png", "no image")
    save_image("roses/good\x1b[2J.png")
    dataset = load_dataset()
    report_dataset.print_dataset_report(dataset, [(144, 112)])
    report = capsys.readouterr().err
    assert "By shape: 144x112 1" in report
    assert "'data': training uses 1 of 21 images." in report
    assert "Excluded, unreadable: 20" in report
    assert "and 8 more" in report
    assert "\x1b" not in report


def test_reading_a_data_set_does_not_import_torch() -> None:
    save_image("a.png")
    program = (
        "import sys; from pathlib import Path; from artgen.spec.settings import DatasetSettings; "
        "from artgen.dataset.read import read_dataset; "
        "read_dataset(DatasetSettings(folder=Path('data'))); "
        "print([n for n in ('torch', 'diffusers') if n in sys.modules])"
    )
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    completed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment, timeout=600
    )
    assert completed.stdout.strip() == "[]"
