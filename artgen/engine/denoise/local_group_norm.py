"""Normalize groups of channels over a local window instead of the complete image.

The statistics of a large image differ from the statistics of the small training patches, and each tile has its own
statistics, which causes visible seams. Local statistics over a window of the size of the training patches avoid both
(test-time local converter: Chu et al., "Improving image restoration by revisiting global information aggregation",
ECCV 2022).

The statistics are computed on a grid of cells, averaged over windows of cells inside the image, and interpolated. For
an image as large as one window, the result equals `torch.nn.GroupNorm`.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as functional

CELLS_PER_WINDOW = 8
"""Cells along the side of a window."""


@dataclass
class NormContext:
    """Store the sizes that all layers of a network share.

    Attributes:
        window_px: side of the training patches in pixels.
        image_height_px: height of the network's input in pixels; set before each call of the network.
    """

    window_px: int
    image_height_px: int = 0


class LocalGroupNorm(torch.nn.Module):
    """Replace a `torch.nn.GroupNorm`: use its parameters with local statistics."""

    def __init__(self, group_norm: torch.nn.GroupNorm, context: NormContext) -> None:
        super().__init__()
        self.weight, self.bias = group_norm.weight, group_norm.bias
        self.num_groups, self.eps = group_norm.num_groups, group_norm.eps
        self.context = context

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalized features, shape (B, C, H, W).

        H and W are at least one window and multiples of a cell. The statistics are computed in float32, as in torch's
        GPU kernel: squares overflow fp16, and the difference mean(x^2) - mean(x)^2 needs more digits than fp16 or bf16
        have.
        """
        dtype, x = x.dtype, x.float()
        window = max(1, self.context.window_px * x.shape[-2] // self.context.image_height_px)
        cell = max(1, window // CELLS_PER_WINDOW)
        mean, square = (self._window_means(part, cell, window // cell) for part in (x, x * x))
        scale = (square - mean * mean).clamp_(min=0).add_(self.eps).rsqrt_()
        size = x.shape
        groups = x.reshape(size[0], self.num_groups, -1, size[2], size[3])
        normalized = (groups - mean.unsqueeze(2)).mul_(scale.unsqueeze(2)).reshape(size)
        return torch.addcmul(self.bias.view(1, -1, 1, 1), normalized.to(dtype), self.weight.view(1, -1, 1, 1))

    def _window_means(self, x: torch.Tensor, cell_size: int, cells_per_window: int) -> torch.Tensor:
        """Return the means over each group's channels and the window at each position, shape (B, groups, H, W)."""
        batch_size, _, height, width = x.shape
        means = functional.avg_pool2d(x, cell_size) if cell_size > 1 else x
        means = means.reshape(batch_size, self.num_groups, -1, *means.shape[2:]).mean(2)
        means = functional.avg_pool2d(means, cells_per_window, stride=1)
        # Windows are centered on cell corners: interpolate between the centers, replicate outside.
        inner = [(n - 1) * cell_size + 1 for n in means.shape[2:]]
        means = functional.interpolate(means, size=inner, mode="bilinear", align_corners=True)
        top, left = (cells_per_window * cell_size) // 2, (cells_per_window * cell_size) // 2
        edges = (left, width - inner[1] - left, top, height - inner[0] - top)
        return functional.pad(means, edges, mode="replicate")


def use_local_group_norm(network: torch.nn.Module, window_px: int) -> NormContext:
    """Replace each `GroupNorm` of a network in place.

    Returns:
        The context of the layers. Set its `image_height_px` before each call of the network.
    """
    context = NormContext(window_px)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.GroupNorm):
                setattr(module, name, LocalGroupNorm(child, context))
    return context
