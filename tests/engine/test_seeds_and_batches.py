"""Test that an image does not depend on the other images of its batch, their order and the batch size."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plain_scripts as plain
import pytest
import sample_images
from PIL import Image
from transformers import CLIPTextModel

from artgen import GeneratedImage, Img2Img, Inpaint, Request, Txt2Img, generate, generate_all
from artgen.errors import UsageError
from artgen.events import ModelSelected, StepEvent
from artgen.jobs.prepare import prepare_jobs

SETTINGS = {"prompt": "a red fox", "steps": 3, "guidance_scale": 5.0}


def generate_images(requests: Sequence[Request], batch_size: int = 1) -> list[Image.Image]:
    """Generate images. Assert that none failed."""
    outcomes = list(generate_all(requests, batch_size=batch_size))
    assert all(isinstance(outcome, GeneratedImage) for outcome in outcomes), outcomes
    return [outcome.image for outcome in outcomes if isinstance(outcome, GeneratedImage)]


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
def test_batch_equals_single_requests(models: dict[str, Path], kind: str) -> None:
    requests = [Txt2Img(model=str(models[kind]), seed=seed, **SETTINGS) for seed in (7, 8, 9, 10)]
    single = [generate(request).image for request in requests]
    assert all(sample_images.same(a, b) for a, b in zip(generate_images(requests), single, strict=True))
    for batch_size in (2, 3, 4):
        together = generate_images(requests, batch_size)
        assert max(sample_images.difference(a, b) for a, b in zip(together, single, strict=True)) <= 1


def test_img2img_batch_equals_single_requests(models: dict[str, Path]) -> None:
    sample_images.photo(Path("photo.png"))
    requests = [
        Img2Img(model=str(models["sd1"]), image=Path("photo.png"), seed=seed, strength=0.7, **SETTINGS)
        for seed in (7, 8)
    ]
    single = [generate(request).image for request in requests]
    assert max(sample_images.difference(a, b) for a, b in zip(generate_images(requests, 2), single, strict=True)) <= 1


@pytest.mark.parametrize("kind", ["sd1", "sd1-inpaint", "sdxl", "sd3", "sd3-inpaint"])
def test_inpaint_batch_equals_single_requests(models: dict[str, Path], kind: str) -> None:
    image, mask = sample_images.photo(Path("photo.png")), sample_images.mask(Path("mask.png"))
    requests = [
        Inpaint(model=str(models[kind]), image=image, mask=mask, seed=seed, strength=0.7, **SETTINGS)
        for seed in (7, 8, 9)
    ]
    single = [generate(request).image for request in requests]
    assert max(sample_images.difference(a, b) for a, b in zip(generate_images(requests, 3), single, strict=True)) <= 1


def test_order_and_other_images_do_not_change_an_image(models: dict[str, Path]) -> None:
    def request(seed: int, prompt: str = "a red fox") -> Txt2Img:
        return Txt2Img(model=str(models["sd1"]), seed=seed, prompt=prompt, steps=3, guidance_scale=5.0)

    first = generate_images([request(7), request(8)], 2)
    reversed_order = generate_images([request(8), request(7)], 2)
    other = generate_images([request(7), request(99, "a blue house in the snow")], 2)
    assert sample_images.same(first[0], reversed_order[1])
    assert sample_images.same(first[1], reversed_order[0])
    assert sample_images.same(first[0], other[0])


def test_equal_seeds_give_equal_bytes_and_other_seeds_do_not(models: dict[str, Path]) -> None:
    request = Txt2Img(model=str(models["sd1"]), seed=7, **SETTINGS)
    image = generate(request).image
    assert sample_images.same(image, generate(request).image)
    assert not sample_images.same(image, generate(request.replace(seed=8)).image)


def test_largest_seed_is_accepted_and_differs_from_other_seeds(models: dict[str, Path]) -> None:
    # The CPU generator of torch uses only the lowest 32 bits of a seed.
    largest = generate(Txt2Img(model=str(models["sd1"]), seed=2**64 - 1, **SETTINGS))
    assert largest.record["seed"] == 2**64 - 1
    for seed in (2**64 - 2, 2**63, 0):
        other = generate(Txt2Img(model=str(models["sd1"]), seed=seed, **SETTINGS))
        assert not sample_images.same(largest.image, other.image)


@pytest.mark.parametrize("seed", [2**64, -1, -(2**63), 1.0, True, "7"])
def test_invalid_seed_is_rejected(seed: object) -> None:
    with pytest.raises(UsageError, match="seed must be"):
        Txt2Img(seed=seed)  # type: ignore[arg-type]


def test_unset_seed_is_random_and_recorded(models: dict[str, Path]) -> None:
    first, second = (generate(Txt2Img(model=str(models["sd1"]), **SETTINGS)) for _ in range(2))
    assert 0 <= first.record["seed"] < 2**32
    assert first.record["seed"] != second.record["seed"]
    assert first.request.seed == first.record["seed"]
    assert sample_images.same(first.image, generate(first.request).image)


def test_only_compatible_requests_share_a_pipeline_call(models: dict[str, Path]) -> None:
    base = Txt2Img(model=str(models["sd1"]), seed=1, **SETTINGS)
    requests = [base, base.replace(seed=2), base.replace(steps=4), base.replace(width=40), base.replace(width=40)]
    outcomes = list(generate_all(requests, batch_size=8))
    assert [outcome.record["batch_size"] for outcome in outcomes if isinstance(outcome, GeneratedImage)] == [
        2,
        2,
        1,
        2,
        2,
    ]
    assert [outcome.request.steps for outcome in outcomes] == [3, 3, 4, 3, 3]


def test_progress_contains_image_numbers(models: dict[str, Path]) -> None:
    log = plain.EventLog()
    requests = [Txt2Img(model=str(models["sd1"]), seed=seed, **SETTINGS) for seed in (1, 2, 3)]
    list(generate_all(requests, batch_size=2, listener=log))
    steps = [event for event in log.events if isinstance(event, StepEvent)]
    assert steps == [
        *(StepEvent(completed_steps=i, num_steps=3, first_image=1, num_images=2, total_images=3) for i in (1, 2, 3)),
        *(StepEvent(completed_steps=i, num_steps=3, first_image=3, num_images=1, total_images=3) for i in (1, 2, 3)),
    ]
    selected = [event for event in log.events if isinstance(event, ModelSelected)]
    assert set(selected) == {ModelSelected(str(models["sd1"]), "cpu", "fp32")}


def test_all_requests_are_validated_before_the_first_image(models: dict[str, Path]) -> None:
    log = plain.EventLog()
    valid = Txt2Img(model=str(models["sd1"]), seed=1, **SETTINGS)
    with pytest.raises(UsageError, match="multiples of 8"):
        next(iter(generate_all([valid, valid.replace(width=33)], listener=log)))
    assert log.events == []


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_size_below_one_is_rejected(models: dict[str, Path], batch_size: int) -> None:
    with pytest.raises(UsageError, match="Cannot use batch size"):
        list(generate_all([Txt2Img(model=str(models["sd1"]), **SETTINGS)], batch_size=batch_size))


def test_generation_works_after_an_interrupt(models: dict[str, Path]) -> None:
    request = Txt2Img(model=str(models["sd1"]), seed=1, **SETTINGS)
    before = generate(request).image

    def interrupt(event: object) -> None:
        if isinstance(event, StepEvent) and event.completed_steps == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(request, listener=interrupt)
    assert sample_images.same(generate(request).image, before)


def test_seeds_with_equal_low_32_bits_give_equal_images_and_a_note(models: dict[str, Path]) -> None:
    seeds = (5, 5 + 2**32, 5 + 7 * 2**32, 2**32 - 1)
    requests = [Txt2Img(model=str(models["sd1"]), seed=seed, **SETTINGS) for seed in seeds]
    first, second, third, other = generate_images(requests)
    assert sample_images.same(first, second)
    assert sample_images.same(first, third)
    assert not sample_images.same(first, other)
    has_note = ["remainder modulo 2^32" in " ".join(job.notes) for job in prepare_jobs(requests)]
    assert has_note == [False, True, True, False]


def test_prompt_is_encoded_once(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    encoder_calls = []

    def count(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        encoder_calls.append(type(self).__name__)
        return original(self, *args, **kwargs)

    plain.wrap_method(monkeypatch, CLIPTextModel, "forward", count)
    settings = {
        "model": str(models["sd1"]),
        "steps": 1,
        "guidance_scale": 3.0,
        "prompt": "a prompt that no other test has",
    }
    list(generate_all([Txt2Img(seed=seed, **settings) for seed in range(4)], batch_size=2))
    assert len(encoder_calls) == 2  # the prompt and the empty prompt
    generate(Txt2Img(seed=9, **{**settings, "negative_prompt": "blue"}))
    assert len(encoder_calls) == 4
