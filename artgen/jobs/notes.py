"""Create the notes about settings without an effect and about properties of the result."""

from collections.abc import Mapping, Sequence
from typing import Any

from artgen import metadata, registry
from artgen.errors import InputFileError
from artgen.jobs import pipeline_options
from artgen.jobs.job import DenoiseJob, GenerationJob, Job, UpscaleJob
from artgen.outputs.encoding import EncodingOptions
from artgen.outputs.mark_notes import mark_notes
from artgen.outputs.save_result import encoding_notes
from artgen.registry.lora import LoraRequest
from artgen.registry.safetensors_header import MAX_NAME_LENGTH
from artgen.spec.base_requests import PromptRequest, Request
from artgen.spec.hires import MIN_LATENT_STRENGTH, parse_hires
from artgen.spec.schedulers import find_scheduler

MAX_EMBEDDINGS_IN_NOTE = 5
MAX_NATIVE_RATIO = 2.0
"""Ratio between a side of the image and of the training images above which a warning is printed."""


def lora_notes(loras: Sequence[LoraRequest]) -> tuple[str, ...]:
    """Return a note for each LoRA file with parts that have no effect."""
    notes = []
    for lora in loras:
        if names := lora.file.embeddings:
            shown = ", ".join(repr(name[:MAX_NAME_LENGTH]) for name in names[:MAX_EMBEDDINGS_IN_NOTE])
            more = f" and {len(names) - MAX_EMBEDDINGS_IN_NOTE} more" if len(names) > MAX_EMBEDDINGS_IN_NOTE else ""
            notes.append(
                f"'{lora.file.path.name}' also contains the {'embedding' if len(names) == 1 else 'embeddings'} "
                f"{shown}{more}, which artgen does not use."
            )
    return tuple(notes)


def effect_warnings(request: PromptRequest, model: registry.ResolvedModel) -> tuple[str, ...]:
    """Return notes about settings of a complete request without an effect, and about a costly effect."""
    if getattr(request, "strength", None) == 0:
        return ("With strength 0 the image does not change. The prompt and the other settings have no effect.",)
    return (
        *_editor_notes(request, model),
        *_fill_warnings(request),
        *_negative_prompt_warnings(request, model),
        *_unused_notes(request),
        *_hires_notes(request),
    )


def _unused_notes(request: PromptRequest) -> tuple[str, ...]:
    """Return notes about settings that another setting disables with its neutral value."""
    unused = (("variation_seed", "variation_strength", 0), ("score", "best_of", 1))
    return tuple(
        f"{name} has no effect with {other} {neutral}."
        for name, other, neutral in unused
        if getattr(request, name, None) is not None and getattr(request, other, None) == neutral
    )


def _hires_notes(request: PromptRequest) -> tuple[str, ...]:
    """Return a note if the second pass of hires fix is too weak for interpolated latents."""
    if getattr(request, "hires_in", None) != "latent":
        return ()
    spec = parse_hires(request.hires)  # type: ignore[attr-defined]
    if spec.strength >= MIN_LATENT_STRENGTH:
        return ()
    least = MIN_LATENT_STRENGTH
    return (
        f"--hires-in latent with strength {spec.strength:g} leaves artifacts: use a strength of {least:g} or more, "
        f"such as --hires {spec.scale:g}:{least:g}.",
    )


def _editor_notes(request: PromptRequest, model: registry.ResolvedModel) -> tuple[str, ...]:
    """Return a note about `edit` if img2img has no strength because the model edits according to an instruction."""
    entry = model.pipeline_entry
    if request.task == "img2img" and request.task in entry.no_strength and "edit" in entry.tasks:
        return (f"{entry.title} models edit images according to an instruction: use `artgen edit`.",)
    return ()


def inversion_notes(request: Request, model_scheduler: str | None) -> tuple[str, ...]:
    """Return a note if `invert` replaces the scheduler of the model.

    Args:
        request: request before its defaults are filled in.
        model_scheduler: name of the model's scheduler; None if unknown.
    """
    if not getattr(request, "invert", False) or getattr(request, "scheduler", None) or model_scheduler == "ddim":
        return ()
    return ("The scheduler is ddim, which --invert needs.",)


def _fill_warnings(request: PromptRequest) -> tuple[str, ...]:
    """Return a note if the masked area starts from noise, so that its content before denoising has no effect."""
    if getattr(request, "fill", "original") == "original" or getattr(request, "strength", None) != 1:
        return ()
    return (
        f"--fill {request.fill} has almost no effect with strength 1: the masked area starts from noise. Use "  # type: ignore[attr-defined]
        "--strength 0.8 or less.",
    )


def _negative_prompt_warnings(request: PromptRequest, model: registry.ResolvedModel) -> tuple[str, ...]:
    entry = model.pipeline_entry
    if not request.negative_prompt:
        return ()
    if entry.negative_prompt == "true-cfg":
        return (
            "The negative prompt enables true classifier-free guidance with scale "
            f"{entry.true_cfg_scale:g}, which calls the denoiser twice per step.",
        )
    if pipeline_options.uses_cfg(request, entry):
        return ()
    return (
        f"The negative prompt has no effect: the guidance scale is {request.guidance_scale:g}, and a value of "
        f"{entry.guidance_off:g} or less disables guidance.",
    )


def zero_snr_warnings(
    request: PromptRequest, model: registry.ResolvedModel, scheduler_config: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return a warning if a zero-SNR model is sampled from a level below its last noise level, which has no signal.

    `leading` timesteps leave out the last ones (Lin et al. 2023, arXiv 2305.08891, section 3.3).

    Args:
        request: complete request.
        model: resolved model.
        scheduler_config: configuration of the model's scheduler.
    """
    starts_at_last_level = (getattr(request, "strength", None) or 1.0) == 1.0
    if not scheduler_config.get("rescale_betas_zero_snr") or not starts_at_last_level:
        return ()
    name = find_scheduler(request.scheduler).class_name if request.scheduler else scheduler_config.get("_class_name")
    spacing = scheduler_config.get("timestep_spacing")
    if spacing is None and name in ("DDIMScheduler", "DDPMScheduler"):
        spacing = "leading"  # the default of these classes
    has_own_levels = request.sigmas not in (None, "normal") and name != "EulerDiscreteScheduler"
    if spacing != "leading" or has_own_levels or name in ("LCMScheduler", "TCDScheduler"):
        return ()
    return (
        f"The sampling of '{model.name}' skips its last noise level, which has no signal (rescale_betas_zero_snr): its "
        "timestep_spacing is leading. Set timestep_spacing to trailing in the scheduler_config.json of the model.",
    )


def size_warnings(size: tuple[int, int], model: registry.ResolvedModel) -> tuple[str, ...]:
    """Return warnings for a width and height in pixels that are far from the size of the training images."""
    ratios = [side / native for side, native in zip(size, model.native_size, strict=True)]
    trained = f"'{model.name}' was trained at {model.native_size[0]}x{model.native_size[1]}"
    at = f"{trained}; at {size[0]}x{size[1]}"
    large = (f"{at} shapes may repeat.",) if max(ratios) > MAX_NATIVE_RATIO else ()
    small = (f"{at} objects may be unrecognizable.",) if min(ratios) < 1 / MAX_NATIVE_RATIO else ()
    return large + small


def format_notes(job: Job, encoding: EncodingOptions) -> tuple[str, ...]:
    """Return notes about properties of the result that the output format changes."""
    source = job.source if isinstance(job, GenerationJob) and job.mask is not None else None
    image, low_bytes = (source.image, source.low_bytes) if source else (None, None)
    if isinstance(job, DenoiseJob):
        image, low_bytes = job.image, job.low_bytes
    elif isinstance(job, UpscaleJob):
        image, low_bytes = job.source.image, job.source.low_bytes
    keeps_pixels = isinstance(job, GenerationJob) and job.pasted_mask is not None
    facts = {"task": job.request.task, "method": getattr(job.request, "method", None), **job.provenance}
    return *encoding_notes(image, low_bytes, encoding, keeps_pixels=keeps_pixels), *mark_notes(facts, encoding)


def job_notes(job: Job) -> list[str]:
    """Return the notes about a job that do not depend on its output file."""
    return [*job.notes, *job.filters.notes, *([warning] if (warning := source_seed_warning(job.request)) else [])]


def source_seed_warning(request: Request) -> str | None:
    """Return a warning if img2img uses the seed that generated its input image; else None.

    The same noise is added twice, which oversaturates the colors. The metadata of the input image has the seed.
    """
    path = request.input_paths.get("image")
    adds_noise = getattr(request, "strength", None) != 0 and not getattr(request, "invert", False)
    if request.task != "img2img" or not adds_noise or path is None:
        return None
    try:
        record = metadata.read_metadata(path).record
    except InputFileError:
        return None
    if not record or record.get("seed") != request.seed:
        return None
    return f"Seed {request.seed} generated '{path.name}'. The same noise oversaturates colors; use another --seed."
