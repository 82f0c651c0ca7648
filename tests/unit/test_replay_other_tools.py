"""Test the requests and notes of `replay` for the metadata of other tools. Nothing in a record is looked up by name."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from artgen.jobs import replay_other_tools
from artgen.jobs.replay import read_replay_spec
from artgen.metadata.a1111 import format_a1111
from artgen.spec.requests import Txt2Img
from artgen.spec.sampler_names import automatic_sigmas, split_spacing
from artgen.spec.schedulers import find_scheduler, find_scheduler_with_sigmas
from tests.helpers import other_tools as tools

PARAMS = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x512"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64), "red").save("in.png")
    Image.new("L", (64, 64), 255).save("mask.png")


def replay(text: str, **changes: str) -> tuple[Any, str]:
    """Return the request of a text file, and all notes as one text."""
    Path("fox.txt").write_text(text)
    spec = read_replay_spec(Path("fox.txt"), changes)
    return spec.request, " | ".join(spec.notes)


@pytest.mark.parametrize(
    ("sampler", "scheduler", "sigmas", "note"),
    [
        ("DPM++ 2M Karras", "dpm++2m", "karras", ""),
        ("DPM++ 2M SDE", "dpm++2m-sde", None, ""),
        ("dpmpp_2m_sde_gpu", "dpm++2m-sde", None, "generated its noise on the GPU"),
        ("k_euler_ancestral", "euler-a", None, ""),
        ("euler_a", "euler-a", None, ""),
        ("sample_euler_ancestral", "euler-a", None, ""),
        ("k_dpmpp_2m_ka", "dpm++2m", "karras", ""),
        ("dpmpp_2m_k", "dpm++2m", "karras", ""),
        ("kdpm_2_a_k", "dpm2-a", "karras", ""),
        ("k_dpmpp_2", "dpm++2m", None, ""),
        ("LCM", "lcm", None, ""),
        ("UniPC", "unipc", None, "variant bh2"),
        ("uni_pc", "unipc", None, "variant bh2"),
        ("uni_pc_bh2", "unipc", None, ""),
        ("Euler a Trailing", "euler-a", None, "'trailing' is not supported"),
        ("DPM++ 2M SGM Uniform", "dpm++2m", None, "'sgm uniform' is not supported"),
        ("Euler A AYS", "euler-a", None, "'ays' is not supported"),
        ("Euler FlowMatch", "flow-euler", None, ""),
        ("DPM++ 3M SDE", None, None, "'DPM++ 3M SDE' is not supported"),
        ("dpmpp_3m_sde_gpu", None, None, "is not supported"),
        ("DPM++ 3M SDE Exponential", None, None, "Similar schedulers: dpm++2m-sde"),
        ("DPM++ 2M SDE Heun", None, None, "is not supported"),
        ("DPM++ 2S a", None, None, "is not supported"),
        ("k_dpmpp_2s_ancestral", None, None, "is not supported"),
        ("Restart", None, None, "Similar schedulers: heun"),
        ("DPM fast", None, None, "is not supported"),
        ("DPM adaptive", None, None, "is not supported"),
        ("DDIM CFG++", None, None, "is not supported"),
        ("res_multistep", None, None, "is not supported"),
        ("ddim_v3", None, None, "is not supported"),
        ("[/nope]", None, None, "'[/nope]' is not supported"),
    ],
)
def test_samplers_have_the_same_algorithm_or_a_note(
    sampler: str, scheduler: str | None, sigmas: str | None, note: str
) -> None:
    request, notes = replay(f"fox\n{PARAMS.replace('Euler a', sampler)}")
    assert (request.scheduler, request.sigmas) == (scheduler, sigmas)
    assert note in notes
    assert bool(notes) == bool(note)
    if scheduler is None:
        assert "The default of the model is used instead" in notes


def test_spacings_are_split_from_sampler_names() -> None:
    assert split_spacing("DPM++ 2M SDE Align Your Steps") == ("DPM++ 2M SDE", "align your steps")
    assert split_spacing("Karras") == ("Karras", None)
    assert split_spacing("euler_simple") == ("euler", "simple")
    assert (automatic_sigmas("DPM++ 2M"), automatic_sigmas("Euler")) == ("karras", None)
    assert find_scheduler_with_sigmas("dpmpp_2m_k")[1] == "karras"
    assert find_scheduler("dpmpp_sde_gpu").name == "dpm++sde"


IMG2IMG = f"fox\n{PARAMS}, Denoising strength: 0.5"
INPAINT = f"{IMG2IMG}, Mask blur: 4, Inpaint area: Only masked"


def test_img2img_and_inpaint_records_are_not_replayed_as_txt2img_without_a_note() -> None:
    request, notes = replay(IMG2IMG)
    assert request.task == "txt2img"
    assert "generated from an input image (img2img, strength 0.5)" in notes
    assert "--set image=PATH" in notes
    request, notes = replay(INPAINT)
    assert "an input image and a mask (inpaint, strength 0.5)" in notes
    request, notes = replay(IMG2IMG, image="in.png")
    assert (request.task, request.strength) == ("img2img", 0.5)
    assert notes == "The size of the input image is used, not 512x512."
    assert replay(IMG2IMG, image="in.png", strength="0.9")[0].strength == 0.9
    request, notes = replay(INPAINT, image="in.png")
    assert request.task == "img2img"
    assert "the mask is not used" in notes
    request, notes = replay(INPAINT, image="in.png", mask="mask.png")
    assert (request.task, request.strength) == ("inpaint", 0.5)
    assert "the prompt alone" not in notes
    assert request.only_masked == 32
    assert "Mask blur 4 has no exact equivalent" in notes
    details = f"{INPAINT}, Masked area padding: 16, Masked content: latent noise"
    request, notes = replay(details, image="in.png", mask="mask.png")
    assert (request.only_masked, request.fill) == (16, "original")
    assert "Masked content 'latent noise' has no exact equivalent" in notes
    request, notes = replay(f"fox\n{PARAMS}", image="in.png")
    assert request.task == "img2img"


def test_hires_fix_and_features_are_noted() -> None:
    request, notes = replay(
        f'{IMG2IMG}, First pass size: 256x256, ControlNet 0: "Module: canny", Variation seed: 3, RNG: NV, '
        "ENSD: 31337, Foo: 1"
    )
    assert request.task == "txt2img"
    for text in (
        "hires fix",
        "denoising strength: 0.5",
        "ControlNet",
        "Variation seed: 3",
        "NV",
        "ENSD",
        "metadata: Foo",
    ):
        assert text in notes
    assert "input image" not in notes


@pytest.mark.parametrize(
    ("fields", "expected", "note"),
    [
        ("Hires upscale: 2", ("2:0.5", "latent", 40), ""),
        ("Hires resize: 1024x1024, Hires upscaler: Latent", ("2:0.5", "latent", 40), ""),
        ("Hires upscale: 1.5, Hires steps: 10, Hires upscaler: Lanczos", ("1.5:0.5", "pixel", 20), ""),
        ("Hires upscale: 2, Hires upscaler: R-ESRGAN 4x+", ("2:0.5", "pixel", 40), "add --set hires_model=PATH"),
        ("Hires upscale: 2, Hires upscaler: Latent (bicubic)", ("2:0.5", "latent", 40), "bilinearly"),
        ("Hires upscale: 2, Hires sampler: DDIM", ("2:0.5", "latent", 40), "hires sampler: DDIM"),
        ("Hires upscale: 40", (None, None, None), "The hires '40:0.5' is not supported"),
        ("Hires resize: 1024x600", (None, None, None), "hires fix"),
        ("Hires upscale: x", (None, None, None), "hires fix"),
    ],
)
def test_hires_fix_of_a1111_is_used(
    fields: str, expected: tuple[str | None, str | None, int | None], note: str
) -> None:
    request, notes = replay(f"{IMG2IMG}, {fields}")
    assert isinstance(request, Txt2Img)
    assert (request.hires, request.hires_in, request.hires_steps) == expected
    assert note in notes
    assert bool(note) == bool(notes)


def test_written_hires_fix_and_tiling_are_read_again() -> None:
    record = {"prompt": "fox", "steps": 20, "seed": 1, "width": 64, "height": 64, "hires": "1.5:0.4", "hires_steps": 25}
    text = format_a1111({**record, "scheduler": "ddim", "hires_in": "pixel", "seamless": "both"})
    assert "Denoising strength: 0.4, Hires upscale: 1.5, Hires steps: 10, Hires upscaler: Lanczos" in text
    request, notes = replay(text)
    assert isinstance(request, Txt2Img)
    assert (request.hires, request.hires_in, request.hires_steps, request.seamless) == ("1.5:0.4", "pixel", 25, "both")
    assert not notes


def test_note_of_perturbed_attention_guidance_names_the_setting() -> None:
    _, notes = replay(f"a fox\n{PARAMS}, PAG Active: True, PAG Scale: 3")
    assert "Not used: perturbed-attention guidance" in notes
    assert "--set pag_scale=SCALE" in notes


def test_embeddings_over_the_limit_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_other_tools, "MAX_FILES", 1)
    _, notes = replay(f'a fox, one, two\n{PARAMS}, TI hashes: "one: 0123456789ab, two: 0123456789cd"')
    assert "The metadata names 2 embeddings; only the first 1 are searched." in notes


def test_clip_skip_weights_and_rescale_are_used() -> None:
    request, notes = replay(f"(fox:1.2)\n{PARAMS}, Clip skip: 2, CFG Rescale phi: 0.7")
    assert (request.clip_skip, request.prompt_weights, request.guidance_rescale, notes) == (2, "a1111", 0.7, "")
    request, notes = replay(f"fox\n{PARAMS}, Clip skip: 99")
    assert request.clip_skip is None
    assert "clip_skip '99' is not supported" in notes


@pytest.mark.parametrize("text", ["{a|b} fox", "__x__ fox", "embedding:x fox", "fox <foo:x>"])
def test_recorded_prompts_trigger_no_lookup(text: str) -> None:
    request, _ = replay(f"{text}\nNegative prompt: {text}\n{PARAMS}\nTemplate: {text}")
    assert (request.prompt, request.negative_prompt) == (text, text)
    assert request.expansion is not None


def test_typed_prompts_are_expanded_and_recorded_prompts_are_kept() -> None:
    request, _ = replay(f"fox\nNegative prompt: __x__\n{PARAMS}", prompt="an {owl|owl}")
    assert (request.prompt, request.negative_prompt) == ("an owl", "__x__")


def test_missing_loras_and_embeddings_are_noted() -> None:
    text = f'fox <lora:a:1>, easy\n{PARAMS}, Lora hashes: "a: 0123456789ab", TI hashes: "easy: 0123456789ab"'
    request, notes = replay(text)
    assert (request.prompt, request.lora, request.embedding) == ("fox , easy", (), ())
    assert "The LoRA a:1 was not found" in notes
    assert "The embedding 'easy' was not found" in notes
    assert "the metadata has no hash" in replay(f"fox <lora:a:1>\n{PARAMS}")[1]


@pytest.mark.parametrize(
    ("texts", "task", "note"),
    [
        ({"parameters": tools.SWARMUI}, "txt2img", "own/fox-model"),
        ({"parameters": tools.FOOOCUS}, "txt2img", "Fooocus sharpness"),
        ({"invokeai_metadata": tools.INVOKEAI}, "txt2img", "fox-style"),
        ({"sd-metadata": tools.INVOKEAI_2}, "txt2img", "fox-model"),
        ({"Software": "NovelAI", "Description": "a {red} fox", "Comment": tools.NOVELAI}, "txt2img", "converted"),
        ({"XML:com.adobe.xmp": tools.drawthings_packet(tools.DRAWTHINGS)}, "txt2img", "seed_mode"),
        ({"Description": tools.MIDJOURNEY}, "txt2img", "Not used: --ar (2:3)"),
    ],
)
def test_records_of_other_tools_are_replayed(texts: dict[str, object], task: str, note: str) -> None:
    spec = read_replay_spec(tools.write_png(Path("fox.png"), texts), {})
    request: Any = spec.request
    assert (request.task, request.seed) == (task, 42)
    assert "fox" in request.prompt
    assert note in " | ".join(spec.notes)
    assert request.expansion is not None


def test_variation_seeds_of_a1111_are_used() -> None:
    text = f"fox\n{PARAMS}, Variation seed: 12, Variation seed strength: 0.25"
    request, notes = replay(text)
    assert (request.task, request.variation_seed, request.variation_strength) == ("txt2img", 12, 0.25)
    assert "ariation" not in notes
    request, _ = replay(f"{text}, Denoising strength: 0.5", image="in.png")
    assert (request.task, request.variation_seed, request.variation_strength) == ("img2img", 12, 0.25)
    request, notes = replay(f"{text}, Seed resize from: 512x768")
    assert "Not used: seed resize (Seed resize from: 512x768)." in notes
    for bad in ("Variation seed: 12", "Variation seed: x, Variation seed strength: 2"):
        request, notes = replay(f"fox\n{PARAMS}, {bad}")
        assert request.variation_strength is None
        assert "ariation" in notes
