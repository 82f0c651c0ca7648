"""Generate images that repeat without a seam: circular padding in the UNet and the VAE during one pipeline call.

A convolution is the only operation of these networks that depends on the position of a pixel. With circular padding,
the network has no border, so that the left edge continues the right edge. Downsampling layers of the VAE encoder pad
with zeros outside of the convolution, which remains unchanged.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from artgen.engine.loading.components import denoiser_of
from artgen.jobs.job import GenerationJob


@contextlib.contextmanager
def with_seamless_padding(pipe: Any, job: GenerationJob) -> Iterator[None]:
    """Pad the convolutions of a pipeline circularly within the block, and restore them after it.

    The method `_conv_forward` of each padded `nn.Conv2d` is replaced. A LoRA wraps convolutions: its base layers and
    its own convolutions are modules of the UNet too. Windows of a panorama wrap around, therefore the UNet does not pad
    them circularly in x.
    """
    axes = axes_of(getattr(job.request, "seamless", None))
    in_windows = axes - {"x"} if getattr(job.request, "panorama", False) else axes
    patched: list[nn.Conv2d] = []
    try:
        for module, module_axes in ((denoiser_of(pipe), in_windows), (pipe.vae, axes)) if axes else ():
            for conv in _padded_convolutions(module) if module_axes else ():
                conv.__dict__["_conv_forward"] = _circular_forward(conv, module_axes)
                patched.append(conv)
        yield
    finally:
        for conv in patched:
            conv.__dict__.pop("_conv_forward", None)


def axes_of(seamless: str | None) -> frozenset[str]:
    """Return the axes of a value of `--seamless`: x, y or both."""
    return frozenset("xy" if seamless == "both" else seamless or "")


def wrap_pixels(pixels: torch.Tensor, margin: int, seamless: str | None) -> torch.Tensor:
    """Return pixels or latents, shape (..., H, W), with a circular margin on the seamless axes."""
    axes = axes_of(seamless)
    for axis, name in ((-1, "x"), (-2, "y")):
        if name in axes:
            size = pixels.shape[axis]
            before, after = pixels.narrow(axis, size - margin, margin), pixels.narrow(axis, 0, margin)
            pixels = torch.cat([before, pixels, after], dim=axis)
    return pixels


def _padded_convolutions(module: nn.Module) -> Iterator[nn.Conv2d]:
    for each in module.modules():
        if isinstance(each, nn.Conv2d) and each.padding_mode == "zeros" and any(each._reversed_padding_repeated_twice):
            yield each


def _circular_forward(conv: nn.Conv2d, axes: frozenset[str]) -> Callable[..., torch.Tensor]:
    """Return a replacement of `conv._conv_forward` that pads circularly in some axes and with zeros in the others."""
    left, right, top, bottom = conv._reversed_padding_repeated_twice

    def forward(pixels: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        for padding, axis in (((left, right, 0, 0), "x"), ((0, 0, top, bottom), "y")):
            mode = "circular" if axis in axes else "constant"
            pixels = functional.pad(pixels, padding, mode=mode)
        return functional.conv2d(pixels, weight, bias, conv.stride, 0, conv.dilation, conv.groups)

    return forward
