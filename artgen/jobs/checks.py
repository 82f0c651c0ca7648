"""Run the checks that depend on the machine or the resolved model, and create warnings."""

import importlib.util
import math
from collections.abc import Mapping, Sequence
from typing import Any

from artgen import images, registry
from artgen.errors import ModelUnavailableError, UsageError
from artgen.jobs.guidance import check_guidance
from artgen.jobs.job import DenoiseJob, GenerationJob, Job, PipelineJob, UpscaleJob
from artgen.registry import task_support
from artgen.registry.lora import LoraRequest
from artgen.spec.base_requests import PromptRequest
from artgen.spec.hires_passes import second_request
from artgen.spec.requests import TASKS, Txt2Img
from artgen.spec.schedulers import SCHEDULERS, find_scheduler
from artgen.spec.settings import FramesSettings
from artgen.system import hardware
from artgen.system.counts import counted

VAE_TILING_MIN_PIXELS = 2**21
"""Image size in pixels above which the VAE decodes in tiles. Decoding without tiles in fp32 takes 3.8 GiB at 1024x1024
and 15 GiB at 2048x2048, in addition to the weights."""


def check_device(device: str, offload: str | None) -> None:
    """Check that a device exists, and that `offload` works on it. Does not import torch.

    Raises:
        UsageError: the device does not exist, or `offload` needs a GPU.
    """
    if device.startswith("cuda") and not hardware.cuda_device_count():
        reason = (
            "no NVIDIA driver is installed"
            if hardware.torch_cuda_version()
            else "this build of torch supports only CPUs"
        )
        raise UsageError(
            f"Cannot use CUDA: {reason}.", "Remove --device, or use --device cpu. `artgen doctor` shows more."
        )
    number = device.removeprefix("cuda:")
    if number.isdecimal() and int(number) >= hardware.cuda_device_count():
        raise UsageError(
            f"Cannot use '{device}': this machine has {counted(hardware.cuda_device_count(), 'CUDA device')}, numbered "
            "from 0.",
            "Use --device cuda:0, or remove --device.",
        )
    if device == "mps" and not hardware.has_mps():
        raise UsageError("Cannot use MPS: this machine has no MPS device.", "Remove --device, or use --device cpu.")
    if runs_on_cpu(device) and offload not in (None, "none", "auto", "text"):
        raise UsageError(
            f"--offload {offload} needs a GPU, but the device is the CPU.",
            "Use --offload text.",
            settings=("offload",),
        )


def check_memory_budget(device: str, memory_budget: str | None) -> None:
    """Check that the device supports a memory budget.

    Raises:
        UsageError: the device is neither a CUDA device nor the CPU.
    """
    if memory_budget is not None and not hardware.cuda_device_count() and not runs_on_cpu(device):
        raise UsageError(
            "--memory-budget supports only CUDA devices and the CPU, not MPS.",
            "Remove --memory-budget.",
            settings=("memory_budget",),
        )


def check_quantize(device: str, quantize: str | None) -> None:
    """Check that the package of a quantization is installed, and that it works on the device.

    Raises:
        UsageError: the package is missing, or the quantization needs CUDA.
    """
    package = {"int8": "torchao", "nf4": "bitsandbytes"}.get(quantize or "")
    if quantize == "nf4" and (not hardware.cuda_device_count() or device in ("cpu", "mps")):
        raise UsageError(
            "--quantize nf4 needs a CUDA device.",
            "Use --quantize int8, which works on the CPU too.",
            settings=("quantize",),
        )
    if package and importlib.util.find_spec(package) is None:
        raise UsageError(
            f"--quantize {quantize} needs the package {package}, which is not installed.",
            f"pip install 'artgen[{quantize}]'",
            settings=("quantize",),
        )


def runs_on_cpu(device: str) -> bool:
    """Return whether a device, or the device that `auto` selects, is the CPU."""
    return device == "cpu" or (device == "auto" and not hardware.cuda_device_count() and not hardware.has_mps())


def check_text_offload(request: PromptRequest, model: registry.ResolvedModel, loras: Sequence[LoraRequest]) -> None:
    """Check that a model supports `--offload text` if the device is the CPU.

    Raises:
        UsageError: the text encoders cannot be loaded separately.
    """
    if request.offload != "text" or not runs_on_cpu(request.device):
        return
    if reason := text_encoders_inseparable_reason(model, loras):
        raise UsageError(
            f"--offload text on the CPU encodes the prompts before the model is loaded, but {reason}.",
            "Remove --offload.",
            settings=("offload",),
        )


def text_encoders_inseparable_reason(model: registry.ResolvedModel, loras: Sequence[LoraRequest]) -> str:
    """Return why the text encoders cannot be loaded without the other components; empty if they can."""
    if model.refiner is not None:
        return "the refiner has a text encoder of its own"
    if not model.pipeline_entry.supports("text-offload"):
        return f"'{model.name}' is not a Stable Diffusion 1, 2, XL or 3 model"
    if changed := [each.file.name for each in loras if each.file.changes_text_encoders]:
        return f"the LoRA '{changed[0]}' changes the text encoders"
    return ""


def needs_vae_tiling(size: tuple[int, int]) -> bool:
    """Return whether the VAE decodes an image of this width and height (pixels) in tiles by default.

    Only the size matters, so that the same request gives the same pixels on every machine.
    """
    return size[0] * size[1] > VAE_TILING_MIN_PIXELS


def check_task(request: PromptRequest, model: registry.ResolvedModel) -> None:
    """Check that a model supports a task with a prompt.

    Raises:
        ModelUnavailableError: the model does not support the task.
    """
    entry = model.pipeline_entry
    task_support.check_task(entry, request.task, model.name)
    if model.is_inpainting and TASKS[request.task].pipeline_kind != "Inpainting":
        raise ModelUnavailableError(
            f"Cannot use '{model.name}' for {request.task}: it is an inpainting model.",
            "Use the model with inpaint or outpaint, or choose another --model.",
        )
    if entry.needs_mask_channels and not model.is_inpainting and TASKS[request.task].pipeline_kind == "Inpainting":
        raise ModelUnavailableError(
            f"Cannot use '{model.name}' for {request.task}: {entry.title} needs an inpainting model for this task.",
            "Use the inpainting model of the family.",
        )


def txt2img_size(width: int | None, height: int | None, model: registry.ResolvedModel) -> tuple[int, int]:
    """Return width and height of a txt2img image in pixels. An unset side has the native size of the model.

    Raises:
        UsageError: the model does not support the size; the hint contains the nearest supported sizes.
    """
    width, height = width or model.native_size[0], height or model.native_size[1]
    if width % model.size_multiple or height % model.size_multiple:
        nearest = " or ".join(f"{w}x{h}" for w, h in images.nearest_sizes(width, height, model.size_multiple))
        raise UsageError(
            f"Cannot generate {width}x{height} with '{model.name}': both sides must be multiples of "
            f"{model.size_multiple}.",
            f"Use --size {nearest}.",
        )
    return width, height


def check_sampling(request: PromptRequest, model: registry.ResolvedModel, scheduler_config: Mapping[str, Any]) -> None:
    """Check that the sampler settings of a complete request fit the model and each other.

    Args:
        request: complete request.
        model: resolved model.
        scheduler_config: configuration of the model's scheduler.

    Raises:
        UsageError: a setting is not supported; the hint contains supported values.
    """
    _check_scheduler(request, model)
    if scheduler_config.get("rescale_betas_zero_snr"):
        _check_zero_snr(request, model, scheduler_config)
    strength = getattr(request, "strength", None)
    _check_strength(request.steps or 1, 1.0 if strength is None else strength)
    check_guidance(request, model)
    if not isinstance(request, Txt2Img) or request.hires is None:
        return
    try:
        check_sampling(second_request(request), model, scheduler_config)
    except UsageError as error:
        raise UsageError(
            f"Cannot use --hires: its second pass is img2img. {error.message}",
            "Remove --hires, or use a higher strength or more --hires-steps.",
            settings=("hires", "hires_steps"),
        ) from error


def _check_scheduler(request: PromptRequest, model: registry.ResolvedModel) -> None:
    """Check that the scheduler fits the prediction of the model: flow matching, or noise."""
    if request.scheduler is None or find_scheduler(request.scheduler).is_flow_matching == model.is_flow_matching:
        return
    kind = "flow-matching" if model.is_flow_matching else "noise-predicting"
    fitting = ", ".join(entry.name for entry in SCHEDULERS if entry.is_flow_matching == model.is_flow_matching)
    raise UsageError(
        f"The scheduler {request.scheduler} does not support '{model.name}', a {kind} model.",
        f"Supported schedulers: {fitting}.",
        settings=("scheduler",),
    )


def _check_zero_snr(request: PromptRequest, model: registry.ResolvedModel, scheduler_config: Mapping[str, Any]) -> None:
    """Check that a model whose last noise level has no signal (zero SNR) is sampled from this level."""
    if request.scheduler is not None and not find_scheduler(request.scheduler).supports_zero_snr:
        fitting = ", ".join(entry.name for entry in SCHEDULERS if entry.supports_zero_snr)
        raise UsageError(
            f"The scheduler {request.scheduler} does not support '{model.name}': it cannot start at the last noise "
            "level of the model, which has no signal (rescale_betas_zero_snr).",
            f"Supported schedulers: {fitting}.",
            settings=("scheduler",),
        )
    if model.prediction == "epsilon" and scheduler_config.get("timestep_spacing") in ("trailing", "linspace"):
        raise UsageError(
            f"Cannot generate with '{model.name}': its last noise level has no signal (rescale_betas_zero_snr), and a "
            "prediction of epsilon does not determine the image there.",
            "Check prediction_type in the scheduler_config.json of the model: such models predict v_prediction.",
        )


def _check_strength(steps: int, strength: float) -> None:
    """Check that at least one step runs, unless the strength is 0: then the image does not change.

    diffusers runs int(steps * strength) steps, and accepts 0 steps.
    """
    if strength and int(steps * strength) < 1:
        least = math.ceil(1000 / steps) / 1000
        enough = "1" if least == 1 else f"{least:g} or more"
        raise UsageError(
            f"strength {strength:g} with {counted(steps, 'step')} runs no step.",
            f"Use --strength {enough}, or more --steps. Strength 0 returns the image unchanged.",
        )


def check_frames(frames: FramesSettings, job: Job) -> None:
    """Check that a job has intermediate steps that frames can show.

    Raises:
        UsageError: the job has no intermediate steps that frames can show.
    """
    if isinstance(job, DenoiseJob):
        if job.model is None:
            raise UsageError(
                f"--method {job.request.method} has no steps that frames can show.", "Remove --frames or --method."
            )
        if (job.request.steps or 1) < 2:
            raise UsageError("Frames need 2 steps or more.", "Add --steps 10, or remove --frames.")
    elif isinstance(job, UpscaleJob):
        raise UsageError("Frames cannot show the steps of upscale.", "Remove --frames.")
    elif isinstance(job, PipelineJob) and not job.model.pipeline_entry.supports("frames"):
        raise UsageError(f"Frames cannot show the latents of {job.model.name}.", "Remove --frames for this model.")
    elif isinstance(job, GenerationJob) and job.model.refiner is not None:
        raise UsageError("Frames cannot show the steps of two models.", "Remove --frames or --refiner.")
    elif isinstance(job, GenerationJob) and job.hires is not None:
        raise UsageError("Frames cannot show the steps of two sizes.", "Remove --frames or --hires.")
    elif isinstance(job, GenerationJob) and job.crop_padding is not None:
        raise UsageError("Frames cannot show the enlarged area of --only-masked.", "Remove --frames or --only-masked.")
    task = TASKS[job.request.task]
    inverts = getattr(job.request, "invert", False)
    if frames.include_noising and (task.default_strength is None or inverts):
        subject = "--invert" if inverts else task.name
        reason = "adds no noise" if "image" in task.inputs else "starts from noise alone"
        raise UsageError(
            f"--include-noising shows how noise is added to the input image, but {subject} {reason}.",
            "Remove --include-noising. `artgen noise input.png` shows the noising of any image.",
        )


def check_position_limit(size: tuple[int, int], model: registry.ResolvedModel) -> None:
    """Check that a transformer has a position embedding for each patch of an image.

    Args:
        size: width and height in pixels.
        model: any model.

    Raises:
        UsageError: the image is too large for the model.
    """
    limit = registry.position_limit_px(model)
    if limit is not None and max(size) > limit:
        raise UsageError(
            f"Cannot generate {size[0]}x{size[1]} with '{model.name}': both sides can have at most {limit} pixels.",
            f"Use a smaller image, for example --size {model.native_size[0]}x{model.native_size[1]}.",
        )
