"""Test the blended band of outpaint: its mask, its default width, its notes, and the records of earlier versions."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample_images
from PIL import Image

from artgen import Outpaint, images
from artgen._version import RECORD_SCHEMA
from artgen.errors import InputFileError
from artgen.jobs.inputs import load_inputs
from artgen.jobs.prepare import prepare_jobs
from artgen.jobs.replay import read_replay_spec
from artgen.spec.records import from_record, to_record

SIDES = ("left", "top", "right", "bottom")


def band_mask(feather: int, size: tuple[int, int] = (20, 30), **sides: int) -> np.ndarray:
    _, mask = images.expand_canvas(Image.new("RGB", size), **sides, feather=feather)
    return np.asarray(mask).astype(int)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("feather", [0, 1, 2, 5, 8])
def test_band_decreases_from_the_extended_side(side: str, feather: int) -> None:
    mask = band_mask(feather, **{side: 7})
    profile = {"left": mask[15], "top": mask[:, 10], "right": mask[15, ::-1], "bottom": mask[::-1, 10]}[side]
    assert set(profile[:7]) == {255}
    band = profile[7 : 7 + feather]
    assert all(254 >= first > second >= 1 for first, second in itertools.pairwise(band))
    assert np.all((band >= 1) & (band <= 254))
    assert set(profile[7 + feather :]) == {0}
    assert abs(band.mean() - 127.5) < 1 if feather else not len(band)


def test_sides_without_an_extension_have_no_band() -> None:
    mask = band_mask(4, left=3, bottom=2)
    assert set(mask[0, 3 + 4 :]) == {0}
    assert set(mask[: 30 - 4, -1]) == {0}
    assert np.all(mask[:30, 3 : 3 + 4] > 0)


@pytest.mark.parametrize("feather", [10, 15, 16, 200, 512])
def test_band_may_be_wider_than_the_image(feather: int) -> None:
    mask = band_mask(feather, left=2, top=2, right=2, bottom=2)
    assert mask.shape == (34, 24)
    assert np.all(mask[2:-2, 2:-2] < 255)


@pytest.mark.parametrize(
    ("size", "width"),
    [((512, 512), 16), ((1024, 768), 24), ((128, 128), 4), ((128, 512), 4), ((64, 64), 2), ((5, 9), 1)],
)
def test_default_width_is_proportional_to_the_shorter_side(size: tuple[int, int], width: int) -> None:
    assert images.default_feather(size) == width
    Image.new("RGB", size, "red").save("in.png")
    inputs = load_inputs(Outpaint(image=Path("in.png"), expand="8"))
    assert inputs.resolved == {"feather": width}
    (job,) = prepare_jobs([Outpaint(image=Path("in.png"), expand="8")])
    assert job.request.feather == width  # type: ignore[union-attr]
    assert f"{width} pixel" in " ".join(job.notes)


@pytest.mark.parametrize(
    ("feather", "note"),
    [(0, ""), (1, "A band of 1 pixel inside"), (3, "A band of 3 pixels inside"), (99, "The whole input image")],
)
def test_note_names_the_changed_pixels(feather: int, note: str) -> None:
    image = sample_images.photo(Path("photo.png"))
    notes = " ".join(load_inputs(Outpaint(image=image, expand="8", feather=feather)).notes)
    assert note in notes
    assert bool(notes) == bool(feather)
    assert not load_inputs(Outpaint(image=image, expand="8", feather=feather, keep_original=False)).notes


def old_record(**values: Any) -> dict[str, Any]:
    return {
        "artgen": "0.1.0",
        "task": "outpaint",
        "image": "photo.png",
        "expand": "8",
        "seed": 1,
        "prompt": "x",
    } | values


def test_record_of_an_earlier_version_has_no_band() -> None:
    assert from_record(old_record()).feather == 0  # type: ignore[attr-defined]
    assert from_record(old_record(feather=0)).feather == 0  # type: ignore[attr-defined]
    assert from_record(old_record(schema=RECORD_SCHEMA)).feather is None  # type: ignore[attr-defined]
    typed = {name: value for name, value in old_record().items() if name != "artgen"}
    assert from_record(typed).feather is None  # type: ignore[attr-defined]


def test_width_is_recorded() -> None:
    image = sample_images.photo(Path("photo.png"))
    (job,) = prepare_jobs([Outpaint(image=image, expand="8", seed=1)])
    assert to_record(job.request)["feather"] == 1


@pytest.mark.parametrize("feather", [1, 16])
def test_former_effect_of_feather_is_not_replayed(feather: int) -> None:
    image = sample_images.photo(Path("photo.png"))
    record = old_record(feather=feather, image_sha256=images.load_image(image).sha256)
    Path("record.json").write_text(json.dumps(record))
    with pytest.raises(InputFileError, match=r"--feather of outpaint had another effect in artgen '0\.1\.0'") as raised:
        read_replay_spec(Path("record.json"), {})
    assert "--set feather=16" in raised.value.hint
    assert read_replay_spec(Path("record.json"), {"feather": "16"}).request.feather == 16  # type: ignore[attr-defined]
