"""Build the keyword arguments of a pipeline call, with the names of the arguments from the table of pipelines."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from artgen.engine.sampling.conditioning import Conditioning
from artgen.engine.sampling.nan_guard import NanGuard
from artgen.engine.sampling.prompt_arguments import text_arguments
from artgen.jobs.job import GenerationJob
from artgen.jobs.pipeline_options import pag_scale

SPRINT_STEPS = 2
"""Number of steps for which Sana-Sprint has an intermediate timestep."""


def call_arguments(
    pipe: Any,
    jobs: Sequence[GenerationJob],
    task_kwargs: Mapping[str, Any],
    nan_guard: NanGuard,
    conditioning: Conditioning | None,
) -> dict[str, Any]:
    """Return the keyword arguments of the pipeline call.

    Args:
        pipe: Pipeline to call.
        jobs: Jobs of the batch.
        task_kwargs: Arguments that are specific to the task.
        nan_guard: Callback after each step.
        conditioning: Embeddings of the prompts. None: the pipeline encodes the prompts.
    """
    request, entry = jobs[0].request, jobs[0].model.pipeline_entry
    accepted = inspect.signature(pipe.__call__).parameters
    # Some image pipelines have no size arguments and use the size of the image. A pipeline with `control_mask` receives
    # the input image and the mask as control images, and starts from noise.
    optional = ("width", "height", *(("image", "mask_image", "strength") if "control_mask" in accepted else ()))
    kwargs = {name: value for name, value in task_kwargs.items() if name in accepted or name not in optional}
    if request.task in entry.no_strength:
        kwargs.pop("strength", None)
        references = jobs[0].references
        # A list contains several references for one image.
        kwargs["image"] = [jobs[0].padded_image, *references] if references else jobs[0].padded_image
    kwargs |= _size_arguments(pipe, accepted, jobs[0].pipeline_size)
    kwargs |= {name: value for name, value in entry.arguments.items() if name in accepted}
    kwargs |= entry.task_arguments.get(request.task, {})
    kwargs["num_inference_steps"] = request.steps
    if "intermediate_timesteps" in accepted and request.steps != SPRINT_STEPS:
        kwargs["intermediate_timesteps"] = None
    if entry.guidance != "none" and entry.guidance_argument in accepted:
        kwargs[entry.guidance_argument] = request.guidance_scale
    if entry.guidance_argument == "guider" and pipe.guider is not None:
        pipe.guider = pipe.guider.new(guidance_scale=request.guidance_scale)
    if entry.image_guidance_scale:
        kwargs["image_guidance_scale"] = getattr(request, "image_guidance_scale", None)
    if "pag_scale" in accepted:
        kwargs["pag_scale"] = pag_scale(request, entry)
    if request.guidance_rescale and request.guide in (None, "cfg"):  # otherwise the guider rescales
        kwargs["guidance_rescale"] = request.guidance_rescale
    kwargs["generator"] = [torch.Generator("cpu").manual_seed(int(job.request.seed or 0)) for job in jobs]
    kwargs["output_type"] = "np" if jobs[0].crop_padding is None else "pil"
    kwargs |= _callback_arguments(pipe, accepted, nan_guard)
    return {**kwargs, **(text_arguments(jobs) if conditioning is None else conditioning.arguments)}


def _size_arguments(pipe: Any, accepted: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """Return arguments that make a pipeline generate exactly this size, and configure the pipeline where it has none.

    Without them, the pipeline changes the size to a size that its model was trained with.
    """
    if hasattr(pipe, "resolutions"):  # Kandinsky 5
        pipe.resolutions = [size]
    if type(pipe).__name__ == "HiDreamImagePipeline":
        # Slightly larger than the area: the pipeline rounds down.
        pipe.default_sample_size = math.prod(size) ** 0.5 * (1 + 1e-6) / pipe.vae_scale_factor
    return {"max_area": math.prod(size)} if "max_area" in accepted else {}  # Flux Kontext


def _callback_arguments(pipe: Any, accepted: Mapping[str, Any], nan_guard: NanGuard) -> dict[str, Any]:
    """Return the argument that reports the steps; older pipelines have `callback`, and some have none."""
    if "callback_on_step_end" in accepted:
        return {"callback_on_step_end": nan_guard, **_variable_names(pipe, nan_guard)}
    return {"callback": _legacy_callback(pipe, nan_guard)} if "callback" in accepted else {}


def _variable_names(pipe: Any, nan_guard: NanGuard) -> dict[str, Any]:
    """Return the argument that passes variables of the pipeline to the callback.

    The pipelines read all names from their local variables, but accept only the names in `_callback_tensor_inputs`.
    """
    if nan_guard.step_callback is None or not nan_guard.step_callback.variables:
        return {}
    names = ["latents", *nan_guard.step_callback.variables]
    pipe._callback_tensor_inputs = list(dict.fromkeys([*pipe._callback_tensor_inputs, *names]))
    return {"callback_on_step_end_tensor_inputs": names}


def _legacy_callback(pipe: Any, nan_guard: NanGuard) -> Callable[[int, Any, torch.Tensor], None]:
    def on_step(step: int, timestep: Any, latents: torch.Tensor) -> None:
        nan_guard(pipe, step, timestep, {"latents": latents})

    return on_step
