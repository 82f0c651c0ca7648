"""Folders as people have them: damaged, huge, hidden, linked, doubled, and named in every way."""

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
from training_folders import lines, load, picture, save, write

from artgen.cli import report_dataset
from artgen.dataset import buckets, datasheet, duplicates
from artgen.dataset.read import Dataset, open_training_image
from artgen.errors import InputFileError, UsageError


def reasons(found: Dataset) -> dict[str, str]:
    return {each.name: each.reason for each in found.rejected}


def used(found: Dataset) -> list[str]:
    return [each.name for each in found.images]


def test_a_folder_with_every_kind_of_file_is_read_and_each_bad_one_has_its_reason() -> None:
    good = save("a.png")
    picture(1).convert("CMYK").save("data/cmyk.jpg")
    picture(2).save("data/moving.gif", save_all=True, append_images=[picture(3)])
    picture(4).quantize(8).save("data/palette.png", transparency=0)
    wide = numpy.asarray(picture(5).convert("L")).astype("uint16") * 257
    Image.fromarray(wide).save("data/wide.png")
    save("UPPER.JPEG", 6)
    save("jpeg-inside.png", 7, format="JPEG")
    save("no-suffix", 8, format="PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    save("turned.jpg", 9, exif=exif)
    Image.new("1", (10_000, 9_000)).save("data/huge.png")
    save("small.png", 10, (40, 300))
    write("cut.png", good.read_bytes()[:-200])
    write("empty.jpg", b"")
    write("text.png", "no picture")
    write("later.heic", b"\0\0\0\x18ftypheic" + b"\0" * 40)
    write("drawing.svg", "<svg/>")
    write("Thumbs.db", b"\0")
    write(".hidden.png", "no picture")
    write("__MACOSX/a.png", "no picture")
    Path("data/broken.png").symlink_to("nowhere.png")
    found = load(resolution=128)
    good_ones = "UPPER.JPEG a.png cmyk.jpg jpeg-inside.png moving.gif no-suffix palette.png turned.jpg wide.png"
    assert used(found) == good_ones.split()
    words = {
        "huge.png": "10000x9000", "small.png": "64 pixels or more", "cut.png": "damaged", "empty.jpg": "is empty",
        "text.png": "looks like text", "later.heic": "HEIC", "drawing.svg": "SVG", "broken.png": "does not exist",
    }  # fmt: skip
    assert reasons(found).keys() == words.keys()
    for name, word in words.items():
        assert word in reasons(found)[name], reasons(found)[name]
    by_name = {each.name: each for each in found.images}
    assert (by_name["turned.jpg"].width, by_name["turned.jpg"].height) == (120, 160)
    assert "holds 2 pictures" in by_name["moving.gif"].notes[0]
    assert "laid over white" in " ".join(by_name["palette.png"].notes)
    assert any("Thumbs.db" in note for note in found.notes)
    for example in found.images:
        opened = open_training_image(example)
        assert (opened.mode, opened.size) == ("RGB", (example.width, example.height))


def test_links_to_folders_are_followed_once_and_results_are_left_out() -> None:
    save("one/a.png")
    Path("data/one/loop").symlink_to("..")
    Path("data/zwei").symlink_to("one")
    save("my-style-training/samples.png", 1)
    write("my-style-training/datasheet.json", "{}")
    found = load()
    assert used(found) == ["one/a.png"]
    assert sum("read already" in note for note in found.notes) == 2
    assert any("result of a training" in note for note in found.notes)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_said() -> None:
    save("a.png")
    save("locked.png", 1).chmod(0)
    save("inside/b.png", 2)
    Path("data/inside").chmod(0)
    try:
        found = reasons(load())
    finally:
        Path("data/inside").chmod(0o700)
    assert "permission denied" in found["locked.png"].lower()
    assert "permission denied" in found["inside"].lower()


def test_names_that_are_no_text_or_normalised_otherwise() -> None:
    save("e\u0301clair.png")  # as macOS writes it
    Path("data/\udcff\x1b[2J.png").write_bytes(save("b.png", 1).read_bytes())
    lines("metadata.jsonl", {"file_name": "\u00e9clair.png", "text": "a cake"})
    found = load(duplicates="keep")
    assert {each.caption for each in found.images} >= {"a cake"}
    sheet = datasheet.write_datasheet(found, Path("sheet.md"), run_info={"trigger": "x | y"})
    assert "\x1b" not in sheet.markdown_path.read_text()
    assert json.loads(sheet.json_path.read_text())["pictures"] == 3


def twins(path: str, seed: int, quality: int, *, mirror: bool = False) -> None:
    smaller = picture(seed).resize((128, 96))
    (ImageOps.mirror(smaller) if mirror else smaller).save(Path("data", path), quality=quality)


def test_duplicates_are_kept_dropped_or_refused() -> None:
    original = save("m-original.png")
    write("b-copy.png", original.read_bytes())
    twins("c-smaller.jpg", 0, 60)
    twins("d-mirrored.jpg", 0, 60, mirror=True)
    save("another.png", 1)
    dropped = load()
    assert used(dropped) == ["another.png", "b-copy.png"]
    assert dropped.duplicate_groups == (("b-copy.png", "c-smaller.jpg", "d-mirrored.jpg", "m-original.png"),)
    assert reasons(dropped) == {
        "m-original.png": "is the same file as 'b-copy.png'",
        "c-smaller.jpg": "looks like 'b-copy.png'",
        "d-mirrored.jpg": "mirrors 'b-copy.png'",
    }
    kept = load(duplicates="keep")
    assert len(kept.images) == 5
    assert kept.duplicate_groups == dropped.duplicate_groups
    assert "it mirrors 'b-copy.png'" in next(e for e in kept.images if e.name == "d-mirrored.jpg").notes
    with pytest.raises(InputFileError, match="3 duplicate"):
        load(duplicates="refuse")


def test_different_drawings_of_fine_lines_are_no_duplicates() -> None:
    """Their small copies are nearly white, all of them."""
    from PIL import ImageDraw

    for number in range(8):
        sketch = Image.new("RGB", (256, 256), "white")
        draw, chance = ImageDraw.Draw(sketch), random.Random(number)
        draw.line([(chance.randint(60, 196), chance.randint(60, 196)) for _ in range(8)], "black", 1)
        Path("data").mkdir(exist_ok=True)
        sketch.save(f"data/{number}.png")
    assert len(load().images) == 8


@given(st.integers(0, 1000), st.booleans())
def test_a_picture_is_known_again_after_compression_and_mirroring(seed: int, mirror: bool) -> None:
    known = duplicates.DuplicateIndex(4)
    for other in range(3):
        known.add(duplicates.hash_image(picture(seed + other)))
    data = io.BytesIO()
    again = picture(seed).resize((80, 60))
    (ImageOps.mirror(again) if mirror else again).save(data, "JPEG", quality=50)
    with Image.open(data) as reopened:
        assert known.find_match(duplicates.hash_image(reopened.convert("RGB"))) == (
            0,
            "mirrors" if mirror else "looks like",
        )
    assert known.find_match(duplicates.hash_image(picture(seed + 5000))) is None


def test_licences() -> None:
    for seed, name in enumerate(["cc0.png", "both.png", "nested.png", "none.png", "said.png", "silent.png"]):
        save(name, seed)
    lines(
        "provenance.jsonl",
        {"file_name": "cc0.png", "license": "CC0-1.0", "author": "A"},
        {"file_name": "both.png", "licence": "MIT OR CC-BY-4.0"},
        {"file_name": "nested.png", "licence": "(MIT OR GPL-3.0-only) AND CC-BY-4.0"},
        {"file_name": "none.png", "licence": "NOASSERTION", "consent": "asked by letter"},
        {"file_name": "*", "source": "the attic"},
    )
    every = load()
    assert next(e for e in every.images if e.name == "silent.png").provenance is not None
    assert used(load(require_license=True)) == ["both.png", "cc0.png", "nested.png"]
    assert used(load(licenses="mit, cc0-1.0")) == ["both.png", "cc0.png"]
    assert "is under" in reasons(load(licenses="mit,cc0-1.0"))["nested.png"]
    with pytest.raises(InputFileError, match="3 without a licence"):
        load(require_license=True, on_bad_image="refuse")
    with pytest.raises(InputFileError, match="No picture"):
        load(licenses="Apache-2.0")
    with pytest.raises(UsageError):
        load(licenses=" , ")
    facts = datasheet.datasheet_record(every, {})
    assert facts["licences"]["not said"] == 2
    assert facts["consents"] == {"not said": 5, "asked by letter": 1}


def test_what_tables_say_that_means_nothing_is_told() -> None:
    save("deep/a.png")
    lines("deep/metadata.jsonl", {"file_name": "a.png", "text": "near", "score": 5})
    lines("metadata.jsonl", {"file_name": "deep/b.png", "text": "gone"}, {"file_name": "../a.png", "text": "out"})
    write("deep/alone.txt", "words")
    found = load()
    assert found.images[0].caption == "near"
    told = "\n".join(found.notes)
    assert "score" in told
    assert "metadata.jsonl:1: 'deep/b.png'" in told
    assert "metadata.jsonl:2: '../a.png'" in told
    assert "deep/alone.txt" in told


def test_long_and_empty_captions_are_noted() -> None:
    save("a.png")
    save("b.png", 1)
    write("a.txt", "word, " * 40)
    write("b.txt", "")
    long, empty = load().images
    assert "82 tokens" in long.notes[0]
    assert (empty.caption, empty.notes) == ("", ("its caption is empty",))


def test_a_picture_that_changes_after_it_was_read_is_refused() -> None:
    save("a.png")
    example = load().images[0]
    save("a.png", 1)
    with pytest.raises(InputFileError, match="changed"):
        open_training_image(example)


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([(16, 8), (64, 8), (128, 8), (512, 64), (768, 8)]))
def test_buckets_are_within_their_limits_and_near_the_picture(width: int, height: int, kind: tuple[int, int]) -> None:
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
def test_placed_pictures_have_the_size_and_show_the_picture(width: int, height: int, crop: str, seed: int) -> None:
    image = Image.new("RGB", (width, height), (10, 200, 30))
    placed = buckets.resize_and_crop(image, (24, 16), crop, random.Random(seed))
    assert placed.size == (24, 16)
    assert placed.getextrema() == ((10, 10), (200, 200), (30, 30))


def test_random_crops_reach_both_ends_and_centred_ones_stay() -> None:
    ramp = Image.linear_gradient("L").rotate(90).convert("RGB").resize((200, 50))
    starts = {buckets.resize_and_crop(ramp, (50, 50), "random", random.Random(s)).getpixel((0, 0)) for s in range(60)}
    assert len(starts) > 20
    centre = {buckets.resize_and_crop(ramp, (50, 50), "center", random.Random(s)).tobytes() for s in range(5)}
    assert len(centre) == 1


def test_the_report_says_how_many_and_cuts_long_lists(capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(20):
        write(f"bad{number:02}.png", "no picture")
    save("roses/good\x1b[2J.png")
    found = load()
    report_dataset.print_dataset_report(found, [(144, 112)])
    short = capsys.readouterr().err
    assert "by shape: 144x112 1" in short
    assert "data: 1 of 21 pictures are learnt from" in short
    assert "left out, unreadable: 20" in short
    assert "and 8 more" in short
    assert "\x1b" not in short


def test_reading_a_folder_imports_nothing_heavy() -> None:
    save("a.png")
    program = (
        "import sys; from pathlib import Path; from artgen.spec.settings import Data; "
        "from artgen.dataset import collection; "
        "collection.read(Data(folder=Path('data'))); print([n for n in ('torch', 'diffusers') if n in sys.modules])"
    )
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment, timeout=600
    )
    assert ran.stdout.strip() == "[]"
