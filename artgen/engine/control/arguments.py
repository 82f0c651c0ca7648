"""Build the arguments of a pipeline call that contain the control maps."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from artgen import images
from artgen.engine.control.nets import active_controls
from artgen.errors import UsageError
from artgen.jobs.control import ControlInput
from artgen.jobs.job import GenerationJob

MASKED_VALUE = -1.0
"""Value of a masked pixel of a control map for an inpaint net, as in `make_inpaint_condition` of diffusers'
documentation of `StableDiffusionControlNetInpaintPipeline`."""


def control_arguments(pipe: Any, jobs: Sequence[GenerationJob]) -> dict[str, Any]:
    """Return the keyword arguments of a pipeline call that set the control maps; empty without active control images.

    Args:
        pipe: pipeline with control nets.
        jobs: jobs of the batch, with the same nets, scales and ranges of steps.

    Raises:
        UsageError: the pipeline does not take an argument.
    """
    controls = active_controls(jobs[0].controls)
    if not controls:
        return {}
    accepted = inspect.signature(pipe.__call__).parameters
    name = "control_image" if "control_image" in accepted else "image"
    maps = [_map_argument(jobs, i) for i in range(len(controls))]
    is_adapter = controls[0].net.is_adapter
    scale_name = "adapter_conditioning_scale" if is_adapter else "controlnet_conditioning_scale"
    arguments: dict[str, Any] = {
        name: _single_or_list(maps),
        scale_name: _single_or_list([float(each.spec.scale) for each in controls]),
    }
    if not is_adapter:
        arguments["control_guidance_start"] = _single_or_list([each.spec.start for each in controls])
        arguments["control_guidance_end"] = _single_or_list([each.spec.end for each in controls])
    if "control_mask" in accepted:
        arguments["control_mask"] = [job.padded_mask for job in jobs]
    if "control_mode" in accepted:
        arguments |= _mode_argument(jobs, controls)
    if jobs[0].request.control_guess:
        _check_guess_mode(controls, accepted)
        arguments["guess_mode"] = True
    return arguments


def _single_or_list(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _mode_argument(jobs: Sequence[GenerationJob], controls: Sequence[ControlInput]) -> dict[str, Any]:
    modes: list[Any] = [each.mode for each in controls]
    if controls[0].net.class_name == "FluxControlNetModel" and jobs[0].request.task != "txt2img":
        # These pipelines of diffusers 0.42 need a mode for each of several nets, and a mode per image of a batch.
        if len(modes) > 1:
            return {"control_mode": [-1 if mode is None else mode for mode in modes]}
        return {} if modes == [None] else {"control_mode": modes * len(jobs)}
    if controls[0].net.class_name == "ControlNetUnionModel" and None in modes:
        net = next(each.net for each in controls if each.mode is None)
        raise UsageError(
            f"The union net '{net.name}' needs the kind of the control map.",
            "Use --control KIND=IMAGE with one of its kinds.",
        )
    return {} if modes == [None] * len(modes) else {"control_mode": _single_or_list(modes)}


def _check_guess_mode(controls: Sequence[ControlInput], accepted: Any) -> None:
    # The union pipelines of diffusers 0.42 repeat the control type for the unconditional input, which guess mode omits.
    if "guess_mode" not in accepted or controls[0].net.class_name == "ControlNetUnionModel":
        raise UsageError(
            "Cannot use --control-guess with these control nets: diffusers does not support it.",
            "Remove --control-guess.",
        )


def _map_argument(jobs: Sequence[GenerationJob], index: int) -> Any:
    """Return the control maps of a batch for one net in the form that the pipeline takes."""
    job, control = jobs[0], active_controls(jobs[0].controls)[index]
    if control.net.reads_mask:  # The pipeline masks the images.
        return [each.padded_image for each in jobs]
    if job.crop_padding is None:
        return _map_batch(jobs, index)
    # The pipeline crops the map in the same way as the image.
    return control.map or control.image


def _map_batch(jobs: Sequence[GenerationJob], index: int) -> torch.Tensor:
    """Return the control maps of a batch for one net, shape (B, C, H, W), 0 to 1; -1 to 1 for Flux and inpaint nets.

    The size is a multiple of the size that the model supports, so that the pipeline does not resize the maps.
    """
    batch = torch.stack([_map(job, active_controls(job.controls)[index]) for job in jobs])
    # The pipelines of Flux normalize images, but not tensors.
    is_flux = jobs[0].controls[0].net.class_name == "FluxControlNetModel"
    return 2.0 * batch - 1.0 if is_flux else batch


def _map(job: GenerationJob, control: ControlInput) -> torch.Tensor:
    if control.net.is_inpaint:
        return _inpaint_condition(job)
    image = images.pad_to_multiple(control.map or control.image, job.model.size_multiple)[0]
    # Some T2I-Adapters read gray maps. `in_channels` of a ControlNet is the number of channels of the latents.
    is_gray = control.net.is_adapter and control.net.config.get("in_channels") == 1
    return _pixels(image.convert("L" if is_gray else "RGB"))


def _pixels(image: Image.Image) -> torch.Tensor:
    """Return the pixels of an image, shape (C, H, W), 0 to 1."""
    values = np.asarray(image).astype(np.float32) / 255.0
    return torch.from_numpy(values[None] if values.ndim == 2 else values.transpose(2, 0, 1).copy())


def _inpaint_condition(job: GenerationJob) -> torch.Tensor:
    """Return the input image with masked pixels set to -1, shape (3, H, W)."""
    image, mask = job.padded_image, job.padded_mask
    if image is None or mask is None:
        raise UsageError("A control net for inpainting needs a mask.", "Use it with inpaint or outpaint.")
    pixels = _pixels(image.convert("RGB"))
    pixels[:, np.asarray(mask.convert("L")) / 255.0 > 0.5] = MASKED_VALUE
    return pixels
