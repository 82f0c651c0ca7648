"""Test `--fast`: approximations change only the images that request them."""

import json
from pathlib import Path
from typing import Any

import hub_server
import plain_scripts as plain
import pytest
import sample_images
import tiny_loras
import torch
from command_line import run
from diffusers import AutoencoderTiny, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from torch import nn

from artgen import GeneratedImage, Img2Img, Inpaint, Outpaint, Txt2Img, generate, generate_all, metadata, replay
from artgen.engine.acceleration.fast_hooks import with_approximations
from artgen.errors import InputFileError, ModelUnavailableError, NonFiniteError, UsageError
from artgen.events import StepEvent
from artgen.registry.hub import cache
from artgen.spec.fast import LCM_LORA_FILENAME

SETTINGS = {"prompt": "a red fox", "negative_prompt": "blue", "steps": 9, "guidance_scale": 5.0, "seed": 7}


def record_calls(monkeypatch: pytest.MonkeyPatch, cls: type = nn.Conv2d) -> list[int]:
    """Return a list that receives the batch size of each later `forward` call of a class."""
    batch_sizes: list[int] = []

    def forward(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        batch_sizes.append(len(args[0]))
        return original(self, *args, **kwargs)

    plain.wrap_method(monkeypatch, cls, "forward", forward)
    return batch_sizes


def test_preset_names_are_normalized_and_others_are_rejected() -> None:
    assert Txt2Img(fast=" Tiny-Decoder+cache").fast == "cache,tiny-decoder"
    assert Txt2Img(fast="cache,cache").fast == "cache"
    assert Txt2Img(fast="none").fast is None
    with pytest.raises(UsageError, match="not 'cash'") as refused:
        Txt2Img(fast="cash,lcm")
    assert refused.value.hint == "Did you mean cache?"
    for wrong in ("", ",", "cache,none", "guidance"):
        with pytest.raises(UsageError, match="fast must name some of"):
            Txt2Img(fast=wrong)


def test_cache_with_too_few_steps_is_rejected(sd1: str) -> None:
    with pytest.raises(UsageError, match="with 5 steps they differ too much"):
        generate(Txt2Img(model=sd1, **{**SETTINGS, "steps": 5, "fast": "cache"}))


def test_cache_is_rejected_for_transformers(models: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match=r"works with sd1, sd2, sdxl; .* is sd3"):
        generate(Txt2Img(model=str(models["sd3"]), fast="cache", **SETTINGS))


def test_step_limit_applies_to_the_steps_that_img2img_runs(sd1: str) -> None:
    sample_images.photo(Path("photo.png"))
    request = Img2Img(model=sd1, image=Path("photo.png"), strength=0.5, fast="cache", **SETTINGS)
    with pytest.raises(UsageError, match="with 4 steps") as refused:
        generate(request)
    assert "--steps 12" in refused.value.hint
    assert generate(request.replace(steps=12)).record["fast"] == "cache"


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_cache_is_deterministic_and_does_not_affect_other_images(models: dict[str, Path], kind: str) -> None:
    request = Txt2Img(model=str(models[kind]), **SETTINGS)
    exact = generate(request)
    first = generate(request.replace(fast="cache"))
    second = generate(request.replace(fast="cache"))
    assert "fast" not in exact.record
    assert first.record["fast"] == "cache"
    assert sample_images.same(first.image, second.image)
    assert not sample_images.same(first.image, exact.image)
    assert sample_images.same(generate(request).image, exact.image)


def test_inpaint_and_outpaint_support_cache(models: dict[str, Path]) -> None:
    image, mask = sample_images.photo(Path("photo.png")), sample_images.mask(Path("mask.png"))
    settings = {**SETTINGS, "steps": 12, "fast": "cache"}
    for request in (
        Inpaint(model=str(models["sd1"]), image=image, mask=mask, **settings),
        Inpaint(model=str(models["sd1-inpaint"]), image=image, mask=mask, **settings),
        Outpaint(model=str(models["sd1"]), image=image, expand="8", **settings),
    ):
        fast, exact = generate(request), generate(request.replace(fast=None))
        assert not sample_images.same(fast.image, exact.image)
        assert sample_images.same(generate(request).image, fast.image)


def test_batches_contain_only_requests_with_the_same_presets(sd1: str) -> None:
    exact = Txt2Img(model=sd1, **SETTINGS)
    fast = exact.replace(fast="cache")
    single = [generate(request).image for request in (fast, fast.replace(seed=8))]
    outcomes = list(generate_all([exact, fast, fast.replace(seed=8), exact.replace(seed=9)], batch_size=4))
    generated = [outcome for outcome in outcomes if isinstance(outcome, GeneratedImage)]
    assert [each.record["batch_size"] for each in generated] == [1, 2, 2, 1]
    assert max(sample_images.difference(a, b.image) for a, b in zip(single, generated[1:3], strict=True)) <= 1
    assert sample_images.same(generated[0].image, generate(exact).image)


def test_replay_uses_the_recorded_presets(sd1: str) -> None:
    settings = ("-m", sd1, "--steps", "9", "-g", "5", "--seed", "7", "--fast", "cache")
    run("txt2img", "a red fox", *settings, "-o", "a.png")
    replayed = replay(Path("a.png"), model=sd1)
    assert replayed.record["fast"] == "cache"
    assert sample_images.same(replayed.image, Image.open("a.png"))
    exact = replay(Path("a.png"), model=sd1, fast="")
    assert "fast" not in exact.record
    assert not sample_images.same(exact.image, replayed.image)


def test_replay_of_a_removed_preset_names_the_last_version_that_supports_it(sd1: str) -> None:
    run("txt2img", "a red fox", "-m", sd1, "--steps", "9", "--seed", "7", "--fast", "cache", "-o", "a.png")
    record = metadata.read_metadata(Path("a.png")).record
    assert record is not None
    Path("a.json").write_text(json.dumps({**record, "fast": "cache,guidance"}))
    with pytest.raises(InputFileError) as refused:
        replay(Path("a.json"), model=sd1)
    assert refused.value.message == (
        "Cannot replay 'a.json': the approximation 'guidance' was removed; "
        "artgen 0.1.0 is the last version that supports it."
    )
    assert "add fast=" in refused.value.hint
    assert "fast" not in replay(Path("a.json"), model=sd1, fast="").record
    result = run("txt2img", "a red fox", "-m", sd1, "--fast", "guidance", code=2)
    assert "fast must name some of" in result.output


def test_hooks_are_removed_after_an_error(sd1: str) -> None:
    request = Txt2Img(model=sd1, **SETTINGS)
    exact = generate(request).image

    def fail(event: object) -> None:
        if isinstance(event, StepEvent):
            raise NonFiniteError("simulated")

    with pytest.raises(NonFiniteError):
        generate(request.replace(fast="cache"), listener=fail)
    assert sample_images.same(generate(request).image, exact)


def cached_snapshot(repo: str) -> Path:
    """Create the snapshot folder of `main` in the hub cache and return it."""
    folder = cache.repository_folder(repo) / "snapshots" / ("a" * 40)
    refs = folder.parent.parent / "refs"
    for each in (folder, refs):
        each.mkdir(parents=True)
    (refs / "main").write_text("a" * 40)
    return folder


def save_tiny_decoder(blocks: int = 2) -> Path:
    """Save an `AutoencoderTiny` with random weights in the hub cache."""
    torch.manual_seed(0)
    folder = cached_snapshot("madebyollin/taesd")
    channels = dict.fromkeys(("encoder_block_out_channels", "decoder_block_out_channels"), (8,) * blocks)
    counts = {"num_encoder_blocks": (1,) * blocks, "num_decoder_blocks": (1,) * blocks}
    AutoencoderTiny(**channels, **counts).save_pretrained(folder)
    return folder


def test_tiny_decoder_equals_plain_diffusers_with_the_same_vae(sd1: str) -> None:
    folder = save_tiny_decoder()
    generated = generate(Txt2Img(model=sd1, fast="tiny-decoder", **SETTINGS))
    assert generated.record["fast_parts"] == [f"madebyollin/taesd@{'a' * 40}"]
    with plain.quiet():
        pipe = StableDiffusionPipeline.from_pretrained(sd1, vae=AutoencoderTiny.from_pretrained(folder))
    pipe.set_progress_bar_config(disable=True)
    kwargs = {"num_inference_steps": 9, "guidance_scale": 5.0, "prompt": "a red fox", "negative_prompt": "blue"}
    expected = pipe(generator=torch.Generator().manual_seed(7), width=32, height=32, **kwargs).images[0]
    assert sample_images.difference(generated.image, expected) <= 1


def test_img2img_with_tiny_decoder_encodes_with_the_models_own_vae(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny_decoder()
    sample_images.photo(Path("photo.png"))
    exact = Img2Img(model=sd1, image=Path("photo.png"), strength=0.7, **SETTINGS)
    before, fast = generate(exact), generate(exact.replace(fast="tiny-decoder"))
    calls = record_calls(monkeypatch, AutoencoderTiny)
    assert sample_images.same(generate(exact.replace(fast="tiny-decoder")).image, fast.image)
    assert sample_images.same(generate(exact).image, before.image)
    assert not sample_images.same(fast.image, before.image)
    assert calls == []


def test_missing_files_of_a_preset_are_an_error_offline(sd1: str) -> None:
    with pytest.raises(ModelUnavailableError, match="'madebyollin/taesd' is not on this computer"):
        generate(Txt2Img(model=sd1, fast="tiny-decoder", offline=True, **SETTINGS))


def test_replay_rejects_another_revision_of_the_tiny_decoder(sd1: str) -> None:
    folder = save_tiny_decoder()
    settings = ("--steps", "9", "-g", "5", "--seed", "7")
    run("txt2img", "a red fox", "-m", sd1, *settings, "--fast", "tiny-decoder", "-o", "a.png")
    assert sample_images.same(replay(Path("a.png"), model=sd1).image, Image.open("a.png"))
    folder.rename(folder.with_name("b" * 40))
    (folder.parent.parent / "refs" / "main").write_text("b" * 40)
    with pytest.raises(ModelUnavailableError, match=r"taesd@aaaa\w+, and madebyollin/taesd@bbbb") as refused:
        replay(Path("a.png"), model=sd1)
    assert "add fast=tiny-decoder" in refused.value.hint
    replay(Path("a.png"), model=sd1, fast="tiny-decoder")


def test_tiny_decoder_is_rejected_for_other_latents(models: dict[str, Path], sd1: str) -> None:
    save_tiny_decoder(blocks=4)
    for model in ("tiny", str(models["sdxl"]), sd1):
        with pytest.raises(UsageError, match="cannot decode the latents"):
            generate(Txt2Img(model=model, fast="tiny-decoder", offline=True, **SETTINGS))


def test_files_of_a_preset_are_downloaded_once(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tiny_decoder()
    hub = hub_server.Hub(repo="madebyollin/taesd")
    hub.fill(folder)
    hub.files["taesd_encoder.pth"] = b"not requested"
    monkeypatch.setenv("HF_HOME", str(Path("elsewhere").absolute()))
    with hub_server.serve(hub):
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        first, second = (generate(Txt2Img(model=sd1, fast="tiny-decoder", **SETTINGS)) for _ in range(2))
    assert sample_images.same(first.image, second.image)
    assert first.record["fast_parts"] == [f"madebyollin/taesd@{hub_server.COMMIT}"]
    assert sorted(hub.downloads()) == ["config.json", "diffusion_pytorch_model.safetensors"]


def test_lcm_equals_its_lora_with_its_default_settings(models: dict[str, Path]) -> None:
    settings = {"model": str(models["sd1"]), "prompt": "a red fox", "seed": 7}
    exact = generate(Txt2Img(**settings, steps=4, guidance_scale=1.0, scheduler="lcm"))
    snapshot = cached_snapshot("latent-consistency/lcm-lora-sdv1-5")
    lora = tiny_loras.diffusers_lora(snapshot / LCM_LORA_FILENAME, models["sd1"])
    fast = generate(Txt2Img(fast="lcm", **settings))
    assert [fast.record[name] for name in ("steps", "guidance_scale", "scheduler", "fast")] == [4, 1.0, "lcm", "lcm"]
    assert "lora_sha256" not in fast.record
    explicit = generate(Txt2Img(lora=(str(lora),), steps=4, guidance_scale=1.0, scheduler="lcm", **settings))
    assert sample_images.same(fast.image, explicit.image)
    assert not sample_images.same(fast.image, exact.image)
    assert sample_images.same(generate(exact.request).image, exact.image)
    changed = generate(Txt2Img(fast="lcm", steps=6, guidance_scale=1.5, **settings))
    assert (changed.record["steps"], changed.record["guidance_scale"]) == (6, 1.5)
    with pytest.raises(UsageError, match="lcm, not euler"):
        generate(Txt2Img(fast="lcm", scheduler="euler", **settings))
    twice = Txt2Img(fast="lcm", lora=(str(lora),), **settings)
    with pytest.raises(UsageError, match="twice"):
        generate(twice)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("tiny", UsageError, "only the weights of Stable Diffusion"),
        ("sd3", UsageError, "works with sd1, sdxl"),
        ("sdxl", ModelUnavailableError, "lcm-lora-sdxl' is not on this computer"),
    ],
)
def test_lcm_is_rejected_before_the_model_is_loaded(
    models: dict[str, Path], model: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        generate(Txt2Img(model=str(models.get(model, model)), fast="lcm", offline=True))


@pytest.fixture
def unet(models: dict[str, Path]) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(models["sd1"] / "unet").eval()


def call_unet(unet: UNet2DConditionModel, timestep: int, batch_size: int = 2) -> torch.Tensor:
    """Return the output for random latents (B, 4, 16, 16) that depend on the timestep only."""
    sample = torch.randn(batch_size, 4, 16, 16, generator=torch.Generator().manual_seed(timestep))
    with torch.no_grad():
        prompt_embeds = torch.ones(batch_size, 77, 32)
        output: torch.Tensor = unet(sample, timestep, encoder_hidden_states=prompt_embeds, return_dict=False)[0]
    return output


def pipe_with(unet: UNet2DConditionModel) -> Any:
    return type("Pipe", (), {"unet": unet, "num_timesteps": 9})()


def test_deepcache_reuses_deep_features_at_two_of_three_steps(
    unet: UNet2DConditionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = call_unet(unet, 5)
    calls = record_calls(monkeypatch)
    call_unet(unet, 5)
    calls_per_step = len(calls)
    with with_approximations(pipe_with(unet), "cache"):
        calls.clear()
        first = call_unet(unet, 5)
        assert len(calls) == calls_per_step
        calls.clear()
        second = call_unet(unet, 5)
        assert len(calls) < calls_per_step / 3
        third = call_unet(unet, 6)
        fourth = call_unet(unet, 6)
    assert torch.equal(first, exact)
    assert torch.equal(second, exact)  # The same input has the same deep features.
    assert not torch.equal(third, call_unet(unet, 6))
    assert torch.equal(fourth, call_unet(unet, 6))  # The fourth call runs all layers.
    assert torch.equal(call_unet(unet, 5), exact)


def test_deepcache_recomputes_larger_batches_and_slices_for_smaller_ones(unet: UNet2DConditionModel) -> None:
    exact = call_unet(unet, 7, batch_size=4)
    with with_approximations(pipe_with(unet), "cache"):
        both = call_unet(unet, 5, batch_size=2)
        sample = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(5))[1:]
        with torch.no_grad():
            second = unet(sample, 5, encoder_hidden_states=torch.ones(1, 77, 32), return_dict=False)[0]
        assert torch.allclose(second, both[1:], atol=1e-5)
        assert torch.allclose(call_unet(unet, 7, batch_size=4), exact, atol=1e-6)


def test_deepcache_is_rejected_with_group_offloading(unet: UNet2DConditionModel) -> None:
    unet.enable_group_offload(onload_device=torch.device("cpu"), offload_type="leaf_level")
    with pytest.raises(UsageError, match="--offload group"), with_approximations(pipe_with(unet), "cache"):
        pass
