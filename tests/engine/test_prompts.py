"""Test prompts with more than 77 tokens: truncation with an exact note, encoding in chunks, and rejection."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plain_scripts as plain
import pytest
import sample_images

from artgen import GeneratedImage, Img2Img, Txt2Img, generate, generate_all
from artgen.errors import UsageError
from artgen.events import Loading

FITS = "a red fox " * 25  # 75 tokens: every word is one token of the tiny tokenizer
TOO_LONG = FITS + "In the Snow,  a Blue CAT"
TRUNCATED = "In the Snow,  a Blue CAT"
SETTINGS: dict[str, Any] = {"seed": 7, "steps": 2, "guidance_scale": 5.0}


def request(folder: Path, prompt: str, long_prompt: str = "truncate", **kwargs: Any) -> Txt2Img:
    """Return a request for a model folder."""
    return Txt2Img(model=str(folder), prompt=prompt, long_prompt=long_prompt, **SETTINGS, **kwargs)


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
def test_truncated_part_is_in_the_note_and_the_record(models: dict[str, Path], kind: str) -> None:
    log = plain.EventLog()
    generated = generate(request(models[kind], TOO_LONG), listener=log)
    assert log.notes == [f"The prompt is too long for this model. Ignoring its end: '{TRUNCATED}'."]
    assert generated.record["dropped_prompt"] == TRUNCATED
    assert generated.record["prompt"] == TOO_LONG
    assert sample_images.same(generated.image, generate(request(models[kind], FITS)).image)


def test_prompt_at_the_limit_is_not_truncated(models: dict[str, Path]) -> None:
    log = plain.EventLog()
    generated = generate(request(models["sd1"], FITS), listener=log)
    assert log.notes == []
    assert "dropped_prompt" not in generated.record


def test_one_token_beyond_the_limit_is_truncated(models: dict[str, Path]) -> None:
    assert generate(request(models["sd1"], FITS + "tree")).record["dropped_prompt"] == "tree"


def test_negative_prompt_is_truncated_too(models: dict[str, Path]) -> None:
    log = plain.EventLog()
    generated = generate(request(models["sd1"], TOO_LONG, negative_prompt=FITS + "small house"), listener=log)
    assert generated.record["dropped_prompt"] == TRUNCATED
    assert generated.record["dropped_negative_prompt"] == "small house"
    assert [note.split(" is ")[0] for note in log.notes] == ["The prompt", "The negative prompt"]


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
@pytest.mark.parametrize("negative", ["", "a small house"])
def test_short_prompt_gives_equal_pixels_with_chunks(models: dict[str, Path], kind: str, negative: str) -> None:
    for prompt in ("", "a red fox", FITS):
        truncated = generate(request(models[kind], prompt, negative_prompt=negative))
        assert sample_images.same(
            generate(request(models[kind], prompt, "chunk", negative_prompt=negative)).image, truncated.image
        )


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_chunks_use_the_end_of_a_long_prompt(models: dict[str, Path], kind: str, guidance: float) -> None:
    requests = [
        request(models[kind], FITS * 2 + tail, "chunk").replace(guidance_scale=guidance)
        for tail in ("a blue cat", "a small house", "")
    ]
    log = plain.EventLog()
    images = [generate(each, listener=log).image for each in requests]
    assert log.notes == []
    assert not sample_images.same(images[0], images[1])
    assert not sample_images.same(images[0], images[2])
    truncated = generate(requests[0].replace(long_prompt="truncate")).image
    assert not sample_images.same(images[0], truncated)
    assert "dropped_prompt" not in generate(requests[0]).record


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_chunks_use_the_end_of_a_long_negative_prompt(models: dict[str, Path], kind: str) -> None:
    images = [
        generate(request(models[kind], "a fox", "chunk", negative_prompt=FITS + tail)).image
        for tail in ("a blue cat", "a small house")
    ]
    assert not sample_images.same(*images)


def test_long_prompt_does_not_change_other_images_of_a_batch(models: dict[str, Path]) -> None:
    requests = [request(models["sd1"], "a red fox", "chunk"), request(models["sd1"], TOO_LONG, "chunk")]
    together = list(generate_all(requests, batch_size=2))
    for each, outcome in zip(requests, together, strict=True):
        assert isinstance(outcome, GeneratedImage)
        assert sample_images.same(outcome.image, generate(each).image)


def test_seeds_of_one_chunked_prompt_share_a_pipeline_call(models: dict[str, Path]) -> None:
    requests = [request(models["sd1"], TOO_LONG, "chunk").replace(seed=seed) for seed in (1, 2)]
    for each, outcome in zip(requests, generate_all(requests, batch_size=2), strict=True):
        assert isinstance(outcome, GeneratedImage)
        assert outcome.record["batch_size"] == 2
        assert sample_images.difference(outcome.image, generate(each).image) <= 1


def test_chunks_work_for_img2img(models: dict[str, Path]) -> None:
    image = sample_images.photo(Path("photo.png"))
    images = [
        generate(
            Img2Img(
                model=str(models["sdxl"]),
                prompt=FITS + tail,
                long_prompt="chunk",
                image=image,
                strength=1.0,
                **SETTINGS,
            )
        ).image
        for tail in ("a blue cat", "a small house")
    ]
    assert not sample_images.same(*images)


def test_chunks_are_rejected_for_models_without_clip(zoo: Mapping[str, Path]) -> None:
    with pytest.raises(UsageError, match="--long-prompt chunk"):
        generate(request(zoo["chroma"], FITS, "chunk"))


def test_syntax_is_removed_for_models_without_clip(zoo: Mapping[str, Path]) -> None:
    def image(prompt: str) -> Any:
        return generate(Txt2Img(model=str(zoo["chroma"]), prompt=prompt, **SETTINGS)).image

    plain_image = generate(
        Txt2Img(model=str(zoo["chroma"]), prompt="a red (fox)", prompt_weights="none", **SETTINGS)
    ).image
    assert sample_images.same(image(r"a (red:1.3) \(fox\)"), plain_image)
    json_prompt = '{"subject": "a fox", "colors": ["red", "(blue)"]}'
    plain_text = Txt2Img(model=str(zoo["chroma"]), prompt=json_prompt, prompt_weights="none", **SETTINGS)
    assert sample_images.same(image(json_prompt), generate(plain_text).image)


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
def test_long_prompt_is_rejected_before_the_model_is_loaded(models: dict[str, Path], kind: str) -> None:
    log = plain.EventLog()
    with pytest.raises(
        UsageError, match=r"limit of 75 tokens\. The part beyond the limit is 'In the Snow,  a Blue CAT'"
    ):
        list(
            generate_all(
                [request(models[kind], "a fox", "error"), request(models[kind], TOO_LONG, "error")], listener=log
            )
        )
    assert not [event for event in log.events if isinstance(event, Loading)]
    with pytest.raises(UsageError, match="tokens"):
        generate(request(models[kind], "a fox", "error", negative_prompt=TOO_LONG))
    assert generate(request(models[kind], FITS, "error"))
