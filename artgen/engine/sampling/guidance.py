"""Replace classifier-free guidance (CFG) by another method, and run perturbed-attention guidance (PAG), for one call.

The pipelines of diffusers compute `u + g * (c - u)` from the unconditional prediction u and the conditional prediction
c. A hook on the denoiser computes the prediction of another method with a guider of diffusers and returns it as u and
as c, so that the formula of the pipeline gives the same prediction. Most pipelines call the denoiser once with a batch
(u first); others call it twice (c first). `PipelineEntry.cfg_inputs` contains the kind.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from diffusers.guiders import AdaptiveProjectedGuidance, ClassifierFreeZeroStarGuidance
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer
from diffusers.hooks import ModelHook
from diffusers.pipelines.pag.pag_utils import PAGMixin
from torch import nn

from artgen.engine.loading.components import denoiser_of
from artgen.engine.sampling.denoiser_hooks import ModuleWithHook, attached_hooks
from artgen.jobs.job import GenerationJob
from artgen.jobs.pipeline_options import pag_scale

APG_ETA = 0.0
"""Weight of the part of the update that is parallel to the conditional prediction, which causes oversaturation."""
APG_MOMENTUM = -0.5
APG_NORM_THRESHOLD = 15.0
"""Largest L2 norm of the update of an image. The paper uses these three values for Stable Diffusion XL."""
ZERO_INIT_STEPS = 1


class Guider(Protocol):
    """Compute a guided prediction. The guiders of diffusers have this interface."""

    def forward(self, pred_cond: torch.Tensor, pred_uncond: torch.Tensor) -> Any:
        """Return an object with the guided prediction `pred`; all shapes (B, ...), dimension 0 is the image."""

    def set_state(self, step: int, num_inference_steps: int | None, timestep: Any) -> None:
        """Set the index of the step, from 0. Without a number of steps, all steps are guided."""


def build_guider(job: GenerationJob) -> Guider | None:
    """Return a new guider for a job, or None for classifier-free guidance.

    - apg: adaptive projected guidance, Sadat, Hilliges and Weber 2024, arXiv 2410.02416, algorithm 1.
    - zero-star: CFG-Zero*, Fan et al. 2025, arXiv 2503.18886: optimized scale of the unconditional prediction, and zero
      velocity in the first step if the image starts from noise alone.

    `guidance_rescale` is Lin et al. 2023, arXiv 2305.08891, section 3.4.
    """
    request = job.request
    scale, rescale = float(request.guidance_scale or 0.0), request.guidance_rescale or 0.0
    if request.guide == "apg":
        # `use_original_formulation` adds the update to the conditional prediction, with the factor g - 1 of the paper.
        guider = AdaptiveProjectedGuidance(
            guidance_scale=scale - 1.0,
            adaptive_projected_guidance_momentum=APG_MOMENTUM,
            adaptive_projected_guidance_rescale=APG_NORM_THRESHOLD,
            eta=APG_ETA,
            guidance_rescale=rescale,
            use_original_formulation=True,
        )
        # diffusers creates the buffer in a modular pipeline only.
        guider.momentum_buffer = MomentumBuffer(APG_MOMENTUM)
        return guider  # type: ignore[no-any-return]  # diffusers has no types
    if request.guide == "zero-star":
        starts_from_noise = (job.strength or 1.0) == 1.0
        return ClassifierFreeZeroStarGuidance(  # type: ignore[no-any-return]
            guidance_scale=scale,
            zero_init_steps=ZERO_INIT_STEPS if starts_from_noise else 0,
            guidance_rescale=rescale,
        )
    return None


class GuidanceHook(ModelHook):  # type: ignore[misc]  # diffusers has no types
    """Replace the predictions of a denoiser that a pipeline calls with both inputs as one batch."""

    def __init__(self, guider: Guider, *, has_pag: bool = False) -> None:
        """Create a hook for one pipeline call.

        Args:
            guider: new guider; it stores the state of the call.
            has_pag: whether the batch contains a third part, the prediction with perturbed attention.
        """
        super().__init__()
        self._guider = guider
        self._num_parts = 3 if has_pag else 2
        self._num_calls = 0

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        """Return the output with the guided prediction in place of the unconditional and conditional one."""
        sample = output[0]
        uncond, cond, *perturbed = sample.chunk(self._num_parts)
        guided = self._guide(cond, uncond, _num_predicted_channels(module, sample))
        parts = [guided, guided]
        if perturbed:  # The pipeline adds the scale times (conditional - perturbed).
            parts.append(guided - (cond - perturbed[0]))
        return _with_sample(output, torch.cat(parts))

    def _guide(self, cond: torch.Tensor, uncond: torch.Tensor, channels: int) -> torch.Tensor:
        """Return the guided prediction; channels after the first `channels` contain the variance of `cond`."""
        self._guider.set_state(self._num_calls, None, None)
        self._num_calls += 1
        if cond.shape[1] == channels:
            return self._guider.forward(cond, uncond).pred  # type: ignore[no-any-return]
        guided = self._guider.forward(cond[:, :channels], uncond[:, :channels]).pred
        return torch.cat([guided, cond[:, channels:]], dim=1)


class SeparateGuidanceHook(GuidanceHook):
    """Replace the predictions of a denoiser that a pipeline calls twice per step, first with the conditional input.

    The conditional prediction is overwritten in place in the second call, because the pipeline already has its tensor.
    """

    def __init__(self, guider: Guider) -> None:
        super().__init__(guider)
        self._cond: torch.Tensor | None = None

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        """Store the conditional prediction, or overwrite both predictions."""
        sample = output[0]
        if self._cond is None:
            self._cond = sample
            return output
        guided = self._guide(self._cond, sample, _num_predicted_channels(module, sample))
        self._cond.copy_(guided)
        self._cond = None
        return _with_sample(output, guided)


@contextlib.contextmanager
def with_guidance(pipe: Any, job: GenerationJob) -> Iterator[None]:
    """Use the guidance method of a job in the block, and restore the pipeline after it.

    PAG (Ahn et al. 2024, arXiv 2403.17377) replaces attention processors. diffusers does not restore them after an
    exception.
    """
    denoiser, guider, entry = denoiser_of(pipe), build_guider(job), job.model.pipeline_entry
    has_pag = isinstance(pipe, PAGMixin) and pag_scale(job.request, entry) > 0
    hooks: list[ModuleWithHook] = []
    if guider is not None:
        is_separate = entry.cfg_inputs == "calls"
        hook = SeparateGuidanceHook(guider) if is_separate else GuidanceHook(guider, has_pag=has_pag)
        hooks.append((denoiser, hook))
    processors = dict(denoiser.attn_processors) if has_pag else {}
    try:
        with attached_hooks(hooks):
            yield
    finally:
        if processors and processors != denoiser.attn_processors:
            denoiser.set_attn_processor(processors)


def _num_predicted_channels(module: nn.Module, sample: torch.Tensor) -> int:
    """Return the number of channels before the channels of a predicted variance."""
    in_channels = int(module.config.get("in_channels") or 0)  # type: ignore[union-attr,operator]
    return in_channels if sample.ndim == 4 and sample.shape[1] == 2 * in_channels else sample.shape[1]


def _with_sample(output: Any, sample: torch.Tensor) -> Any:
    """Return a copy of a denoiser's output with another sample: a tuple, or an output object of diffusers."""
    return (sample, *output[1:]) if isinstance(output, tuple) else type(output)(sample=sample)
