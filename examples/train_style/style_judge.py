"""Tells linocuts from what the bundled model draws by itself: the nearest of known pictures of both kinds.

What a picture looks like is told by the mean and the standard deviation of each channel in the first blocks of the
bundled autoencoder's encoder, which carry style and hardly what is shown (Huang and Belongie, "Arbitrary style transfer
in real-time with adaptive instance normalization", ICCV 2017). Training changes the denoiser alone, so the judge is no
part of what it judges.
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
"""Blocks of the encoder that are looked at, from 128 down to 32 pixels a side."""

Features = NDArray[np.float32]


@dataclass(frozen=True)
class StyleJudge:
    """Known pictures by their features: (pictures, numbers), each number scaled to a variance of one over all."""

    ours: Features
    theirs: Features
    scale: Features

    @classmethod
    def of(cls, ours: Iterable[Image.Image], theirs: Iterable[Image.Image]) -> "StyleJudge":
        """A judge that knows these pictures of the new style, and these of others."""
        mine, others = features(ours), features(theirs)
        scale = np.concatenate([mine, others]).std(0) + 1e-6
        return cls(mine / scale, others / scale, scale)

    def recognised(self, pictures: Sequence[Image.Image]) -> NDArray[np.bool_]:
        """For each picture whether the nearest known one is of the new style."""
        found = features(pictures) / self.scale
        return _nearest(found, self.ours) < _nearest(found, self.theirs)


@torch.inference_mode()
def features(pictures: Iterable[Image.Image]) -> Features:
    """Channel means and standard deviations, (pictures, numbers)."""
    encoder = AutoencoderKL.from_pretrained(ASSETS_FOLDER / "tiny", subfolder="vae").encoder.eval()
    rows = []
    for picture in pictures:
        small = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        state = encoder.conv_in(torch.from_numpy(np.array(small)).permute(2, 0, 1)[None] / 127.5 - 1)
        parts = []
        for block in encoder.down_blocks[:LEVELS]:
            state = block(state)
            parts += [state.mean((0, 2, 3)), state.std((0, 2, 3))]
        rows.append(torch.cat(parts).numpy())
    return np.stack(rows)


def _nearest(found: Features, known: Features) -> Features:
    distances: Features = np.sqrt(((found[:, None] - known) ** 2).sum(-1)).min(1)
    return distances
