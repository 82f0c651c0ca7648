"""Perceptual terms of a loss: the distance between what a frozen network makes of two pictures, or of two latents.

All give one number for each pair, 0 for equal ones, of shape (batch,); gradients flow to the first of a pair.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from artgen.engine.metrics import normalize_features
from artgen.jobs.training_plan import VGG_CONV_INDICES


class PerceptualDistance(Protocol):
    """How different two stacks of pictures or latents are to a frozen network."""

    def __call__(self, prediction: Tensor, reference: Tensor) -> Tensor:
        """One number for each pair, (batch,)."""


class DecoderFeatureDistance(nn.Module):
    """The latent perceptual loss: what the model's own decoder makes of latents, up to its last level.

    Berrada et al., "Boosting latent diffusion with perceptual objectives", ICLR 2025, arXiv 2411.04873. The features of
    both are standardised for each channel by the mean and deviation of the reference's, and a level weighs the inverse
    of its enlargement. As in their work values far off (here over six deviations), which decoders are known for, do not
    count. Latents are as the denoiser sees them.
    """

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, prediction: Tensor, reference: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = list(self._features(reference))
        total = torch.zeros(len(prediction), device=prediction.device)
        weights = 0.0
        for mine, theirs in zip(self._features(prediction), wanted, strict=True):
            mine, theirs = mine.float(), theirs.float()
            mean = theirs.mean((2, 3), keepdim=True)
            deviation = theirs.std((2, 3), keepdim=True) + 1e-4
            usual = (theirs - mean).abs() < OUTLIER_STD_FACTOR * deviation
            weight = (wanted[0].shape[-1] / theirs.shape[-1]) if weights else 1.0
            total = total + weight * (((mine - theirs) / deviation).square() * usual).mean((1, 2, 3))
            weights += weight
        return total / weights

    def _features(self, latents: Tensor) -> Iterator[Tensor]:
        state = _unscale_latents(latents, self.vae)
        if self.vae.post_quant_conv is not None:
            state = self.vae.post_quant_conv(state)
        decoder = self.vae.decoder
        state = decoder.mid_block(decoder.conv_in(state))
        yield state
        for block in decoder.up_blocks[:-1]:
            state = block(state)
            yield state


OUTLIER_STD_FACTOR = 6.0


def _unscale_latents(latents: Tensor, vae: Any) -> Tensor:
    """Latents as the denoiser sees them -> as the decoder takes them."""
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    found: Tensor = latents / vae.config.scaling_factor + shift
    return found


class FeatureDistance(nn.Module):
    """What the first levels of a network make of pictures, (batch, 3, height, width) from -1 to 1.

    As LPIPS does it, without its fitted weights (Zhang et al., "The unreasonable effectiveness of deep features as a
    perceptual metric", CVPR 2018, arXiv 1801.03924): what counts is the mean squared difference of features that are
    normalised, here as `artgen.engine.metrics` does it. A child says what the levels are.
    """

    def features(self, images: Tensor) -> Iterator[Tensor]:
        """Features, finest first, each (batch, channels, height, width)."""
        raise NotImplementedError

    def forward(self, prediction: Tensor, reference: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = [normalize_features(level.float()) for level in self.features(reference)]
        distances = [
            (normalize_features(mine.float()) - theirs).square().sum(1).mean((1, 2))
            for mine, theirs in zip(self.features(prediction), wanted, strict=True)
        ]
        return torch.stack(distances).mean(0)


class Vgg16Distance(FeatureDistance):
    """VGG16's levels, each before its pooling, up to conv4_3.

    Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015. The levels
    and the idea to train by them: Johnson et al., "Perceptual losses for real-time style transfer", ECCV 2016.

    Args:
        path: torchvision's weights as safetensors; names may have anything before `features.`.
    """

    BLOCK_CHANNELS = ((3, 64, 64), (64, 128, 128), (128, 256, 256, 256), (256, 512, 512, 512))
    # ImageNet's means and deviations, which torchvision's weights expect.
    IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, path: Path) -> None:
        super().__init__()
        convolutions = [
            nn.Conv2d(before, after, 3, padding=1) for level in self.BLOCK_CHANNELS for before, after in pairwise(level)
        ]
        self.convolutions = nn.ModuleList(convolutions)
        tensors = {name.rpartition("features.")[2]: tensor for name, tensor in load_file(path).items()}
        with torch.no_grad():
            for number, convolution in zip(VGG_CONV_INDICES, convolutions, strict=True):
                convolution.weight.copy_(tensors[f"{number}.weight"])
                convolution.bias.copy_(tensors[f"{number}.bias"])  # type: ignore[union-attr]
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(self.IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(self.IMAGENET_STD).view(1, 3, 1, 1))

    def features(self, images: Tensor) -> Iterator[Tensor]:
        state = ((images + 1) / 2 - self.mean) / self.deviation
        at = 0
        for number, level in enumerate(self.BLOCK_CHANNELS):
            if number:
                state = nn.functional.max_pool2d(state, 2)
            for _ in level[1:]:
                state = self.convolutions[at](state).relu()
                at += 1
            yield state


class DecodedImageDistance(nn.Module):
    """A distance between pictures, for latents as the denoiser sees them: they are decoded first."""

    def __init__(self, vae: Any, image_distance: FeatureDistance) -> None:
        super().__init__()
        self.vae, self.image_distance = vae, image_distance

    def forward(self, prediction: Tensor, reference: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self._decode(reference)
        distance: Tensor = self.image_distance(self._decode(prediction), wanted)
        return distance

    def _decode(self, latents: Tensor) -> Tensor:
        decoded: Tensor = self.vae.decode(_unscale_latents(latents, self.vae)).sample
        return decoded


class DenoiserFeatureDistance(FeatureDistance):
    """The levels on the way down of the bundled denoiser of pixels, told to expect noise of sigma 15.

    That the features of a diffusion model make a perceptual loss: Lin and Yang, "Diffusion model with perceptual loss",
    arXiv 2401.00110. Trained for another task on other pictures than the autoencoder whose encoder
    `artgen.engine.metrics` measures with, so that what is minimised is not what is measured. Told to expect hardly any
    noise, it looks for grain, and reconstructions come no closer to the eye.

    Args:
        unet: diffusers' `UNet2DModel` of three channels.
    """

    TIMESTEP = 150

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def features(self, images: Tensor) -> Iterator[Tensor]:
        unet = self.unet
        times = torch.full((len(images),), self.TIMESTEP, device=images.device)
        time = unet.time_embedding(unet.time_proj(times).to(images.dtype))
        state = unet.conv_in(images)
        for block in unet.down_blocks:
            state, skipped = block(hidden_states=state, temb=time)
            yield skipped[0]
