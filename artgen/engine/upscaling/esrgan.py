"""Define the networks of the ESRGAN family, and load their weights.

RRDBNet: Wang et al., "ESRGAN: Enhanced super-resolution generative adversarial networks", ECCVW 2018, arXiv 1809.00219,
sections 3.1 and 4.1. Pixel unshuffling for the scales 1 and 2, and SRVGGNetCompact: Wang et al., "Real-ESRGAN: Training
real-world blind super-resolution with pure synthetic data", ICCVW 2021, arXiv 2107.10833.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from artgen.engine.loading import weights
from artgen.registry.upscalers import Upscaler
from artgen.registry.upscalers.layers import NUM_DENSE_BLOCKS, NUM_DENSE_CONVS, RGB, read_layers
from artgen.registry.upscalers.upscaler import COMPACT

RESIDUAL_SCALE = 0.2
LEAKY_SLOPE = 0.2


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _leaky(features: torch.Tensor) -> torch.Tensor:
    return functional.leaky_relu_(features, LEAKY_SLOPE)


class DenseBlock(nn.Module):
    """Implement the residual dense block: each convolution reads the input and the outputs of earlier convolutions."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for index in range(NUM_DENSE_CONVS):
            outputs = features if index == NUM_DENSE_CONVS - 1 else growth
            setattr(self, f"conv{index + 1}", _conv(features + index * growth, outputs))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape."""
        known = [features]
        for index in range(1, NUM_DENSE_CONVS):
            known.append(_leaky(getattr(self, f"conv{index}")(torch.cat(known, 1))))
        residual: torch.Tensor = getattr(self, f"conv{NUM_DENSE_CONVS}")(torch.cat(known, 1))
        return residual * RESIDUAL_SCALE + features


class RRDB(nn.Module):
    """Implement the residual in residual dense block (RRDB): three dense blocks with a residual connection."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for index in range(1, NUM_DENSE_BLOCKS + 1):
            setattr(self, f"rdb{index}", DenseBlock(features, growth))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape."""
        residual = features
        for index in range(1, NUM_DENSE_BLOCKS + 1):
            residual = getattr(self, f"rdb{index}")(residual)
        return residual * RESIDUAL_SCALE + features


class RRDBNet(nn.Module):
    """Implement the generator of ESRGAN. Its modules have the names of Real-ESRGAN.

    Args:
        features: channels between the blocks.
        blocks: number of RRDBs.
        growth: output channels of the inner convolutions of a dense block.
        upconvs: number of doublings of the size after the blocks.
        unshuffle: factor by which pixels are moved to channels before the first convolution.
    """

    def __init__(self, features: int, blocks: int, growth: int, upconvs: int, unshuffle: int) -> None:
        super().__init__()
        self.unshuffle = unshuffle
        self.conv_first = _conv(RGB * unshuffle**2, features)
        self.body = nn.Sequential(*(RRDB(features, growth) for _ in range(blocks)))
        self.conv_body = _conv(features, features)
        self.upconv_names = [f"conv_up{index + 1}" for index in range(upconvs)]
        for name in self.upconv_names:
            setattr(self, name, _conv(features, features))
        self.conv_hr = _conv(features, features)
        self.conv_last = _conv(features, RGB)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return an enlarged image.

        Args:
            pixels: shape (B, 3, H, W), 0 to 1; the sides are multiples of `unshuffle`.
        """
        features = self.conv_first(functional.pixel_unshuffle(pixels, self.unshuffle))
        features = features + self.conv_body(self.body(features))
        for name in self.upconv_names:
            features = _leaky(getattr(self, name)(functional.interpolate(features, scale_factor=2, mode="nearest")))
        enlarged: torch.Tensor = self.conv_last(_leaky(self.conv_hr(features)))
        return enlarged


class SRVGGNetCompact(nn.Module):
    """Implement the compact network of Real-ESRGAN: convolutions with PReLU, added to the image with enlarged pixels.

    Args:
        features: channels between the convolutions.
        convs: number of convolutions.
        scale: factor of both sides.
    """

    def __init__(self, features: int, convs: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = []
        for index in range(convs - 1):
            layers += [_conv(features if index else RGB, features), nn.PReLU(features)]
        self.body = nn.Sequential(*layers, _conv(features, RGB * scale**2))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return an enlarged image.

        Args:
            pixels: shape (B, 3, H, W), 0 to 1.
        """
        residual = functional.pixel_shuffle(self.body(pixels), self.scale)
        return residual + functional.interpolate(pixels, scale_factor=self.scale, mode="nearest")


def load_esrgan(upscaler: Upscaler, dtype: torch.dtype) -> nn.Module:
    """Return the network of a `.safetensors` file, in evaluation mode, on the CPU.

    Raises:
        InputFileError: the file changed, and artgen does not support the network that its tensors describe.
    """
    layers = read_layers(upscaler.path)
    tensors = weights.load_converted((upscaler.path,), dtype)
    with torch.device("meta"):
        cls = SRVGGNetCompact if layers.class_name == COMPACT else RRDBNet
        module = cls(**layers.config)
    module.load_state_dict({name: tensors[original] for name, original in layers.names.items()}, assign=True)
    return module.eval().requires_grad_(False)


def receptive_radius(upscaler: Upscaler) -> int:
    """Return how many pixels of the input around a pixel affect its enlarged pixels."""
    config = upscaler.config
    if upscaler.class_name == COMPACT:
        return int(config["convs"])
    trunk = 2 + config["blocks"] * NUM_DENSE_BLOCKS * NUM_DENSE_CONVS
    head = sum(0.5**index for index in range(1, config["upconvs"] + 1)) + 2 * 0.5 ** config["upconvs"]
    radius: float = (trunk + head) * config["unshuffle"]
    return math.ceil(radius)
