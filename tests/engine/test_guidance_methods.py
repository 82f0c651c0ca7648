"""Test PAG and the methods of `--guide`: hand-written references, batches, restored pipelines."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import diffusers
import plain_scripts as plain
import pytest
import sample_images
import tiny_loras
import torch
from command_line import record, run
from PIL import Image
from tiny_zoo import BUILDERS

from artgen import GeneratedImage, Img2Img, Inpaint, Outpaint, Txt2Img, generate, generate_all, replay
from artgen.engine.loading import loaded_models
from artgen.engine.sampling import guidance
from artgen.errors import ArtgenError, ModelUnavailableError
from artgen.jobs.guidance import pag_layers
from artgen.registry import resolve_model
from artgen.spec.base_requests import PromptRequest

PROMPTS = {"prompt": "a red fox in the snow", "negative_prompt": "a small house"}
SETTINGS: dict[str, Any] = {"seed": 3, "steps": 4, "guidance_scale": 6.0, "device": "cpu", **PROMPTS}
PLAIN = {"seed": 3, "num_inference_steps": 4, "guidance_scale": 6.0, **PROMPTS}
METHODS: dict[str, dict[str, Any]] = {
    "pag": {"pag_scale": 2.0},
    "apg": {"guide": "apg"},
    "apg-rescale": {"guide": "apg", "guidance_rescale": 0.7},
    "apg-pag": {"guide": "apg", "pag_scale": 2.0},
}
FLOW_METHODS = {"zero-star": {"guide": "zero-star"}, "pag": {"pag_scale": 2.0}, "apg": {"guide": "apg"}}
QUICK_MODELS = ("chroma", "hunyuandit", "pixart-sigma", "auraflow")
CFG_PREFIXES = {"sd1": "StableDiffusion", "sdxl": "StableDiffusionXL", "sd3": "StableDiffusion3"}


@pytest.fixture(autouse=True)
def _input_images() -> None:
    sample_images.photo(Path("photo.png"))
    sample_images.mask(Path("mask.png"))


def request_for(task: str, model: Path | str, **changes: Any) -> PromptRequest:
    """Return a request of a task whose image has 32x32 pixels."""
    settings = {**SETTINGS, "model": str(model), **changes}
    if task == "txt2img":
        return Txt2Img(width=32, height=32, **settings)
    if task == "img2img":
        return Img2Img(image=Path("photo.png"), **{"strength": 0.8, **settings})
    if task == "inpaint":
        return Inpaint(image=Path("photo.png"), mask=Path("mask.png"), keep_original=False, **settings)
    return Outpaint(image=Path("photo.png"), expand="16", keep_original=False, **settings)


def apg_by_hand(scale: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return algorithm 1 of the paper of adaptive projected guidance (arXiv 2410.02416), with its own state."""
    average: list[torch.Tensor] = []

    def guide(uncond: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
        update = cond - uncond
        if average:
            update = update - 0.5 * average.pop()
        average.append(update)
        norm = update.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        update = update * torch.minimum(torch.ones_like(norm), 15.0 / norm)
        direction = cond.double() / cond.double().flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        parallel = (update.double() * direction).sum(dim=(1, 2, 3), keepdim=True) * direction
        return cond + (scale - 1) * (update.double() - parallel).to(cond.dtype)

    return guide


def zero_star_by_hand(scale: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return CFG-Zero* (arXiv 2503.18886) for images that start from noise."""
    calls: list[int] = []

    def guide(uncond: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 1:
            return torch.zeros_like(cond)
        factor = (cond * uncond).flatten(1).sum(1) / (uncond.flatten(1).pow(2).sum(1) + 1e-8)
        uncond = uncond * factor.view(-1, 1, 1, 1)
        return uncond + scale * (cond - uncond)

    return guide


def sample_by_hand(
    kind: str, folder: Path, guide: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], rescale: float = 0.0
) -> Image.Image:
    """Run the loop of txt2img with any guidance, without the loop of diffusers."""
    pipe = plain.load(f"{CFG_PREFIXES[kind]}Pipeline", folder)
    encoded = pipe.encode_prompt(
        PROMPTS["prompt"],
        negative_prompt=PROMPTS["negative_prompt"],
        device="cpu",
        num_images_per_prompt=1,
        do_classifier_free_guidance=True,
        **({"prompt_2": None, "prompt_3": None} if kind == "sd3" else {}),
    )
    generator, scheduler = torch.Generator("cpu").manual_seed(3), pipe.scheduler
    extra: dict[str, Any] = {}
    if kind == "sd3":
        embeds, negative, pooled, negative_pooled = encoded
        extra["pooled_projections"] = torch.cat([negative_pooled, pooled])
    elif kind == "sdxl":
        embeds, negative, pooled, negative_pooled = encoded
        ids = torch.tensor([[32.0, 32, 0, 0, 32, 32]] * 2)
        extra["added_cond_kwargs"] = {"text_embeds": torch.cat([negative_pooled, pooled]), "time_ids": ids}
    else:
        embeds, negative = encoded
    scheduler.set_timesteps(4)
    denoiser = pipe.transformer if kind == "sd3" else pipe.unet
    latents = torch.randn(1, pipe.vae.config.latent_channels, 16, 16, generator=generator)
    if kind != "sd3":
        latents = latents * scheduler.init_noise_sigma
    with torch.no_grad():
        for t in scheduler.timesteps:
            inputs = torch.cat([latents] * 2)
            if kind == "sd3":
                out = denoiser(
                    inputs, timestep=t.expand(2), encoder_hidden_states=torch.cat([negative, embeds]), **extra
                )
            else:
                inputs = scheduler.scale_model_input(inputs, t)
                out = denoiser(inputs, t, encoder_hidden_states=torch.cat([negative, embeds]), **extra)
            uncond, cond = out.sample.chunk(2)
            guided = guide(uncond, cond)
            if rescale:
                rescaled = (
                    guided * cond.flatten(1).std(1).view(-1, 1, 1, 1) / guided.flatten(1).std(1).view(-1, 1, 1, 1)
                )
                guided = rescale * rescaled + (1 - rescale) * guided
            latents = scheduler.step(guided, t, latents, return_dict=False)[0]
        config = pipe.vae.config
        decoded = pipe.vae.decode(latents / config.scaling_factor + (config.shift_factor or 0.0)).sample
    return pipe.image_processor.postprocess(decoded, output_type="pil")[0]


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
@pytest.mark.parametrize("rescale", [0.0, 0.7])
def test_apg_equals_a_hand_written_loop(models: dict[str, Path], kind: str, rescale: float) -> None:
    if rescale and kind == "sd3":
        pytest.skip("refused: the pipeline has no guidance_rescale")
    theirs = sample_by_hand(kind, models[kind], apg_by_hand(6.0), rescale)
    ours = generate(request_for("txt2img", models[kind], guide="apg", guidance_rescale=rescale or None))
    assert sample_images.difference(ours.image, theirs) <= 1
    plain_image = generate(request_for("txt2img", models[kind])).image
    assert sample_images.difference(ours.image, plain_image) > 1


def test_the_hand_written_loop_equals_the_pipeline_without_a_guide(models: dict[str, Path]) -> None:
    for kind in ("sd1", "sdxl", "sd3"):
        theirs = sample_by_hand(kind, models[kind], lambda uncond, cond: uncond + 6.0 * (cond - uncond))
        assert sample_images.difference(generate(request_for("txt2img", models[kind])).image, theirs) <= 1, kind


def test_zero_star_equals_a_hand_written_loop(models: dict[str, Path]) -> None:
    theirs = sample_by_hand("sd3", models["sd3"], zero_star_by_hand(6.0))
    ours = generate(request_for("txt2img", models["sd3"], guide="zero-star"))
    assert sample_images.difference(ours.image, theirs) <= 1
    assert sample_images.difference(ours.image, generate(request_for("txt2img", models["sd3"])).image) > 1


class _PlainGuider:
    """Compute classifier-free guidance, u + g * (c - u)."""

    def __init__(self, scale: float) -> None:
        self.guider = diffusers.ClassifierFreeGuidance(guidance_scale=scale)
        self.set_state, self.forward = self.guider.set_state, self.guider.forward


@contextlib.contextmanager
def cfg_through_the_hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run classifier-free guidance with the guider of diffusers in the hook."""
    with monkeypatch.context() as patch, plain.quiet():
        patch.setattr(guidance, "build_guider", lambda job: _PlainGuider(job.request.guidance_scale))
        yield


@pytest.mark.parametrize(("kind", "tasks"), [("sd1", 4), ("sdxl", 4), ("sd3", 4), ("sd1-inpaint", 2)])
def test_the_cfg_guider_gives_the_bytes_of_the_pipeline(
    models: dict[str, Path], kind: str, tasks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for task in ("txt2img", "img2img", "inpaint", "outpaint")[4 - tasks :]:
        request = request_for(task, models[kind])
        expected = generate(request).image
        with cfg_through_the_hook(monkeypatch):
            assert sample_images.same(generate(request).image, expected), task


@pytest.mark.parametrize(
    "name", [name if name in QUICK_MODELS else pytest.param(name, marks=pytest.mark.slow) for name in sorted(BUILDERS)]
)
def test_the_cfg_guider_gives_the_bytes_of_the_pipeline_for_each_family(
    zoo: Mapping[str, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        model = resolve_model(str(zoo[name]))
    except ModelUnavailableError:
        pytest.skip("refused by design, see test_pipelines.py")
    entry = model.pipeline_entry
    if not entry.cfg_inputs or entry.guidance != "classifier-free" or entry.default_pag_scale:
        pytest.skip("takes no --guide, or runs PAG")
    for task in sorted(entry.tasks.keys() - {*entry.no_guide, "outpaint"}):
        if model.is_inpainting and task != "inpaint":
            continue
        size = {"width": 64, "height": 64} if task == "txt2img" else {}
        sample_images.photo(Path("photo.png"), 64, 64)
        sample_images.mask(Path("mask.png"), 64, 64)
        request = request_for(task, model.path, negative_prompt="").replace(**size)
        expected = generate(request).image
        with cfg_through_the_hook(monkeypatch):
            assert sample_images.same(generate(request).image, expected), task
        changed = [{"guide": "apg"}, *([{"guide": "zero-star"}] if model.is_flow_matching else [])]
        for method in changed:
            assert not sample_images.same(generate(request.replace(**method)).image, expected), (task, method)


def plain_pag(kind: str, task: str, folder: Path, **arguments: Any) -> Image.Image:
    """Generate with the PAG pipeline of diffusers, built as `AutoPipeline.from_pipe(pipe, enable_pag=True)` does."""
    pipe = plain.load(f"{CFG_PREFIXES[kind]}Pipeline", folder)
    auto = {
        "txt2img": diffusers.AutoPipelineForText2Image,
        "img2img": diffusers.AutoPipelineForImage2Image,
        "inpaint": diffusers.AutoPipelineForInpainting,
    }[task]
    with plain.quiet():
        layers = pag_layers((pipe.transformer if kind == "sd3" else pipe.unet).config)
        pag = auto.from_pipe(pipe, enable_pag=True, **({"pag_applied_layers": layers} if layers else {}))
    pag.set_progress_bar_config(disable=True)
    inputs: dict[str, Any] = {} if task == "txt2img" else {"image": Image.open("photo.png")}
    if task != "inpaint" or kind != "sd1":
        inputs |= {} if task == "img2img" and kind == "sd1" else {"width": 32, "height": 32}
    if task == "img2img":
        inputs = {"image": Image.open("photo.png"), "strength": 0.8}
    if task == "inpaint":
        inputs = {"image": Image.open("photo.png"), "mask_image": Image.open("mask.png"), "strength": 1.0}
        inputs |= {"width": 32, "height": 32}
    return plain.run(pag, **{**PLAIN, **inputs, **arguments})


@pytest.mark.parametrize(
    ("kind", "task"),
    [
        *((kind, task) for kind in ("sd1", "sdxl") for task in ("txt2img", "img2img", "inpaint")),
        ("sd3", "txt2img"),
        ("sd3", "img2img"),
    ],
)
@pytest.mark.parametrize("guidance_scale", [6.0, 1.0])
def test_pag_equals_plain_diffusers(models: dict[str, Path], kind: str, task: str, guidance_scale: float) -> None:
    request = request_for(task, models[kind], pag_scale=3.0, guidance_scale=guidance_scale)
    ours = generate(request)
    theirs = plain_pag(kind, task, models[kind], pag_scale=3.0, guidance_scale=guidance_scale)
    assert sample_images.same(ours.image, theirs)
    assert ours.record["pag_scale"] == 3.0
    off = generate(request.replace(pag_scale=None)).image
    assert not sample_images.same(ours.image, off)
    assert sample_images.same(generate(request.replace(pag_scale=0.0)).image, off)


@pytest.mark.parametrize(("kind", "task"), [("sd1", "txt2img"), ("sdxl", "img2img"), ("sdxl", "inpaint")])
def test_pag_with_guidance_rescale_equals_plain_diffusers(models: dict[str, Path], kind: str, task: str) -> None:
    ours = generate(request_for(task, models[kind], pag_scale=3.0, guidance_rescale=0.7))
    theirs = plain_pag(kind, task, models[kind], pag_scale=3.0, guidance_rescale=0.7)
    assert sample_images.same(ours.image, theirs)


@pytest.mark.parametrize("name", ["pixart-sigma", "sana", "hunyuandit"])
def test_pag_of_a_transformer_equals_plain_diffusers(zoo: Mapping[str, Path], name: str) -> None:
    model = resolve_model(str(zoo[name]))
    ours = generate(Txt2Img(model=str(model.path), width=64, height=64, pag_scale=3.0, **SETTINGS))
    layers = pag_layers(plain.load(model.pipeline_entry.tasks["txt2img"], model.path).transformer.config)
    pipe = plain.load(model.pipeline_entry.pag["txt2img"], model.path)
    if layers:
        pipe = type(pipe)(**pipe.components, pag_applied_layers=layers)
        pipe.set_progress_bar_config(disable=True)
    theirs = plain.run(pipe, width=64, height=64, pag_scale=3.0, use_resolution_binning=False, **PLAIN)
    assert sample_images.same(ours.image, theirs)
    off = generate(Txt2Img(model=str(model.path), width=64, height=64, **SETTINGS)).image
    assert not sample_images.same(ours.image, off)


def test_pag_uses_the_deepest_block_with_attention_of_a_unet_without_a_middle_block() -> None:
    request = Txt2Img(prompt="a red car", model="tiny", seed=1, steps=3, device="cpu", pag_scale=3.0)
    ours = generate(request).image
    pipe = plain.load("StableDiffusionPAGPipeline", resolve_model("tiny").path)
    pipe.set_pag_applied_layers("down_blocks.1")
    scale = generate(request.replace(pag_scale=None)).record["guidance_scale"]
    theirs = plain.run(
        pipe, seed=1, prompt="a red car", num_inference_steps=3, guidance_scale=scale, pag_scale=3.0,
        width=128, height=128,
    )  # fmt: skip
    assert sample_images.same(ours, theirs)


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        ({"num_layers": 24}, None),
        ({"num_layers": 1}, "blocks.0"),
        ({}, None),
        ({"mid_block_type": "UNetMidBlock2DCrossAttn"}, None),
        ({"mid_block_type": None, "down_block_types": ["CrossAttnDownBlock2D"] * 2 + ["DownBlock2D"]}, "down_blocks.1"),
        ({"mid_block_type": "UNetMidBlock2D", "down_block_types": ["CrossAttnDownBlock2D"]}, "down_blocks.0"),
        ({"mid_block_type": None, "down_block_types": ["DownBlock2D"] * 2}, ""),
        ({"mid_block_type": None}, ""),
    ],
)
def test_layers_of_pag(config: dict[str, Any], layers: str | None) -> None:
    assert pag_layers(config) == layers


def methods_for(kind: str, task: str) -> dict[str, dict[str, Any]]:
    """Return the methods that a tiny model takes."""
    if kind == "sd3":
        return {name: value for name, value in FLOW_METHODS.items() if task in ("txt2img", "img2img") or name != "pag"}
    rescaled = kind == "sdxl" or task == "txt2img"
    return {name: value for name, value in METHODS.items() if rescaled or name != "apg-rescale"}


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
@pytest.mark.parametrize("task", ["txt2img", "img2img", "inpaint", "outpaint"])
def test_methods_change_the_image_and_restore_the_cached_pipeline(
    models: dict[str, Path], kind: str, task: str
) -> None:
    request = request_for(task, models[kind])
    expected = generate(request).image
    for name, method in methods_for(kind, task).items():
        first = generate(request.replace(**method)).image
        assert not sample_images.same(first, expected), name
        assert sample_images.same(generate(request).image, expected), f"{name}: the pipeline is not restored"
        assert sample_images.same(generate(request.replace(**method)).image, first), f"{name}: state of another call"


@pytest.mark.parametrize("method", [{"pag_scale": 3.0}, {"guide": "apg"}, {"guide": "apg", "pag_scale": 3.0}])
def test_a_call_that_fails_restores_the_cached_pipeline(
    sd1: str, method: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for("txt2img", sd1)
    expected = generate(request).image
    with monkeypatch.context() as patch:
        plain.wrap_method(patch, diffusers.DDIMScheduler, "step", _fail)
        with pytest.raises(ArtgenError, match="a failure in the loop"):
            generate(request.replace(**method))
    assert loaded_models.active_values(), "the pipeline is still cached"
    assert sample_images.same(generate(request).image, expected)


def _fail(*_: Any, **__: Any) -> None:
    raise RuntimeError("a failure in the loop")


@pytest.mark.parametrize(
    ("kind", "method"),
    [*(("sd1", name) for name in METHODS), *(("sd3", name) for name in FLOW_METHODS), ("sdxl", "apg")],
)
def test_images_of_a_batch_equal_single_images(models: dict[str, Path], kind: str, method: str) -> None:
    request = request_for("txt2img", models[kind], **{**METHODS, **FLOW_METHODS}[method])
    requests = [request, request.replace(seed=8, prompt="a blue cat"), request.replace(seed=9)]
    singles = [generate(each).image for each in requests]
    batch = [each for each in generate_all(requests, batch_size=3) if isinstance(each, GeneratedImage)]
    assert [each.record["batch_size"] for each in batch] == [3, 3, 3]
    for single, each in zip(singles, batch, strict=True):
        assert sample_images.difference(single, each.image) <= 1


def test_images_with_different_methods_are_not_in_one_batch(sd1: str) -> None:
    request = request_for("txt2img", sd1)
    requests = [request, *(request.replace(**method) for method in METHODS.values())]
    batch = [each for each in generate_all(requests, batch_size=8) if isinstance(each, GeneratedImage)]
    assert [each.record["batch_size"] for each in batch] == [1] * len(requests)


def test_methods_work_with_the_cache_and_with_a_lora(sd1: str) -> None:
    tiny_loras.diffusers_lora(Path("x.safetensors"), Path(sd1), seed=1)
    for changes in ({"fast": "cache", "steps": 9}, {"lora": ("x.safetensors",)}):
        request = request_for("txt2img", sd1, **changes)
        images = [generate(request.replace(**method)).image for method in ({}, *METHODS.values())]
        assert len({image.tobytes() for image in images}) == len(images)
        assert sample_images.same(generate(request).image, images[0])


def test_methods_work_without_text_encoders_in_memory(sd1: str) -> None:
    for method in METHODS.values():
        request = request_for("txt2img", sd1, **method)
        assert sample_images.same(generate(request.replace(offload="text")).image, generate(request).image)


def test_frames_show_the_steps_of_a_method(sd1: str) -> None:
    run(
        "txt2img", "fox", "-m", sd1, "--steps", "3", "--pag-scale", "2", "--guide", "apg", "--frames", "steps/",
        "-g", "5", "-o", "a.png",
    )  # fmt: skip
    assert len(list(Path("steps").rglob("*.png"))) == 3


def test_methods_apply_to_the_refiner(models: dict[str, Path], zoo: Mapping[str, Path]) -> None:
    request = request_for("txt2img", models["sdxl"], refiner=f"{zoo['sdxl-refiner']}:0.5", scheduler="euler")
    images = [generate(request.replace(**method)).image for method in ({}, *METHODS.values())]
    assert len({image.tobytes() for image in images}) == len(images)
    assert sample_images.same(generate(request).image, images[0])


def test_zero_star_changes_each_step_of_img2img_that_starts_from_an_image(models: dict[str, Path]) -> None:
    """The first velocity is zero only if the image starts from noise alone."""
    request = request_for("img2img", models["sd3"], steps=2, strength=0.5)
    assert not sample_images.same(generate(request.replace(guide="zero-star")).image, generate(request).image)


@pytest.mark.parametrize(("name", "method"), [("sd1", "apg-pag"), ("sd3", "zero-star"), ("sdxl", "apg-rescale")])
def test_replay_generates_the_same_pixels(models: dict[str, Path], name: str, method: str) -> None:
    settings = {**METHODS, **FLOW_METHODS}[method]
    result = generate(request_for("txt2img", models[name], **settings))
    assert {key: result.record.get(key) for key in settings} == settings
    Path("fox.json").write_text(json.dumps(result.record))
    assert sample_images.same(replay(Path("fox.json")).image, result.image)


def test_pag_models_keep_their_scale_and_accept_another_one(zoo: Mapping[str, Path]) -> None:
    request = Txt2Img(model=str(zoo["sd1-pag"]), width=64, height=64, **SETTINGS)
    unset = generate(request).image
    assert sample_images.same(generate(request.replace(pag_scale=3.0)).image, unset)
    off = generate(request.replace(pag_scale=0.0)).image
    assert not sample_images.same(off, unset)
    plain_image = plain.generate("StableDiffusionPipeline", zoo["sd1-pag"], width=64, height=64, **PLAIN)
    assert sample_images.same(off, plain_image)


def test_a_sweep_and_a_prompt_file_take_the_settings(sd1: str) -> None:
    options = ("-m", sd1, "--steps", "2", "-g", "5", "--seed", "1", "--size", "32x32")
    run("txt2img", "fox", *options, "--sweep", "pag_scale=0,3", "--sweep", "guide=cfg,apg", "-o", "sweep/")
    images = {path.read_bytes() for path in Path("sweep").glob("*.png") if "sheet" not in path.name}
    assert len(images) == 4
    Path("p.txt").write_text("a fox --pag-scale 2\na fox --guide apg --guidance-rescale 0.5\n")
    run("batch", "p.txt", *options, "-o", "out/")
    assert len(list(Path("out").glob("*.png"))) == 2
    assert record("txt2img", "fox", *options, "--guide", "apg", "--pag-scale", "2")["guide"] == "apg"
