"""Test `--max-side`, and the expected time that is printed for large images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample_images
from PIL import Image

from artgen import Denoise, Img2Img, Inpaint, Outpaint
from artgen.errors import UsageError
from artgen.jobs.inputs import load_inputs, scaled_size
from artgen.jobs.prepare import prepare_jobs
from artgen.jobs.replay import read_replay_spec
from artgen.spec.records import from_record, to_record

TASKS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "img2img": (Img2Img, {"prompt": "x"}),
    "inpaint": (Inpaint, {"prompt": "x", "mask": Path("mask.png")}),
    "outpaint": (Outpaint, {"prompt": "x", "expand": "left=5"}),
    "denoise": (Denoise, {}),
}


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [
        ((4000, 3000), 2048, (2048, 1536)), ((3000, 4000), 2048, (1536, 2048)), ((100, 50), 100, (100, 50)),
        ((100, 50), 99, (99, 50)), ((100, 1), 10, (10, 1)), ((7, 7), 1, (1, 1)), ((64, 32), None, (64, 32)),
        ((64, 32), 16384, (64, 32)),
    ],
)  # fmt: skip
def test_longer_side_is_limited(size: tuple[int, int], max_side: int | None, expected: tuple[int, int]) -> None:
    assert scaled_size(size, max_side) == expected


def create_request(task: str, **settings: Any) -> Any:
    sample_images.photo(Path("photo.png"), 40, 20)
    sample_images.mask(Path("mask.png"), 40, 20)
    cls, own = TASKS[task]
    return cls(image=Path("photo.png"), **(own | settings))


@pytest.mark.parametrize("task", TASKS)
def test_output_has_the_reduced_size(task: str) -> None:
    (job,) = prepare_jobs([create_request(task, max_side=16)])
    assert job.size == ((21, 8) if task == "outpaint" else (16, 8))
    assert "downscaled from 40x20 to 16x8" in " ".join(job.notes)
    assert ("also reduces the noise" in " ".join(job.notes)) == (task == "denoise")
    record = to_record(job.request, job.provenance)
    assert record["max_side"] == 16
    assert from_record(record).max_side == 16  # type: ignore[attr-defined]
    inputs = load_inputs(create_request(task, max_side=16))
    assert inputs.image is not None
    photo = Image.open("photo.png").resize((16, 8), Image.Resampling.LANCZOS)
    assert sample_images.same(inputs.image.crop((inputs.image.width - 16, 0, inputs.image.width, 8)), photo)
    assert inputs.mask is None or inputs.mask.size == inputs.image.size


@pytest.mark.parametrize("task", TASKS)
def test_smaller_image_is_unchanged(task: str) -> None:
    small, unset = (load_inputs(create_request(task, **values)) for values in ({"max_side": 40}, {}))
    assert sample_images.same(small.image, unset.image)  # type: ignore[arg-type]
    assert small.notes == unset.notes


def test_all_bits_of_a_downscaled_image_are_kept() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (20, 40), np.uint16)
    Image.fromarray(values).save("deep.png")
    inputs = load_inputs(Denoise(image=Path("deep.png"), max_side=10))
    assert inputs.image is not None
    assert inputs.image.size == (10, 5)
    assert inputs.low_bytes is not None
    assert len(set(inputs.low_bytes.tobytes())) > 10


@pytest.mark.parametrize("value", [0, -1, 16385, 1.5, "x"])
def test_invalid_value_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="max_side"):
        create_request("img2img", max_side=value)


def test_replay_uses_the_recorded_value() -> None:
    (job,) = prepare_jobs([create_request("img2img", max_side=16, seed=1)])
    Path("record.json").write_text(
        json.dumps({"artgen": "0.1.0", "schema": 1, **to_record(job.request, job.provenance)})
    )
    (again,) = prepare_jobs([read_replay_spec(Path("record.json"), {}).request])
    assert again.size == (16, 8)
    assert sample_images.same(again.image, job.image)  # type: ignore[union-attr]


def large_photo() -> Path:
    """Save a photograph of 12 megapixels."""
    Image.new("RGB", (4000, 3000), "gray").save("large.png", compress_level=1)
    return Path("large.png")


@pytest.mark.parametrize("task", TASKS)
def test_expected_time_of_a_large_image_is_printed_before_the_run(task: str) -> None:
    sample_images.mask(Path("mask.png"), 4000, 3000)
    cls, own = TASKS[task]
    request = cls(image=large_photo(), device="cpu", **own)
    (job,) = prepare_jobs([request])
    (note,) = [text for text in job.notes if "pixels take about" in text]
    assert note.startswith("4005x3000" if task == "outpaint" else "4000x3000")
    assert "on this CPU. With --max-side 2048: about" in note
    (reduced,) = prepare_jobs([request.replace(max_side=512)])
    assert not [text for text in reduced.notes if "pixels take about" in text]


def test_expected_time_grows_with_steps_and_guidance() -> None:
    from artgen.jobs.time_estimate import estimate_seconds

    image = large_photo()

    def seconds(**settings: Any) -> float:
        (job,) = prepare_jobs([Img2Img(image=image, prompt="x", device="cpu", strength=1.0, **settings)])
        return estimate_seconds(job.request, job.model, job.size) or 0.0  # type: ignore[arg-type,union-attr]

    base = seconds(steps=4, guidance_scale=1.0)
    assert base > 1
    assert seconds(steps=40, guidance_scale=1.0) > 2 * base
    assert seconds(steps=4, guidance_scale=5.0) > base
    (job,) = prepare_jobs([Img2Img(image=image, prompt="x", device="cpu", strength=0.0)])
    assert estimate_seconds(job.request, job.model, job.size) is None  # type: ignore[arg-type,union-attr]
