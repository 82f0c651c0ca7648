"""Whether a request fits the machine and the model: what only they can tell, and what the user should know."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from artgen import images, registry
from artgen.errors import ModelUnavailableError, UsageError
from artgen.jobs import denoise
from artgen.registry import diffusers_folder
from artgen.registry.catalog import BUNDLED_PREFIX
from artgen.registry.lora import LoraRequest
from artgen.spec.fast import parse_presets
from artgen.spec.requests import Denoise, Inpaint, Outpaint, PromptedImageRequest, PromptRequest, Request
from artgen.spec.schedulers import SCHEDULERS, find_scheduler
from artgen.spec.settings import CanvasSettings, FramesSettings
from artgen.system import hardware

LATENT_FORMATS = {"sd1": (4, 0.18215), "sd2": (4, 0.18215), "sdxl": (4, 0.13025), "sd3": (16, 1.5305)}
"""Channels of the usual autoencoder of each architecture, and what it multiplies its latents with."""

VAE_TILING_MIN_PIXELS = 2**21
"""Pixels from which a picture is decoded in tiles. Decoding 1024x1024 whole in fp32 takes 3.8 GiB beside the weights,
2048x2048 takes 15."""

MAX_NATIVE_RATIO = 2.0
"""How many times a side may differ from the size a model was trained at before a note is due."""


def check_device(device: str, offload: str | None) -> None:
    """Refuses, without importing torch, a device that is not there and an `offload` that has no GPU to relieve.

    Raises:
        UsageError: naming what is missing.
    """
    if device.startswith("cuda") and not hardware.cuda_device_count():
        reason = "this torch is built for the CPU" if not hardware.torch_cuda_version() else "no NVIDIA driver answers"
        raise UsageError(
            f"There is no CUDA device: {reason}.", "Leave --device out, or use --device cpu; see `artgen doctor`."
        )
    if device == "mps" and not hardware.has_mps():
        raise UsageError("There is no MPS device on this machine.", "Leave --device out, or use --device cpu.")
    if _runs_on_cpu(device) and offload not in (None, "none", "auto", "text"):
        raise UsageError(
            f"--offload {offload} needs a GPU; this would run on the CPU.", "Use --offload text, or leave it out."
        )


def check_memory_budget(device: str, memory_budget: str | None) -> None:
    """Refuses a budget of memory where neither a CUDA device nor the CPU would be used.

    Raises:
        UsageError: saying so.
    """
    if memory_budget is not None and not hardware.cuda_device_count() and not _runs_on_cpu(device):
        raise UsageError("--memory-budget is for a CUDA device or the CPU, and this would run on MPS.", "Leave it out.")


def _runs_on_cpu(device: str) -> bool:
    return device == "cpu" or (device == "auto" and not hardware.cuda_device_count() and not hardware.has_mps())


def check_text_offload(request: PromptRequest, model: registry.ResolvedModel, loras: Sequence[LoraRequest]) -> None:
    """Refuses `--offload text` on the CPU for a model whose text encoders cannot be had by themselves.

    Raises:
        UsageError: saying why.
    """
    if (
        request.offload == "text"
        and _runs_on_cpu(request.device)
        and (why := text_encoders_inseparable_reason(model, loras))
    ):
        raise UsageError(f"--offload text on the CPU reads prompts before the model is loaded: {why}.", "Leave it out.")


def text_encoders_inseparable_reason(model: registry.ResolvedModel, loras: Sequence[LoraRequest]) -> str:
    """What keeps a model's text encoders from being loaded without the rest of it; empty when nothing does."""
    if not model.pipeline.startswith("StableDiffusion"):
        return f"{model.name} is none of Stable Diffusion 1, 2, XL and 3"
    if changed := [each.file.name for each in loras if any(part.startswith("text") for part in each.file.components)]:
        return f"the LoRA {changed[0]} changes its text encoders"
    return ""


def needs_vae_tiling(size: tuple[int, int]) -> bool:
    """Whether a picture of this width and height in pixels is decoded in tiles unless told otherwise.

    By its size alone, so that the same request gives the same pixels on every machine.
    """
    return size[0] * size[1] > VAE_TILING_MIN_PIXELS


def check_task(request: Request, model: registry.ResolvedModel) -> None:
    """Refuses a model that cannot do the task.

    Raises:
        ModelUnavailableError: saying what kind of model it is.
    """
    denoise.check_model_type(request, model)
    if model.is_inpainting and not isinstance(request, Inpaint | Outpaint):
        raise ModelUnavailableError(
            f"{model.name} is an inpainting model and cannot do {request.task}.",
            "Use it with inpaint or outpaint, or choose another --model.",
        )


def output_size(request: Request, model: registry.ResolvedModel) -> tuple[int, int]:
    """Width and height in pixels of a picture drawn from nothing: as asked, else the size the model was trained at.

    Raises:
        UsageError: a size that the model cannot draw, with the nearest ones that it can.
    """
    asked = request if isinstance(request, CanvasSettings) else CanvasSettings()
    width, height = asked.width or model.native_size[0], asked.height or model.native_size[1]
    if width % model.size_multiple or height % model.size_multiple:
        near = " or ".join(f"{w}x{h}" for w, h in images.nearest_sizes(width, height, model.size_multiple))
        raise UsageError(
            f"{model.name} draws sizes that are multiples of {model.size_multiple}, not {width}x{height}.",
            f"Try --size {near}.",
        )
    return width, height


def check_scheduler(request: PromptRequest, model: registry.ResolvedModel) -> None:
    """Refuses a scheduler of the other kind: flow-matching for a model that predicts noise, or the reverse.

    Raises:
        UsageError: with the schedulers that fit.
    """
    if request.scheduler is None or find_scheduler(request.scheduler).is_flow_matching == model.is_flow_matching:
        return
    kind = "flow-matching" if model.is_flow_matching else "noise-predicting"
    these = ", ".join(entry.name for entry in SCHEDULERS if entry.is_flow_matching == model.is_flow_matching)
    raise UsageError(f"{request.scheduler} does not fit {model.name}, a {kind} model.", f"These do: {these}.")


def check_strength(request: PromptRequest) -> None:
    """Refuses a strength that leaves no step: diffusers runs int(steps * strength), silently none when that is 0.

    Raises:
        UsageError: with the least strength that runs one.
    """
    if not isinstance(request, PromptedImageRequest) or request.strength is None or request.steps is None:
        return
    if int(request.steps * request.strength) < 1:
        raise UsageError(
            f"strength {request.strength:g} of {request.steps} steps runs no step at all.",
            f"Use --strength {math.ceil(1000 / request.steps) / 1000:g} or more, or more --steps.",
        )


def check_fast(request: PromptRequest, model: registry.ResolvedModel) -> None:
    """Refuses an approximation that the model cannot take, or that would save nothing.

    Raises:
        UsageError: saying why.
    """
    strength = (request.strength if isinstance(request, PromptedImageRequest) else None) or 1
    steps = int((request.steps or 1) * strength)
    for entry in parse_presets(request.fast):
        without = f"Leave {entry.name} out of --fast."
        if model.architecture not in entry.architectures:
            these = ", ".join(entry.architectures)
            raise UsageError(f"--fast {entry.name} works with {these}; {model.name} is {model.architecture}.", without)
        if entry.name == "cache" and request.offload == "group":
            raise UsageError("--fast cache skips layers that --offload group waits for.", without)
        if entry.name == "tiny-decoder":
            _check_latent_format(model)
        if entry.name == "lcm":
            _check_lcm(request, model)
        if steps < entry.min_steps:
            raise UsageError(
                f"--fast {entry.name} takes over from one step what the next would compute; in {steps} steps they "
                "differ too much.",
                f"Use --steps {math.ceil(entry.min_steps / strength)} or more, or leave {entry.name} out.",
            )


def find_extras(
    request: PromptRequest,
    model: registry.ResolvedModel,
    extras_cache: dict[str, registry.HubFiles],
    on_download: Callable[[str, int, int], None],
) -> dict[str, registry.HubFiles]:
    """What a request's approximations need beside the model, by their names; downloads what is not here.

    Args:
        extras_cache: remembers those of a model from one request to the next.

    Raises:
        ModelUnavailableError: offline and not here, or not to be had.
        UsageError: a tiny decoder for pictures of another size.
    """
    needed = [entry for entry in parse_presets(request.fast) if entry.filenames]
    for entry in needed:
        if entry.name not in extras_cache:
            repo = entry.repositories[model.architecture]
            found = registry.fetch_hub_files(repo, entry.filenames, offline=request.offline, on_download=on_download)
            if entry.name == "tiny-decoder":
                _check_tiny_decoder(found, model)
            extras_cache[entry.name] = found
    return {entry.name: extras_cache[entry.name] for entry in needed}


def _check_latent_format(model: registry.ResolvedModel) -> None:
    own = _vae_config(model)
    channels, scale = LATENT_FORMATS[model.architecture]
    same = model.latent_channels == channels and not own.get("latents_mean")
    if not same or not math.isclose(own.get("scaling_factor", scale), scale, rel_tol=1e-3):
        raise UsageError(*_latent_mismatch_error(model))


def _check_lcm(request: PromptRequest, model: registry.ResolvedModel) -> None:
    """A LoRA that shortens sampling wants a model that it can shorten, and its own scheduler."""
    if model.source.startswith(BUNDLED_PREFIX):
        raise UsageError(
            f"--fast lcm was made for Stable Diffusion's weights; {model.name} has others.", "Leave it out."
        )
    if model.guidance_scale <= 1 or _has_embedded_guidance(model):
        raise UsageError(f"{model.name} draws in {model.steps} steps as it is.", "Leave lcm out of --fast.")
    if request.scheduler != "lcm":
        raise UsageError(f"--fast lcm draws with the scheduler lcm, not {request.scheduler}.", "Leave --scheduler out.")


def _check_tiny_decoder(hub_files: registry.HubFiles, model: registry.ResolvedModel) -> None:
    tiny, own = diffusers_folder.read_optional_json(hub_files.folder / "config.json"), _vae_config(model)
    factor = tiny.get("upsampling_scaling_factor", 2) ** (len(tiny.get("decoder_block_out_channels", (0,) * 4)) - 1)
    if factor != 2 ** (len(own.get("block_out_channels", (0,) * 4)) - 1):
        raise UsageError(*_latent_mismatch_error(model))


def _latent_mismatch_error(model: registry.ResolvedModel) -> tuple[str, str]:
    return (
        f"--fast tiny-decoder was made for other latents than those of {model.name}.",
        "Leave tiny-decoder out of --fast.",
    )


def _vae_config(model: registry.ResolvedModel) -> dict[str, Any]:
    """The configuration of a model's autoencoder; nothing for a single file, which has the usual one."""
    return {} if model.is_file else diffusers_folder.read_optional_json(model.path / "vae" / "config.json")


def _has_embedded_guidance(model: registry.ResolvedModel) -> bool:
    """Whether a denoiser is told the guidance and asked once, as those of latent consistency models are."""
    if model.is_file:
        return False
    config = model.path / diffusers_folder.denoiser_name(model.path) / "config.json"
    return diffusers_folder.read_optional_json(config).get("time_cond_proj_dim") is not None


def check_frames(frames: FramesSettings, request: Request, model: registry.ResolvedModel | None) -> None:
    """Refuses frames of what has none to show; `request` is complete.

    Raises:
        UsageError: with what to leave out, or to add.
    """
    if isinstance(request, Denoise):
        if request.method in ("tv", "nlm"):
            raise UsageError(
                f"--method {request.method} takes no steps that frames could show.", "Leave --frames or --method out."
            )
        if (request.steps or 1) < 2:
            raise UsageError("One step makes no frames.", "Add --steps 10, or leave --frames out.")
    elif model is not None and model.architecture not in ("sd1", "sd2", "sdxl", "sd3"):
        raise UsageError(
            f"{model.name} keeps its latents in a form that frames cannot show.", "Leave --frames out for this model."
        )
    if frames.include_noising and not isinstance(request, PromptedImageRequest):
        why = "adds no noise" if isinstance(request, Denoise) else "starts from noise alone"
        raise UsageError(
            f"--include-noising shows how noise takes a picture over, and {request.task} {why}.",
            "Leave it out; `artgen noise input.png` draws the noising of any picture.",
        )


def size_warnings(size: tuple[int, int], model: registry.ResolvedModel) -> tuple[str, ...]:
    """What to expect at width and height (in pixels) far from those that the model was trained at."""
    ratios = [side / native for side, native in zip(size, model.native_size, strict=True)]
    at = f"{model.name} was trained at {model.native_size[0]}x{model.native_size[1]}; at {size[0]}x{size[1]}"
    large = (f"{at} shapes may repeat",) if max(ratios) > MAX_NATIVE_RATIO else ()
    small = (f"{at} little may be recognised",) if min(ratios) < 1 / MAX_NATIVE_RATIO else ()
    return large + small
