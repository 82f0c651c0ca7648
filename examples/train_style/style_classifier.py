"""Classify images as linocuts or as normal images of the bundled model, by the nearest known image.

The features are the mean and the standard deviation of each channel in the first encoder blocks of the bundled
autoencoder; they describe the style and hardly the content (Huang and Belongie, "Arbitrary style transfer in real-time
with adaptive instance normalization", ICCV 2017). The LoRA changes only the denoiser and the text encoder, so the
classifier does not depend on it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image

from artgen.registry.catalog import ASSETS_FOLDER

SIDE = 128
LEVELS = 3
"""Number of encoder blocks that are used, from a side of 128 down to 32 pixels."""

Features = NDArray[np.float32]


@dataclass(frozen=True)
class StyleClassifier:
    """Store the features of known images: (images, features), scaled to unit variance."""

    new_style: Features
    other_style: Features
    scale: Features

    @classmethod
    def from_images(cls, new_style: Iterable[Image.Image], other_style: Iterable[Image.Image]) -> "StyleClassifier":
        """Build a classifier from images of the new style and other images."""
        new_features, other_features = features(new_style), features(other_style)
        scale = np.concatenate([new_features, other_features]).std(0) + 1e-6
        return cls(new_features / scale, other_features / scale, scale)

    def recognized(self, images: Sequence[Image.Image]) -> NDArray[np.bool_]:
        """Return for each image whether the nearest known image has the new style."""
        image_features = features(images) / self.scale
        return _nearest(image_features, self.new_style) < _nearest(image_features, self.other_style)


@torch.inference_mode()
def features(images: Iterable[Image.Image]) -> Features:
    """Return channel means and standard deviations, (images, features)."""
    encoder = AutoencoderKL.from_pretrained(ASSETS_FOLDER / "tiny", subfolder="vae").encoder.eval()
    rows = []
    for image in images:
        small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        state = encoder.conv_in(torch.from_numpy(np.array(small)).permute(2, 0, 1)[None] / 127.5 - 1)
        parts = []
        for block in encoder.down_blocks[:LEVELS]:
            state = block(state)
            parts += [state.mean((0, 2, 3)), state.std((0, 2, 3))]
        rows.append(torch.cat(parts).numpy())
    return np.stack(rows)


def _nearest(image_features: Features, known: Features) -> Features:
    distances: Features = np.sqrt(((image_features[:, None] - known) ** 2).sum(-1)).min(1)
    return distances
