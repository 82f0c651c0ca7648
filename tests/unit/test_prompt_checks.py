"""Test the checks and notes about prompts of a model, and the keys that decide which images share a call."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from artgen import Img2Img, Txt2Img
from artgen.errors import UsageError
from artgen.jobs import prompt_checks, prompt_chunks
from artgen.jobs.pipeline_options import denoiser_inputs
from artgen.registry import ResolvedModel, pipelines, resolve_model
from artgen.registry.clip_tokenizer import clip_tokenizers
from artgen.spec.base_requests import PromptRequest

DEFAULTS: dict[str, Any] = {"prompt_weights": "a1111", "long_prompt": "chunk", "steps": 20, "guidance_scale": 7.0}


def request(prompt: str, **changes: Any) -> Txt2Img:
    """Return a complete request for the checks."""
    return Txt2Img(prompt=prompt, **{**DEFAULTS, **changes})


def model(family: str, folder: Path | None = None, layers: int = 12) -> ResolvedModel:
    """Return a model of a family, with the configurations of its text encoders in a folder."""
    entry = pipelines.pipeline_entries()[family]
    if folder is not None:
        index: dict[str, Any] = {"_class_name": entry.tasks["txt2img"]}
        for encoder in entry.encoders:
            index[encoder.component] = ["transformers", "CLIPTextModel"]
            (folder / encoder.component).mkdir(parents=True)
            (folder / encoder.component / "config.json").write_text(json.dumps({"num_hidden_layers": layers}))
        (folder / "model_index.json").write_text(json.dumps(index))
    return dataclasses.replace(
        resolve_model("tiny"), name=family, architecture=entry.architecture, family=family, path=folder or Path("none")
    )


@pytest.mark.parametrize("family", ["flux", "chroma", "qwen-image", "kandinsky"])
def test_composition_is_refused_for_models_without_clip(family: str) -> None:
    with pytest.raises(UsageError, match="AND"):
        prompt_checks.check_prompts(request("a fox AND a cat"), model(family))
    prompt_checks.check_prompts(request("a fox and a cat"), model(family))
    prompt_checks.check_prompts(request("a fox AND a cat", prompt_weights="none"), model(family))


@pytest.mark.parametrize(
    ("family", "changes", "reason"),
    [
        ("sd1", {"guidance_scale": 1.0}, "without guidance: the guidance scale is 1"),
        ("sdxl", {"guidance_scale": 0.0}, "without guidance: the guidance scale is 0"),
        ("lcm", {}, "do not use classifier-free guidance"),
        ("sd1", {"pag_scale": 3.0}, "perturbed-attention"),
    ],
)
def test_composition_needs_guidance(family: str, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        prompt_checks.check_prompts(request("a fox AND a cat :0.5", **changes), model(family))
    prompt_checks.check_prompts(request("a fox", **changes), model(family))


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "sd3"])
def test_composition_is_accepted(family: str) -> None:
    composed = request("a fox AND a cat AND a tree")
    prompt_checks.check_prompts(composed, model(family))
    assert denoiser_inputs(composed, model(family).pipeline_entry) == 4
    assert denoiser_inputs(request("a fox"), model(family).pipeline_entry) == 2


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "sd3"])
@pytest.mark.parametrize("layers", [2, 12])
def test_clip_skip_is_limited_by_the_layers(tmp_path: Path, family: str, layers: int) -> None:
    found = model(family, tmp_path, layers)
    prompt_checks.check_prompts(request("a fox", clip_skip=layers), found)
    if layers < 12:
        with pytest.raises(UsageError, match=f"--clip-skip must be at most 2 for '{family}', not 3"):
            prompt_checks.check_prompts(request("a fox", clip_skip=3), found)


def test_clip_skip_is_refused_for_models_without_clip() -> None:
    with pytest.raises(UsageError, match="its text encoder is not CLIP") as error:
        prompt_checks.check_prompts(request("a fox", clip_skip=2), model("chroma"))
    assert error.value.settings == ("clip_skip",)
    prompt_checks.check_prompts(request("a fox", clip_skip=1), model("chroma"))


@pytest.mark.parametrize(
    ("prompt", "changes", "notes"),
    [
        ("a [b:c:0.5]", {}, []),
        ("a [b|c]", {}, []),
        ("a [b:c:20]", {}, ["'[b:c:20]' does not change: its first text ends at step 20, and only 20 steps run."]),
        ("a [b:c:25] [d]", {}, ["'[b:c:25]' does not change: its first text ends at step 20, and only 20 steps run."]),
        ("a [b:c:0]", {}, ["The first text of '[b:c:0]' is not used: it ends before step 1."]),
        ("[a|b|c]", {"steps": 2}, ["Not all texts of '[a|b|c]' are used: only 2 steps run."]),
        ("[a|b]", {"steps": 1}, ["Not all texts of '[a|b]' are used: only 1 step runs."]),
        ("a BREAK b", {"long_prompt": "truncate"}, ["BREAK has no effect with --long-prompt truncate."]),
        ("a BREAK b", {}, []),
        ("a [b:c:25]", {"prompt_weights": "none"}, []),
        ("a [b:c:25]", {"prompt_weights": "comfy"}, []),
    ],
)
def test_unused_parts_have_a_note(prompt: str, changes: dict[str, Any], notes: list[str]) -> None:
    assert list(prompt_checks.prompt_notes(request(prompt, **changes), model("sd1"))) == notes


def test_unused_parts_of_img2img_have_a_note() -> None:
    img2img = Img2Img(image=Path("a.png"), prompt="[b:c:0.75]", strength=0.5, **DEFAULTS)
    notes = prompt_checks.prompt_notes(img2img, model("sd1"))
    assert notes == ("'[b:c:0.75]' does not change: its first text ends at step 15, and only 10 steps run.",)
    assert not prompt_checks.prompt_notes(img2img.replace(strength=0.8), model("sd1"))
    assert not prompt_checks.prompt_notes(img2img.replace(strength=0.0), model("sd1"))


def key(prompt: str, **changes: Any) -> tuple[object, ...]:
    """Return the group key of a prompt with the bundled model, whose chunks have 30 tokens."""
    complete: PromptRequest = request(prompt, **changes)
    return prompt_chunks.group_key(complete, resolve_model("tiny"))


def test_prompts_with_equal_numbers_of_chunks_share_a_call() -> None:
    assert clip_tokenizers(resolve_model("tiny"))[0].max_tokens == 30
    assert key("a red fox") == key("a (blue:1.3) cat in the snow")
    assert key("fox " * 30) == key("a fox") != key("fox " * 31) == key("cat " * 60) != key("cat " * 61)
    assert key("a fox") != key("a fox", negative_prompt="cat")
    assert key("a fox", negative_prompt="cat " * 31) == key("fox " * 31, negative_prompt="cat")
    assert key("fox " * 31, long_prompt="truncate") == key("fox", long_prompt="truncate")
    assert key("a fox BREAK a cat") == key("fox " * 31)
    assert key("a fox BREAK a cat", prompt_weights="none") == key("a fox", prompt_weights="none")


def test_the_negative_prompt_has_no_chunks_without_guidance() -> None:
    assert key("a fox", negative_prompt="cat " * 31, guidance_scale=1.0) == key("a", negative_prompt="b")


@pytest.mark.parametrize("prompt", ["a [fox:cat:0.5]", "a [fox|cat]", "a fox AND a cat", "a :0.5 AND b"])
def test_scheduled_and_composed_prompts_share_a_call_only_with_equal_prompts(prompt: str) -> None:
    assert key(prompt) == key(prompt)
    assert key(prompt) != key("a fox")
    assert key(prompt) != key(prompt.replace("a", "b", 1))


def test_a_short_text_is_not_tokenized(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_chunks, "_count_cached", lambda *_: pytest.fail("tokenized"))
    assert key("a red fox in the snow") == key("x" * 30)


def test_a_tokenizer_that_cannot_be_read_does_not_fail_the_plan(tmp_path: Path) -> None:
    assert prompt_chunks.num_chunks(request("a fox " * 50), model("sd1", tmp_path)) == 1
