"""Seeds and batches: neighbours, order and batch size do not change a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plain_scripts as plain
import pytest
from PIL import Image
from transformers import CLIPTextModel

from artgen import GeneratedImage, Img2Img, Inpaint, Request, Txt2Img, generate, generate_all
from artgen.errors import UsageError
from artgen.events import ModelSelected, StepEvent
from artgen.jobs.prepare import prepare_jobs

WORDS = {"prompt": "a red fox", "steps": 3, "guidance_scale": 5.0}


def pictures(requests: Sequence[Request], batch_size: int = 1) -> list[Image.Image]:
    outcomes = list(generate_all(requests, batch_size=batch_size))
    assert all(isinstance(outcome, GeneratedImage) for outcome in outcomes), outcomes
    return [outcome.image for outcome in outcomes if isinstance(outcome, GeneratedImage)]


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
def test_a_batch_draws_what_single_requests_draw(models: dict[str, Path], kind: str) -> None:
    requests = [Txt2Img(model=str(models[kind]), seed=seed, **WORDS) for seed in (7, 8, 9, 10)]
    single = [generate(request).image for request in requests]
    assert all(plain.same(a, b) for a, b in zip(pictures(requests), single, strict=True))
    for batch_size in (2, 3, 4):
        together = pictures(requests, batch_size)
        assert max(plain.difference(a, b) for a, b in zip(together, single, strict=True)) <= 1


def test_a_batch_of_redrawn_pictures_too(models: dict[str, Path]) -> None:
    plain.photo(Path("photo.png"))
    requests = [
        Img2Img(model=str(models["sd1"]), image=Path("photo.png"), seed=seed, strength=0.7, **WORDS) for seed in (7, 8)
    ]
    single = [generate(request).image for request in requests]
    assert max(plain.difference(a, b) for a, b in zip(pictures(requests, 2), single, strict=True)) <= 1


@pytest.mark.parametrize("kind", ["sd1", "sd1-inpaint", "sdxl", "sd3", "sd3-inpaint"])
def test_a_batch_of_repainted_pictures_too(models: dict[str, Path], kind: str) -> None:
    image, mask = plain.photo(Path("photo.png")), plain.mask(Path("mask.png"))
    requests = [
        Inpaint(model=str(models[kind]), image=image, mask=mask, seed=seed, strength=0.7, **WORDS) for seed in (7, 8, 9)
    ]
    single = [generate(request).image for request in requests]
    assert max(plain.difference(a, b) for a, b in zip(pictures(requests, 3), single, strict=True)) <= 1


def test_order_and_neighbours_do_not_matter(models: dict[str, Path]) -> None:
    def request(seed: int, prompt: str = "a red fox") -> Txt2Img:
        return Txt2Img(model=str(models["sd1"]), seed=seed, prompt=prompt, steps=3, guidance_scale=5.0)

    first = pictures([request(7), request(8)], 2)
    turned = pictures([request(8), request(7)], 2)
    other = pictures([request(7), request(99, "a blue house in the snow")], 2)
    assert plain.same(first[0], turned[1])
    assert plain.same(first[1], turned[0])
    assert plain.same(first[0], other[0])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(models: dict[str, Path]) -> None:
    request = Txt2Img(model=str(models["sd1"]), seed=7, **WORDS)
    once = generate(request).image
    assert plain.same(once, generate(request).image)
    assert not plain.same(once, generate(request.replace(seed=8)).image)


def test_the_largest_seed_draws_and_differs_from_its_neighbours(models: dict[str, Path]) -> None:
    # torch's generator for the CPU reads the lowest 32 bits of a seed, as it does in any diffusers script.
    largest = generate(Txt2Img(model=str(models["sd1"]), seed=2**64 - 1, **WORDS))
    assert largest.record["seed"] == 2**64 - 1
    for seed in (2**64 - 2, 2**63, 0):
        assert not plain.same(largest.image, generate(Txt2Img(model=str(models["sd1"]), seed=seed, **WORDS)).image)


@pytest.mark.parametrize("seed", [2**64, -1, -(2**63), 1.0, True, "7"])
def test_what_is_no_seed_is_refused(seed: object) -> None:
    with pytest.raises(UsageError, match="seed must be"):
        Txt2Img(seed=seed)  # type: ignore[arg-type]


def test_a_seed_that_is_not_given_is_drawn_and_recorded(models: dict[str, Path]) -> None:
    first, second = (generate(Txt2Img(model=str(models["sd1"]), **WORDS)) for _ in range(2))
    assert 0 <= first.record["seed"] < 2**32
    assert first.record["seed"] != second.record["seed"]
    assert first.request.seed == first.record["seed"]
    assert plain.same(first.image, generate(first.request).image)


def test_only_what_fits_together_is_drawn_together(models: dict[str, Path]) -> None:
    base = Txt2Img(model=str(models["sd1"]), seed=1, **WORDS)
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


def test_progress_says_which_picture_of_how_many(models: dict[str, Path]) -> None:
    heard = plain.Heard()
    requests = [Txt2Img(model=str(models["sd1"]), seed=seed, **WORDS) for seed in (1, 2, 3)]
    list(generate_all(requests, batch_size=2, listener=heard))
    steps = [event for event in heard.events if isinstance(event, StepEvent)]
    assert steps == [
        *(StepEvent(completed_steps=i, num_steps=3, first_image=1, num_images=2, total_images=3) for i in (1, 2, 3)),
        *(StepEvent(completed_steps=i, num_steps=3, first_image=3, num_images=1, total_images=3) for i in (1, 2, 3)),
    ]
    chosen = [event for event in heard.events if isinstance(event, ModelSelected)]
    assert set(chosen) == {ModelSelected(str(models["sd1"]), "cpu", "fp32")}


def test_everything_is_checked_before_the_first_picture(models: dict[str, Path]) -> None:
    heard = plain.Heard()
    good = Txt2Img(model=str(models["sd1"]), seed=1, **WORDS)
    with pytest.raises(UsageError, match="multiples of 8"):
        next(iter(generate_all([good, good.replace(width=33)], listener=heard)))
    assert heard.events == []


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_of_nothing_is_refused(models: dict[str, Path], batch_size: int) -> None:
    with pytest.raises(UsageError, match="batch_size must be"):
        list(generate_all([Txt2Img(model=str(models["sd1"]), **WORDS)], batch_size=batch_size))


def test_an_interrupt_leaves_the_engine_usable(models: dict[str, Path]) -> None:
    request = Txt2Img(model=str(models["sd1"]), seed=1, **WORDS)
    before = generate(request).image

    def interrupt(event: object) -> None:
        if isinstance(event, StepEvent) and event.completed_steps == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(request, listener=interrupt)
    assert plain.same(generate(request).image, before)


def test_seeds_that_share_their_low_32_bits_draw_the_same_picture_and_that_is_noted(models: dict[str, Path]) -> None:
    seeds = (5, 5 + 2**32, 5 + 7 * 2**32, 2**32 - 1)
    requests = [Txt2Img(model=str(models["sd1"]), seed=seed, **WORDS) for seed in seeds]
    first, second, third, other = pictures(requests)
    assert plain.same(first, second)
    assert plain.same(first, third)
    assert not plain.same(first, other)
    noted = ["remainder modulo 2^32" in " ".join(job.notes) for job in prepare_jobs(requests)]
    assert noted == [False, True, True, False]


def test_a_prompt_is_encoded_once(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []

    def count(original: Any, self: Any, *arguments: Any, **more: Any) -> Any:
        encoded.append(type(self).__name__)
        return original(self, *arguments, **more)

    plain.around(monkeypatch, CLIPTextModel, "forward", count)
    words = {
        "model": str(models["sd1"]),
        "steps": 1,
        "guidance_scale": 3.0,
        "prompt": "a prompt that no other test has",
    }
    list(generate_all([Txt2Img(seed=seed, **words) for seed in range(4)], batch_size=2))
    assert len(encoded) == 2  # with and without the words
    generate(Txt2Img(seed=9, **{**words, "negative_prompt": "blue"}))
    assert len(encoded) == 4
