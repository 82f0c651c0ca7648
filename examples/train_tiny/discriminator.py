"""Define the discriminator of image patches and the perceptual distance for the training of the decoder.

Patch discriminator: Isola et al. 2017 (arXiv 1611.07004). Hinge loss: Lim and Ye 2017 (arXiv 1705.02894). Spectral
normalization: Miyato et al. 2018 (arXiv 1802.05957). The weight of the adversarial loss is the ratio of the gradients
at the last layer of the decoder, as in Esser et al. 2021 (arXiv 2012.09841).
"""

from itertools import pairwise
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from artgen import registry
from artgen.engine.training.perceptual import DenoiserFeatureDistance

ADVERSARIAL_WEIGHT = 0.3
MAX_ADVERSARIAL_WEIGHT = 0.5
PERCEPTUAL_WEIGHT = 0.3
PERCEPTUAL_SIDE = 128
"""Side of the crops that the perceptual distance compares, to save time."""


class PatchDiscriminator(nn.Module):
    """Classify overlapping patches of 22 pixels: a higher value means that a patch looks rendered."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 96)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [spectral_norm(nn.Conv2d(before, after, 4, 2, 1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of shape (n, 1, side / 8, side / 8) for images (n, 3, side, side) in [-1, 1]."""
        logits: Tensor = self.layers(images)
        return logits


class Adversary:
    """Train a discriminator, and compute the adversarial and the perceptual loss of the decoder."""

    def __init__(self, device: str) -> None:
        self.discriminator = PatchDiscriminator().to(device)
        self.optimizer = torch.optim.AdamW(self.discriminator.parameters(), 4e-4, (0.5, 0.99), fused=True)
        folder = registry.resolve_model("denoiser", offline=True).path
        unet = UNet2DModel.from_pretrained(folder / "unet" if (folder / "unet").exists() else folder)
        self.distance = DenoiserFeatureDistance(unet.to(device, torch.float32).eval().requires_grad_(False))

    def decoder_loss(self, decoded: Tensor, images: Tensor, reconstruction: Tensor, last_layer: Tensor) -> Tensor:
        """Return the weighted perceptual and adversarial loss.

        Args:
            decoded: decoded images (n, 3, side, side) with gradients.
            images: real images.
            reconstruction: reconstruction loss of `decoded`.
            last_layer: weights of the last layer of the decoder.
        """
        y, x = (int(torch.randint(0, side - PERCEPTUAL_SIDE + 1, ())) for side in images.shape[2:])
        crops = [part[:, :, y : y + PERCEPTUAL_SIDE, x : x + PERCEPTUAL_SIDE] for part in (decoded, images)]
        perceptual = PERCEPTUAL_WEIGHT * self.distance(*crops).mean()
        adversarial = -self.discriminator(decoded).float().mean()
        wanted, given = (
            torch.autograd.grad(part, last_layer, retain_graph=True)[0].norm()
            for part in (reconstruction + perceptual, adversarial)
        )
        weight = (ADVERSARIAL_WEIGHT * wanted / (given + 1e-6)).clamp(0, MAX_ADVERSARIAL_WEIGHT).detach()
        loss: Tensor = perceptual + weight * adversarial
        return loss

    def train_step(self, decoded: Tensor, images: Tensor) -> None:
        """Train the discriminator with the hinge loss. `decoded` has no gradients."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(images.device.type, torch.bfloat16):
            real, fake = self.discriminator(images).float(), self.discriminator(decoded).float()
        loss = (1 - real).relu().mean() + (1 + fake).relu().mean()
        torch.autograd.backward(loss)
        self.optimizer.step()

    def state(self) -> dict[str, Any]:
        """Return the weights and the state of the optimizer."""
        return {"module": self.discriminator.state_dict(), "optimiser": self.optimizer.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Load the values of `state`."""
        self.discriminator.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimiser"])
