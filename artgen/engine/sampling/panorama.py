"""Denoise a wide image in overlapping windows: MultiDiffusion (Bar-Tal et al. 2023, arXiv 2302.08113).

At each step, the UNet predicts the noise of each window, and the predictions are averaged where windows overlap. The
paper averages the denoised windows. For the linear steps of DDIM both are equal, and a scheduler that adds noise or
stores former predictions needs one prediction for the whole image. `StableDiffusionPanoramaPipeline` of diffusers has
windows of 64 latents, DDIM only, and neither SDXL nor the other settings of artgen; therefore it is not used.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from diffusers.hooks import ModelHook
from torch import nn

from artgen.engine.loading.components import denoiser_of
from artgen.engine.sampling.denoiser_hooks import ModuleWithHook, attached_hooks
from artgen.engine.sampling.seamless import axes_of
from artgen.jobs.job import GenerationJob

WINDOW_OVERLAP = 0.5
"""Overlap of neighboring windows as a fraction of their width."""


class WindowHook(ModelHook):  # type: ignore[misc]  # diffusers has no types
    """Call the UNet with each window of the latents, and blend the predictions."""

    def __init__(self, window: int, *, wraps: bool, window_px: tuple[int, int]) -> None:
        """Create a hook for one pipeline call.

        Args:
            window: width of a window in latents.
            wraps: whether the right edge continues at the left edge.
            window_px: width and height of a window in pixels, for the size conditioning of SDXL.
        """
        super().__init__()
        self._window = window
        self._wraps = wraps
        self._window_px = window_px

    def new_forward(self, module: nn.Module, sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Return the blended prediction, shape (B, C, h, w)."""
        kwargs = self._with_window_size(kwargs)
        width = sample.shape[-1]
        total = torch.zeros_like(sample, dtype=torch.float32)
        weights = torch.zeros(width, device=sample.device)
        profile = window_weights(self._window).to(sample.device)
        for start in window_starts(width, self._window, wraps=self._wraps):
            columns = torch.arange(start, start + self._window, device=sample.device) % width
            output = self.fn_ref.original_forward(sample[..., columns].contiguous(), *args, **kwargs)
            total.index_add_(-1, columns, output[0].float() * profile)
            weights.index_add_(0, columns, profile)
        blended = (total / weights).to(sample.dtype)
        return (blended, *output[1:]) if isinstance(output, tuple) else type(output)(sample=blended)

    def _with_window_size(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Replace the original and the target size in the conditioning of SDXL by the size of a window."""
        conditions = kwargs.get("added_cond_kwargs") or {}
        time_ids = conditions.get("time_ids")
        if time_ids is None or time_ids.shape[-1] != 6:
            return kwargs
        width, height = self._window_px
        sizes = torch.tensor([height, width, 0, 0, height, width]).to(time_ids).expand_as(time_ids)
        return {**kwargs, "added_cond_kwargs": {**conditions, "time_ids": sizes}}


def window_starts(width: int, window: int, *, wraps: bool = False) -> list[int]:
    """Return the first columns of windows that cover a width with at least `WINDOW_OVERLAP`, evenly spaced.

    Args:
        width: width of the latents.
        window: width of a window, at most `width`.
        wraps: whether windows cross the right edge and continue at the left edge.
    """
    stride = max(1, round(window * (1 - WINDOW_OVERLAP)))
    if wraps:
        count = -(-width // stride)
        return [round(i * width / count) for i in range(count)]
    count = -(-(width - window) // stride) + 1
    return [round(i * (width - window) / max(1, count - 1)) for i in range(count)]


def window_weights(window: int) -> torch.Tensor:
    """Return the weights of the columns of a window, shape (window,): sin^2, which is never 0."""
    positions = (torch.arange(window) + 0.5) / window
    return torch.sin(torch.pi * positions) ** 2


@contextlib.contextmanager
def with_windows(pipe: Any, job: GenerationJob) -> Iterator[None]:
    """Denoise in windows within the block if the job is a panorama."""
    hooks: list[ModuleWithHook] = []
    if getattr(job.request, "panorama", False):
        native = job.model.native_size[0]
        wraps = "x" in axes_of(getattr(job.request, "seamless", None))
        hook = WindowHook(native // int(pipe.vae_scale_factor), wraps=wraps, window_px=(native, job.height))
        hooks.append((denoiser_of(pipe), hook))
    with attached_hooks(hooks):
        yield
