"""Group normalisation over a window as large as the training patches instead of the whole picture.

A network trained on patches of 64 pixels meets other statistics in a whole picture, and tiles of one picture meet
different ones, which shows as seams. Taking mean and variance around each place, over a window of the training
patch's size, heals both (test-time local converter: Chu et al., Improving Image Restoration by Revisiting Global
Information Aggregation, ECCV 2022).

The statistics are gathered on a grid of cells that belongs to the picture, averaged over windows of cells that stay
inside the picture, and interpolated between. A picture as large as one window gets what the plain layer gives.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as functional

CELLS = 8
"""Cells along the side of a window."""


@dataclass
class Frame:
    """What all layers of one network share.

    Attributes:
        window: side of the training patches, in pixels of the picture.
        height: of the picture that is being looked at, in pixels; set before each call of the network.
    """

    window: int
    height: int = 0


class LocalGroupNorm(torch.nn.Module):
    """A `torch.nn.GroupNorm` with local statistics, over its parameters."""

    def __init__(self, plain: torch.nn.GroupNorm, frame: Frame) -> None:
        super().__init__()
        self.weight, self.bias = plain.weight, plain.bias
        self.num_groups, self.eps = plain.num_groups, plain.eps
        self.frame = frame

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalises (pictures, channels, height, width); the sides are multiples of a cell, one window at least.

        In float32, as torch's own layer reckons on a GPU: squares overflow fp16, and their mean less that of the
        values squared would be lost in the rounding of either short type.
        """
        dtype, x = x.dtype, x.float()
        window = max(1, self.frame.window * x.shape[-2] // self.frame.height)
        cell = max(1, window // CELLS)
        mean, square = (self._windows(part, cell, window // cell) for part in (x, x * x))
        scale = (square - mean * mean).clamp_(min=0).add_(self.eps).rsqrt_()
        size = x.shape
        groups = x.reshape(size[0], self.num_groups, -1, size[2], size[3])
        normal = (groups - mean.unsqueeze(2)).mul_(scale.unsqueeze(2)).reshape(size)
        return torch.addcmul(self.bias.view(1, -1, 1, 1), normal.to(dtype), self.weight.view(1, -1, 1, 1))

    def _windows(self, x: torch.Tensor, cell: int, cells: int) -> torch.Tensor:
        """Means over the groups' channels and the window around each place: (pictures, groups, height, width)."""
        pictures, _, height, width = x.shape
        means = functional.avg_pool2d(x, cell) if cell > 1 else x
        means = means.reshape(pictures, self.num_groups, -1, *means.shape[2:]).mean(2)
        means = functional.avg_pool2d(means, cells, stride=1)
        # Windows are centred on corners of cells; between them lies a straight line, beyond the outermost nothing.
        inner = [(n - 1) * cell + 1 for n in means.shape[2:]]
        means = functional.interpolate(means, size=inner, mode="bilinear", align_corners=True)
        top, left = (cells * cell) // 2, (cells * cell) // 2
        edges = (left, width - inner[1] - left, top, height - inner[0] - top)
        return functional.pad(means, edges, mode="replicate")


def localise(network: torch.nn.Module, window: int) -> Frame:
    """Replaces every group normalisation of a network in place; the frame has to be told each picture's height."""
    frame = Frame(window)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.GroupNorm):
                setattr(module, name, LocalGroupNorm(child, frame))
    return frame
