"""Prompts over 77 tokens: what is lost is said exactly, or encoded in chunks, or refused."""

from pathlib import Path
from typing import Any

import plain_scripts as plain
import pytest

from artgen import GeneratedImage, Img2Img, Txt2Img, generate, generate_all
from artgen.errors import UsageError
from artgen.events import Loading

FITS = "a red fox " * 25  # 75 tokens: the tiny tokenizer knows each word
OVER = FITS + "In the Snow,  a Blue CAT"
LOST = "In the Snow,  a Blue CAT"
SHORT: dict[str, Any] = {"seed": 7, "steps": 2, "guidance_scale": 5.0}


def request(folder: Path, prompt: str, long_prompt: str = "truncate", **more: Any) -> Txt2Img:
    return Txt2Img(model=str(folder), prompt=prompt, long_prompt=long_prompt, **SHORT, **more)


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
def test_the_part_that_is_dropped_is_said_and_recorded_as_it_was_written(models: dict[str, Path], kind: str) -> None:
    heard = plain.Heard()
    picture = generate(request(models[kind], OVER), listener=heard)
    assert [note for note in heard.notes if note.endswith(f"does not see its end: {LOST}")] == heard.notes
    assert len(heard.notes) == 1
    assert picture.record["dropped_prompt"] == LOST
    assert picture.record["prompt"] == OVER
    assert plain.same(picture.image, generate(request(models[kind], FITS)).image)


def test_a_prompt_that_fits_to_the_last_token_loses_nothing(models: dict[str, Path]) -> None:
    heard = plain.Heard()
    picture = generate(request(models["sd1"], FITS), listener=heard)
    assert heard.notes == []
    assert "dropped_prompt" not in picture.record


def test_one_token_too_many(models: dict[str, Path]) -> None:
    assert generate(request(models["sd1"], FITS + "tree")).record["dropped_prompt"] == "tree"


def test_the_negative_prompt_is_counted_too(models: dict[str, Path]) -> None:
    heard = plain.Heard()
    picture = generate(request(models["sd1"], OVER, negative_prompt=FITS + "small house"), listener=heard)
    assert picture.record["dropped_prompt"] == LOST
    assert picture.record["dropped_negative_prompt"] == "small house"
    assert [note.split(" is ")[0] for note in heard.notes] == ["the prompt", "the negative prompt"]


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
@pytest.mark.parametrize("negative", ["", "a small house"])
def test_in_chunks_a_prompt_that_fits_gives_the_very_same_pixels(
    models: dict[str, Path], kind: str, negative: str
) -> None:
    for prompt in ("", "a red fox", FITS):
        plainly = generate(request(models[kind], prompt, negative_prompt=negative))
        assert plain.same(
            generate(request(models[kind], prompt, "chunk", negative_prompt=negative)).image, plainly.image
        )


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_in_chunks_the_tail_of_a_long_prompt_counts(models: dict[str, Path], kind: str, guidance: float) -> None:
    requests = [
        request(models[kind], FITS * 2 + tail, "chunk").replace(guidance_scale=guidance)
        for tail in ("a blue cat", "a small house", "")
    ]
    heard = plain.Heard()
    images = [generate(each, listener=heard).image for each in requests]
    assert heard.notes == []
    assert not plain.same(images[0], images[1])
    assert not plain.same(images[0], images[2])
    truncated = generate(requests[0].replace(long_prompt="truncate")).image
    assert not plain.same(images[0], truncated)
    assert "dropped_prompt" not in generate(requests[0]).record


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_in_chunks_a_long_negative_prompt_counts(models: dict[str, Path], kind: str) -> None:
    images = [
        generate(request(models[kind], "a fox", "chunk", negative_prompt=FITS + tail)).image
        for tail in ("a blue cat", "a small house")
    ]
    assert not plain.same(*images)


def test_in_chunks_a_long_neighbour_changes_nothing(models: dict[str, Path]) -> None:
    requests = [request(models["sd1"], "a red fox", "chunk"), request(models["sd1"], OVER, "chunk")]
    together = list(generate_all(requests, batch_size=2))
    for each, outcome in zip(requests, together, strict=True):
        assert isinstance(outcome, GeneratedImage)
        assert plain.same(outcome.image, generate(each).image)


def test_in_chunks_seeds_of_one_prompt_are_drawn_together(models: dict[str, Path]) -> None:
    requests = [request(models["sd1"], OVER, "chunk").replace(seed=seed) for seed in (1, 2)]
    for each, outcome in zip(requests, generate_all(requests, batch_size=2), strict=True):
        assert isinstance(outcome, GeneratedImage)
        assert outcome.record["batch_size"] == 2
        assert plain.difference(outcome.image, generate(each).image) <= 1


def test_chunks_work_for_redrawing_too(models: dict[str, Path]) -> None:
    image = plain.photo(Path("photo.png"))
    images = [
        generate(
            Img2Img(
                model=str(models["sdxl"]), prompt=FITS + tail, long_prompt="chunk", image=image, strength=1.0, **SHORT
            )
        ).image
        for tail in ("a blue cat", "a small house")
    ]
    assert not plain.same(*images)


def test_a_model_that_cannot_take_chunks_says_so(models: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="works with Stable Diffusion 1, 2 and XL"):
        generate(request(models["sd3"], OVER, "chunk"))
    assert generate(request(models["sd3"], FITS, "chunk"))


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
def test_a_long_prompt_can_be_refused_before_the_model_loads(models: dict[str, Path], kind: str) -> None:
    heard = plain.Heard()
    with pytest.raises(UsageError, match="limit of 75 tokens by: 'In the Snow,  a Blue CAT'"):
        list(
            generate_all(
                [request(models[kind], "a fox", "error"), request(models[kind], OVER, "error")], listener=heard
            )
        )
    assert not [event for event in heard.events if isinstance(event, Loading)]
    with pytest.raises(UsageError, match="tokens"):
        generate(request(models[kind], "a fox", "error", negative_prompt=OVER))
    assert generate(request(models[kind], FITS, "error"))
