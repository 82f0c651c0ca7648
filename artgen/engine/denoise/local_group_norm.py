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

CELLS_PER_WINDOW = 8
"""Cells along the side of a window."""


@dataclass
class NormContext:
    """What all layers of one network share.

    Attributes:
        window_px: side of the training patches, in pixels of the picture.
        image_height_px: of the picture that is being looked at, in pixels; set before each call of the network.
    """

    window_px: int
    image_height_px: int = 0


class LocalGroupNorm(torch.nn.Module):
    """A `torch.nn.GroupNorm` with local statistics, over its parameters."""

    def __init__(self, group_norm: torch.nn.GroupNorm, context: NormContext) -> None:
        super().__init__()
        self.weight, self.bias = group_norm.weight, group_norm.bias
        self.num_groups, self.eps = group_norm.num_groups, group_norm.eps
        self.context = context

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalises (pictures, channels, height, width); the sides are multiples of a cell, one window at least.

        In float32, as torch's own layer reckons on a GPU: squares overflow fp16, and their mean less that of the
        values squared would be lost in the rounding of either short type.
        """
        dtype, x = x.dtype, x.float()
        window = max(1, self.context.window_px * x.shape[-2] // self.context.image_height_px)
        cell = max(1, window // CELLS_PER_WINDOW)
        mean, square = (self._window_means(part, cell, window // cell) for part in (x, x * x))
        scale = (square - mean * mean).clamp_(min=0).add_(self.eps).rsqrt_()
        size = x.shape
        groups = x.reshape(size[0], self.num_groups, -1, size[2], size[3])
        normal = (groups - mean.unsqueeze(2)).mul_(scale.unsqueeze(2)).reshape(size)
        return torch.addcmul(self.bias.view(1, -1, 1, 1), normal.to(dtype), self.weight.view(1, -1, 1, 1))

    def _window_means(self, x: torch.Tensor, cell_size: int, cells_per_window: int) -> torch.Tensor:
        """Means over the groups' channels and the window around each place: (pictures, groups, height, width)."""
        pictures, _, height, width = x.shape
        means = functional.avg_pool2d(x, cell_size) if cell_size > 1 else x
        means = means.reshape(pictures, self.num_groups, -1, *means.shape[2:]).mean(2)
        means = functional.avg_pool2d(means, cells_per_window, stride=1)
        # Windows are centred on corners of cells; between them lies a straight line, beyond the outermost nothing.
        inner = [(n - 1) * cell_size + 1 for n in means.shape[2:]]
        means = functional.interpolate(means, size=inner, mode="bilinear", align_corners=True)
        top, left = (cells_per_window * cell_size) // 2, (cells_per_window * cell_size) // 2
        edges = (left, width - inner[1] - left, top, height - inner[0] - top)
        return functional.pad(means, edges, mode="replicate")


def use_local_group_norm(network: torch.nn.Module, window_px: int) -> NormContext:
    """Replaces every group normalisation of a network in place; the frame has to be told each picture's height."""
    frame = NormContext(window_px)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.GroupNorm):
                setattr(module, name, LocalGroupNorm(child, frame))
    return frame
