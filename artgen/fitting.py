"""Whether a request fits the machine and the model: what only they can tell, and what the user should know."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from artgen import denoising, images, machine, registry
from artgen.adapters import Attachment
from artgen.approximations import chosen
from artgen.errors import ModelUnavailableError, UsageError
from artgen.registry import folders
from artgen.registry.cards import BUNDLED
from artgen.requests import Denoise, FromWords, Inpaint, Outpaint, Redraw, Request
from artgen.schedulers import SCHEDULERS, find
from artgen.settings import Canvas, Frames

LATENTS = {"sd1": (4, 0.18215), "sd2": (4, 0.18215), "sdxl": (4, 0.13025), "sd3": (16, 1.5305)}
"""Channels of the usual autoencoder of each architecture, and what it multiplies its latents with."""

TILED_ABOVE = 2**21
"""Pixels from which a picture is decoded in tiles. Decoding 1024x1024 whole in fp32 takes 3.8 GiB beside the weights,
2048x2048 takes 15."""

FAR_FROM_NATIVE = 2.0
"""How many times a side may differ from the size a model was trained at before a note is due."""


def check_device(device: str, offload: str | None) -> None:
    """Refuses, without importing torch, a device that is not there and an `offload` that has no GPU to relieve.

    Raises:
        UsageError: naming what is missing.
    """
    if device.startswith("cuda") and not machine.cuda_devices():
        reason = "this torch is built for the CPU" if not machine.torch_cuda_version() else "no NVIDIA driver answers"
        raise UsageError(
            f"There is no CUDA device: {reason}.", "Leave --device out, or use --device cpu; see `artgen doctor`."
        )
    if device == "mps" and not machine.has_mps():
        raise UsageError("There is no MPS device on this machine.", "Leave --device out, or use --device cpu.")
    if _on_cpu(device) and offload not in (None, "none", "auto", "text"):
        raise UsageError(
            f"--offload {offload} needs a GPU; this would run on the CPU.", "Use --offload text, or leave it out."
        )


def check_budget(device: str, memory_budget: str | None) -> None:
    """Refuses a budget of memory where neither a CUDA device nor the CPU would be used.

    Raises:
        UsageError: saying so.
    """
    if memory_budget is not None and not machine.cuda_devices() and not _on_cpu(device):
        raise UsageError("--memory-budget is for a CUDA device or the CPU, and this would run on MPS.", "Leave it out.")


def _on_cpu(device: str) -> bool:
    return device == "cpu" or (device == "auto" and not machine.cuda_devices() and not machine.has_mps())


def check_apart(request: FromWords, model: registry.ResolvedModel, loras: Sequence[Attachment]) -> None:
    """Refuses `--offload text` on the CPU for a model whose text encoders cannot be had by themselves.

    Raises:
        UsageError: saying why.
    """
    if request.offload == "text" and _on_cpu(request.device) and (why := why_not_apart(model, loras)):
        raise UsageError(f"--offload text on the CPU reads prompts before the model is loaded: {why}.", "Leave it out.")


def why_not_apart(model: registry.ResolvedModel, loras: Sequence[Attachment]) -> str:
    """What keeps a model's text encoders from being loaded without the rest of it; empty when nothing does."""
    if not model.pipeline.startswith("StableDiffusion"):
        return f"{model.name} is none of Stable Diffusion 1, 2, XL and 3"
    if changed := [
        each.adapter.name for each in loras if any(part.startswith("text") for part in each.adapter.components)
    ]:
        return f"the LoRA {changed[0]} changes its text encoders"
    return ""


def needs_tiles(size: tuple[int, int]) -> bool:
    """Whether a picture of this width and height in pixels is decoded in tiles unless told otherwise.

    By its size alone, so that the same request gives the same pixels on every machine.
    """
    return size[0] * size[1] > TILED_ABOVE


def check_task(request: Request, model: registry.ResolvedModel) -> None:
    """Refuses a model that cannot do the task.

    Raises:
        ModelUnavailableError: saying what kind of model it is.
    """
    denoising.check_kind(request, model)
    if model.inpainting and not isinstance(request, Inpaint | Outpaint):
        raise ModelUnavailableError(
            f"{model.name} is an inpainting model and cannot do {request.task}.",
            "Use it with inpaint or outpaint, or choose another --model.",
        )


def canvas(request: Request, model: registry.ResolvedModel) -> tuple[int, int]:
    """Width and height in pixels of a picture drawn from nothing: as asked, else the size the model was trained at.

    Raises:
        UsageError: a size that the model cannot draw, with the nearest ones that it can.
    """
    asked = request if isinstance(request, Canvas) else Canvas()
    width, height = asked.width or model.native[0], asked.height or model.native[1]
    if width % model.multiple or height % model.multiple:
        near = " or ".join(f"{w}x{h}" for w, h in images.nearest_sizes(width, height, model.multiple))
        raise UsageError(
            f"{model.name} draws sizes that are multiples of {model.multiple}, not {width}x{height}.",
            f"Try --size {near}.",
        )
    return width, height


def check_scheduler(request: FromWords, model: registry.ResolvedModel) -> None:
    """Refuses a scheduler of the other kind: flow-matching for a model that predicts noise, or the reverse.

    Raises:
        UsageError: with the schedulers that fit.
    """
    if request.scheduler is None or find(request.scheduler).flow == model.flow:
        return
    kind = "flow-matching" if model.flow else "noise-predicting"
    these = ", ".join(entry.name for entry in SCHEDULERS if entry.flow == model.flow)
    raise UsageError(f"{request.scheduler} does not fit {model.name}, a {kind} model.", f"These do: {these}.")


def check_strength(request: FromWords) -> None:
    """Refuses a strength that leaves no step: diffusers runs int(steps * strength), silently none when that is 0.

    Raises:
        UsageError: with the least strength that runs one.
    """
    if not isinstance(request, Redraw) or request.strength is None or request.steps is None:
        return
    if int(request.steps * request.strength) < 1:
        raise UsageError(
            f"strength {request.strength:g} of {request.steps} steps runs no step at all.",
            f"Use --strength {math.ceil(1000 / request.steps) / 1000:g} or more, or more --steps.",
        )


def check_fast(request: FromWords, model: registry.ResolvedModel) -> None:
    """Refuses an approximation that the model cannot take, or that would save nothing.

    Raises:
        UsageError: saying why.
    """
    strength = (request.strength if isinstance(request, Redraw) else None) or 1
    steps = int((request.steps or 1) * strength)
    for entry in chosen(request.fast):
        without = f"Leave {entry.name} out of --fast."
        if model.architecture not in entry.architectures:
            these = ", ".join(entry.architectures)
            raise UsageError(f"--fast {entry.name} works with {these}; {model.name} is {model.architecture}.", without)
        if entry.name == "cache" and request.offload == "group":
            raise UsageError("--fast cache skips layers that --offload group waits for.", without)
        if entry.name == "tiny-decoder":
            _check_latents(model)
        if entry.name == "lcm":
            _check_distilled(request, model)
        if steps < entry.fewest_steps:
            raise UsageError(
                f"--fast {entry.name} takes over from one step what the next would compute; in {steps} steps they "
                "differ too much.",
                f"Use --steps {math.ceil(entry.fewest_steps / strength)} or more, or leave {entry.name} out.",
            )
        if entry.name == "guidance" and (not request.guided or _told_guidance(model)):
            raise UsageError(f"--fast guidance saves nothing: {model.name} draws this without a second pass.", without)


def find_parts(
    request: FromWords,
    model: registry.ResolvedModel,
    known: dict[str, registry.Part],
    on_download: Callable[[str, int, int], None],
) -> dict[str, registry.Part]:
    """What a request's approximations need beside the model, by their names; downloads what is not here.

    Args:
        known: remembers those of a model from one request to the next.

    Raises:
        ModelUnavailableError: offline and not here, or not to be had.
        UsageError: a tiny decoder for pictures of another size.
    """
    needed = [entry for entry in chosen(request.fast) if entry.files]
    for entry in needed:
        if entry.name not in known:
            repo = entry.repositories[model.architecture]
            found = registry.find_part(repo, entry.files, offline=request.offline, on_download=on_download)
            if entry.name == "tiny-decoder":
                _check_decoder(found, model)
            known[entry.name] = found
    return {entry.name: known[entry.name] for entry in needed}


def _check_latents(model: registry.ResolvedModel) -> None:
    own = _autoencoder(model)
    channels, scale = LATENTS[model.architecture]
    same = model.latent_channels == channels and not own.get("latents_mean")
    if not same or not math.isclose(own.get("scaling_factor", scale), scale, rel_tol=1e-3):
        raise UsageError(*_other_latents(model))


def _check_distilled(request: FromWords, model: registry.ResolvedModel) -> None:
    """A LoRA that shortens sampling wants a model that it can shorten, and its own scheduler."""
    if model.source.startswith(BUNDLED):
        raise UsageError(
            f"--fast lcm was made for Stable Diffusion's weights; {model.name} has others.", "Leave it out."
        )
    if model.guidance_scale <= 1 or _told_guidance(model):
        raise UsageError(f"{model.name} draws in {model.steps} steps as it is.", "Leave lcm out of --fast.")
    if request.scheduler != "lcm":
        raise UsageError(f"--fast lcm draws with the scheduler lcm, not {request.scheduler}.", "Leave --scheduler out.")


def _check_decoder(part: registry.Part, model: registry.ResolvedModel) -> None:
    tiny, own = folders.optional_json(part.folder / "config.json"), _autoencoder(model)
    factor = tiny.get("upsampling_scaling_factor", 2) ** (len(tiny.get("decoder_block_out_channels", (0,) * 4)) - 1)
    if factor != 2 ** (len(own.get("block_out_channels", (0,) * 4)) - 1):
        raise UsageError(*_other_latents(model))


def _other_latents(model: registry.ResolvedModel) -> tuple[str, str]:
    return (
        f"--fast tiny-decoder was made for other latents than those of {model.name}.",
        "Leave tiny-decoder out of --fast.",
    )


def _autoencoder(model: registry.ResolvedModel) -> dict[str, Any]:
    """The configuration of a model's autoencoder; nothing for a single file, which has the usual one."""
    return {} if model.is_file else folders.optional_json(model.path / "vae" / "config.json")


def _told_guidance(model: registry.ResolvedModel) -> bool:
    """Whether a denoiser is told the guidance and asked once, as those of latent consistency models are."""
    if model.is_file:
        return False
    config = model.path / folders.main_component(model.path) / "config.json"
    return folders.optional_json(config).get("time_cond_proj_dim") is not None


def check_frames(frames: Frames, request: Request, model: registry.ResolvedModel | None) -> None:
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
    if frames.noise_first and not isinstance(request, Redraw):
        why = "adds no noise" if isinstance(request, Denoise) else "starts from noise alone"
        raise UsageError(
            f"--noise-first shows how noise takes a picture over, and {request.task} {why}.",
            "Leave it out; `artgen noise input.png` draws the noising of any picture.",
        )


def size_notes(size: tuple[int, int], model: registry.ResolvedModel) -> tuple[str, ...]:
    """What to expect at width and height (in pixels) far from those that the model was trained at."""
    ratios = [side / native for side, native in zip(size, model.native, strict=True)]
    at = f"{model.name} was trained at {model.native[0]}x{model.native[1]}; at {size[0]}x{size[1]}"
    large = (f"{at} shapes may repeat",) if max(ratios) > FAR_FROM_NATIVE else ()
    small = (f"{at} little may be recognised",) if min(ratios) < 1 / FAR_FROM_NATIVE else ()
    return large + small
