"""Define perceptual distances: differences between the features of a frozen network for two images or latents.

Each distance returns shape (B,), 0 for equal inputs. Gradients flow to the first argument.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from artgen.engine.metrics import normalize_features
from artgen.engine.sampling.vae import unscale_latents
from artgen.jobs.training_conflicts import VGG_CONV_INDICES


class PerceptualDistance(Protocol):
    """Represent a distance between two batches of images or latents."""

    def __call__(self, prediction: Tensor, reference: Tensor) -> Tensor:
        """Return the distance of each pair, shape (B,)."""


OUTLIER_STD_FACTOR = 6.0
"""Decoder features farther than this number of standard deviations from the mean are ignored."""


class DecoderFeatureDistance(nn.Module):
    """Compute the latent perceptual loss from the features of the model's own decoder, without its last level.

    Berrada et al., "Boosting latent diffusion with perceptual objectives", ICLR 2025, arXiv 2411.04873. Each channel is
    standardized by the mean and the standard deviation of the reference's features. The weight of a level is the
    inverse of its enlargement. As in the paper, outliers are ignored, because decoders have a few extreme features.

    Args:
        vae: diffusers' `AutoencoderKL`. The inputs are latents scaled for the denoiser.
    """

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, prediction: Tensor, reference: Tensor) -> Tensor:
        with torch.no_grad():
            targets = list(self.features(reference))
        total = torch.zeros(len(prediction), device=prediction.device)
        weights = 0.0
        for features, target in zip(self.features(prediction), targets, strict=True):
            features, target = features.float(), target.float()
            mean = target.mean((2, 3), keepdim=True)
            std = target.std((2, 3), keepdim=True) + 1e-4
            inliers = (target - mean).abs() < OUTLIER_STD_FACTOR * std
            weight = (targets[0].shape[-1] / target.shape[-1]) if weights else 1.0
            total = total + weight * (((features - target) / std).square() * inliers).mean((1, 2, 3))
            weights += weight
        return total / weights

    def features(self, latents: Tensor) -> Iterator[Tensor]:
        """Yield the decoder features of each level except the last, the coarsest first, each of shape (B, C, H, W)."""
        state = unscale_latents(latents, self.vae.config)
        if self.vae.post_quant_conv is not None:
            state = self.vae.post_quant_conv(state)
        decoder = self.vae.decoder
        state = decoder.mid_block(decoder.conv_in(state))
        yield state
        for block in decoder.up_blocks[:-1]:
            state = block(state)
            yield state


class FeatureDistance(nn.Module):
    """Compare images, shape (B, 3, H, W), from -1 to 1, by the features of the first levels of a network.

    The distance is LPIPS without its fitted weights (Zhang et al., "The unreasonable effectiveness of deep features as
    a perceptual metric", CVPR 2018, arXiv 1801.03924): the mean squared difference of features that are normalized
    with `artgen.engine.metrics.normalize_features`. Subclasses define the features.
    """

    def features(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the features of each level, the finest level first, each of shape (B, C, H, W)."""
        raise NotImplementedError

    def forward(self, prediction: Tensor, reference: Tensor) -> Tensor:
        with torch.no_grad():
            targets = [normalize_features(level.float()) for level in self.features(reference)]
        distances = [
            (normalize_features(level.float()) - target).square().sum(1).mean((1, 2))
            for level, target in zip(self.features(prediction), targets, strict=True)
        ]
        return torch.stack(distances).mean(0)


class Vgg16Distance(FeatureDistance):
    """Compare images by VGG16 features, taken before each pooling, up to conv4_3.

    Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015. The choice
    of levels: Johnson et al., "Perceptual losses for real-time style transfer", ECCV 2016.

    Args:
        path: torchvision's weights as safetensors; tensor names may have a prefix before `features.`.
    """

    BLOCK_CHANNELS = ((3, 64, 64), (64, 128, 128), (128, 256, 256, 256), (256, 512, 512, 512))
    # torchvision's weights expect inputs that are normalized with the statistics of ImageNet.
    IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, path: Path) -> None:
        super().__init__()
        convolutions = [
            nn.Conv2d(inputs, outputs, 3, padding=1)
            for channels in self.BLOCK_CHANNELS
            for inputs, outputs in pairwise(channels)
        ]
        self.convolutions = nn.ModuleList(convolutions)
        tensors = {name.rpartition("features.")[2]: tensor for name, tensor in load_file(path).items()}
        with torch.no_grad():
            for index, convolution in zip(VGG_CONV_INDICES, convolutions, strict=True):
                convolution.weight.copy_(tensors[f"{index}.weight"])
                convolution.bias.copy_(tensors[f"{index}.bias"])  # type: ignore[union-attr]
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(self.IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(self.IMAGENET_STD).view(1, 3, 1, 1))

    def features(self, images: Tensor) -> Iterator[Tensor]:
        state = ((images + 1) / 2 - self.mean) / self.std
        convolutions = iter(self.convolutions)
        for block, channels in enumerate(self.BLOCK_CHANNELS):
            if block:
                state = nn.functional.max_pool2d(state, 2)
            for _ in channels[1:]:
                state = next(convolutions)(state).relu()
            yield state


class DecodedImageDistance(nn.Module):
    """Decode latents that are scaled for the denoiser, then compare the images."""

    def __init__(self, vae: Any, image_distance: FeatureDistance) -> None:
        super().__init__()
        self.vae, self.image_distance = vae, image_distance

    def forward(self, prediction: Tensor, reference: Tensor) -> Tensor:
        with torch.no_grad():
            target = self._decode(reference)
        distance: Tensor = self.image_distance(self._decode(prediction), target)
        return distance

    def _decode(self, latents: Tensor) -> Tensor:
        decoded: Tensor = self.vae.decode(unscale_latents(latents, self.vae.config)).sample
        return decoded


class DenoiserFeatureDistance(FeatureDistance):
    """Compare images by the down-block features of the bundled pixel denoiser.

    Features of a diffusion model as a perceptual loss: Lin and Yang, "Diffusion model with perceptual loss", arXiv
    2401.00110. The denoiser was trained for another task and on other images than the autoencoder in
    `artgen.engine.metrics`, so training does not minimize the metric that it is measured with.

    Args:
        unet: diffusers' `UNet2DModel` with three input channels.
    """

    TIMESTEP = 150
    """Timestep of noise with sigma 15 of 255. At timesteps of less noise, the features respond to grain, and
    training on them does not make reconstructions perceptually better."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def features(self, images: Tensor) -> Iterator[Tensor]:
        unet = self.unet
        timesteps = torch.full((len(images),), self.TIMESTEP, device=images.device)
        time_embedding = unet.time_embedding(unet.time_proj(timesteps).to(images.dtype))
        state = unet.conv_in(images)
        for block in unet.down_blocks:
            state, skips = block(hidden_states=state, temb=time_embedding)
            yield skips[0]
