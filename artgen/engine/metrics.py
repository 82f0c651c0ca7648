"""How close a picture comes to another one: by numbers, by structure, and by features of a trained network.

Pictures are arrays of (height, width) or (height, width, 3), 0 to 255, of one shape.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from artgen.images import drop_alpha

Pixels = NDArray[np.floating] | NDArray[np.uint8]

FEATURE_TILE_PX = 512
"""Pixels a side that are looked at together by `vae_feature_distance`; bounds its memory."""
NUM_ENCODER_BLOCKS = 3
"""Of the encoder's blocks, the first: further ones tell what is there more than how it looks."""
_SSIM_WINDOW_PX = 11
_MIN_ENCODER_SIDE_PX = 16


def psnr(image: Pixels, reference: Pixels) -> float:
    """Peak signal-to-noise ratio in dB, higher is better; infinity for equal pictures.

    Raises:
        ValueError: shapes differ, or are no picture's.
    """
    first, second = _to_matching_arrays(image, reference)
    error = float(((first - second) ** 2).mean(dtype=np.float64))
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def ssim(image: Pixels, reference: Pixels) -> float:
    """Structural similarity, 1 for equal pictures, the mean over channels; with the settings of the paper.

    Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural similarity",
    IEEE TIP 13(4), 2004. A side below its window of 11 pixels is extended to that by mirroring.

    Raises:
        ValueError: shapes differ, or are no picture's.
    """
    from skimage.metrics import structural_similarity

    first, second = (_pad_to_min_side(picture, _SSIM_WINDOW_PX) for picture in _to_matching_arrays(image, reference))
    similarity = structural_similarity(  # type: ignore[no-untyped-call]
        first,
        second,
        data_range=255,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(similarity)


def vae_feature_distance(image: Pixels, reference: Pixels) -> float:
    """How different two pictures look, from 0 for equal ones; lower is better.

    In the manner of LPIPS (Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric",
    CVPR 2018, arXiv 1801.03924), without its weights: the features of a trained network are normalised at each
    position, and it is the root of their mean squared difference over positions and levels. The network is the encoder
    of the bundled model's autoencoder, which takes no part in removing noise from pixels. It encodes brightness, unlike
    a classifier, so each picture's mean features are taken away first; without that, a change of brightness would be
    worse than a blur of equal error. They are divided by their length there and its root mean square over the picture
    together, as eyes are thought to do (Heeger, "Normalization of cell responses in cat striate cortex", Visual
    Neuroscience 9, 1992): by their length there alone, noise in flat places could be worse than that blur.

    It grows with noise, blur and compression, and calls a blur worse than noise, a change of brightness or a loss of
    contrast of equal error, as people do. It does not forgive a shift, even of half a pixel. No human judgements were
    used to fit it, and its figures cannot be compared with published ones of LPIPS.
    Pictures of more than 512 pixels a side are cut into equal parts.

    Raises:
        ValueError: shapes differ, or are no picture's.
    """
    first, second = _to_matching_arrays(image, reference)
    total = 0.0
    for part in _tile_slices(*first.shape[:2]):
        share = (part[0].stop - part[0].start) * (part[1].stop - part[1].start) / (first.shape[0] * first.shape[1])
        total += share * _tile_distance(first[part], second[part])
    return total


def _to_matching_arrays(image: Pixels, reference: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both as (height, width, channels), float32."""
    if image.shape != reference.shape:
        raise ValueError(f"pictures of one shape can be compared, not {image.shape} and {reference.shape}")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)) or 0 in image.shape:
        raise ValueError(f"pixels must be (height, width) or (height, width, 3), not {image.shape}")
    height, width = image.shape[:2]
    first, second = (picture.reshape(height, width, -1).astype(np.float32) for picture in (image, reference))
    return first, second


def _pad_to_min_side(image: NDArray[np.float32], min_side: int) -> NDArray[np.float32]:
    """Mirrored at the bottom and on the right until no side is below `min_side`."""
    more = [(0, max(0, min_side - side)) for side in image.shape[:2]]
    return np.pad(image, [*more, (0, 0)], mode="symmetric")


def _tile_slices(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Equal parts of at most `TILE` pixels a side, over the whole picture."""
    rows, columns = (np.linspace(0, side, -(-side // FEATURE_TILE_PX) + 1).astype(int) for side in (height, width))
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield slice(int(top), int(bottom)), slice(int(left), int(right))


@torch.inference_mode()
def _tile_distance(image: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """The distance of two parts."""
    if np.array_equal(image, reference):
        return 0.0
    levels = zip(encoder_features(image), encoder_features(reference), strict=True)
    distances = [float((one - other).square().sum(1).mean()) for one, other in levels]
    return math.sqrt(sum(distances) / len(distances))


def encoder_features(image: NDArray[np.float32]) -> Iterator[torch.Tensor]:
    """What the encoder's first blocks make of a picture, (1, channels, height, width), of lengths 0 to 1.

    Args:
        image: (height, width, 1 or 3), 0 to 255.
    """
    encoder = _load_encoder()
    given = torch.from_numpy(_pad_to_min_side(image, _MIN_ENCODER_SIDE_PX)).permute(2, 0, 1)[None] / 127.5 - 1
    state = encoder.conv_in(given.expand(1, 3, -1, -1))
    for block in encoder.down_blocks[:NUM_ENCODER_BLOCKS]:
        state = block(state)
        yield normalize_features(state)


def normalize_features(features: torch.Tensor) -> torch.Tensor:
    """Features of a picture, (batch, channels, height, width), as `vae_feature_distance` compares them: lengths 0 to 1.

    Without their mean, divided by their length at each position and its root mean square over the picture together.
    """
    centred = features - features.mean((2, 3), keepdim=True)
    energy = centred.square().sum(1, keepdim=True)
    # A flat picture's features are rounding errors, and stay small.
    return centred / (energy + energy.mean((1, 2, 3), keepdim=True) + 1e-6).sqrt()


@lru_cache(maxsize=1)
def _load_encoder() -> Any:
    """The encoder of the bundled text-to-image model's autoencoder, on the CPU."""
    from diffusers import AutoencoderKL

    from artgen.registry.catalog import ASSETS_FOLDER

    vae = AutoencoderKL.from_pretrained(ASSETS_FOLDER / "tiny", subfolder="vae", torch_dtype=torch.float32)
    return vae.encoder.eval()


METRICS = {"psnr": psnr, "ssim": ssim, "vae_feature_distance": vae_feature_distance}
"""What `measure` tells: decibels, more is better; 0 to 1, more is better; 0 and up, less is better."""


def compare_images(candidate: Image.Image, reference: Image.Image) -> dict[str, float]:
    """The `MEASURES` of two pictures of one size; colours alone count, in 8 bits."""
    grey = candidate.mode in ("L", "LA") and reference.mode in ("L", "LA")
    first, second = (np.asarray(drop_alpha(image).convert("L" if grey else "RGB")) for image in (candidate, reference))
    return {name: distance(first, second) for name, distance in METRICS.items()}
