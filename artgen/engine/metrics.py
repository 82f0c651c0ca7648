"""Compare images with PSNR, SSIM and the distance of features of a VAE encoder.

Images are arrays of shape (H, W) or (H, W, 3), 0 to 255; both images have the same shape.
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
"""Upper bound of the tile side of `vae_feature_distance` in pixels; limits its memory."""
NUM_ENCODER_BLOCKS = 3
"""Encoder blocks that `vae_feature_distance` uses; later blocks represent contents rather than appearance."""
_SSIM_WINDOW_PX = 11
_MIN_ENCODER_SIDE_PX = 16


def psnr(image: Pixels, reference: Pixels) -> float:
    """Return the peak signal-to-noise ratio in dB; higher is better, infinity for equal images.

    Raises:
        ValueError: the shapes differ or are not image shapes.
    """
    first, second = _to_matching_arrays(image, reference)
    error = float(((first - second) ** 2).mean(dtype=np.float64))
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def ssim(image: Pixels, reference: Pixels) -> float:
    """Return the structural similarity, the mean over channels; 1 for equal images.

    The parameters are from Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to
    structural similarity", IEEE TIP 13(4), 2004. Sides below the window of 11 pixels are padded by reflection.

    Raises:
        ValueError: the shapes differ or are not image shapes.
    """
    from skimage.metrics import structural_similarity

    first, second = (_pad_to_min_side(each, _SSIM_WINDOW_PX) for each in _to_matching_arrays(image, reference))
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
    """Return the distance of the VAE encoder features of two images; 0 for equal images, lower is better.

    The distance follows LPIPS (Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric",
    CVPR 2018, arXiv 1801.03924) without its weights: features of a network are normalized at each position, and the
    distance is the root of their mean squared difference over positions and blocks. The network is the VAE encoder of
    the bundled model `tiny`; pixel denoising does not use it.

    Unlike a classifier, the encoder represents brightness. Therefore the mean features of each image are subtracted;
    otherwise a change of brightness has a higher distance than a blur of equal error. Features are divided by their
    length at each position combined with the root mean square over the image, as in models of human vision (Heeger,
    "Normalization of cell responses in cat striate cortex", Visual Neuroscience 9, 1992); with the length at each
    position alone, noise in flat regions can have a higher distance than the blur.

    The distance increases with noise, blur and compression. At equal error, a blur has a higher distance than noise, a
    change of brightness or a loss of contrast, as in human judgments. A shift of half a pixel already increases the
    distance. The distance is not fitted to human judgments and is not comparable with published LPIPS values. Images
    above 512 pixels a side are divided into equal tiles.

    Raises:
        ValueError: the shapes differ or are not image shapes.
    """
    first, second = _to_matching_arrays(image, reference)
    total = 0.0
    for tile in _tile_slices(*first.shape[:2]):
        weight = (tile[0].stop - tile[0].start) * (tile[1].stop - tile[1].start) / (first.shape[0] * first.shape[1])
        total += weight * _tile_distance(first[tile], second[tile])
    return total


def _to_matching_arrays(image: Pixels, reference: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return both images in shape (H, W, C), float32."""
    if image.shape != reference.shape:
        raise ValueError(f"images must have the same shape, not {image.shape} and {reference.shape}")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)) or 0 in image.shape:
        raise ValueError(f"pixels must be (height, width) or (height, width, 3), not {image.shape}")
    height, width = image.shape[:2]
    first, second = (each.reshape(height, width, -1).astype(np.float32) for each in (image, reference))
    return first, second


def _pad_to_min_side(image: NDArray[np.float32], min_side: int) -> NDArray[np.float32]:
    """Return the image padded by reflection at the bottom and on the right to sides of at least `min_side`."""
    padding = [(0, max(0, min_side - side)) for side in image.shape[:2]]
    return np.pad(image, [*padding, (0, 0)], mode="symmetric")


def _tile_slices(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Yield equal tiles with sides of at most `FEATURE_TILE_PX`."""
    rows, columns = (np.linspace(0, side, -(-side // FEATURE_TILE_PX) + 1).astype(int) for side in (height, width))
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield slice(int(top), int(bottom)), slice(int(left), int(right))


@torch.inference_mode()
def _tile_distance(image: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    if np.array_equal(image, reference):
        return 0.0
    blocks = zip(encoder_features(image), encoder_features(reference), strict=True)
    distances = [float((first - second).square().sum(1).mean()) for first, second in blocks]
    return math.sqrt(sum(distances) / len(distances))


def encoder_features(image: NDArray[np.float32]) -> Iterator[torch.Tensor]:
    """Yield the normalized features of the encoder's first blocks, shape (1, C, h, w), with lengths from 0 to 1.

    Args:
        image: shape (H, W, 1) or (H, W, 3), 0 to 255.
    """
    encoder = _load_encoder()
    pixels = torch.from_numpy(_pad_to_min_side(image, _MIN_ENCODER_SIDE_PX)).permute(2, 0, 1)[None] / 127.5 - 1
    hidden_states = encoder.conv_in(pixels.expand(1, 3, -1, -1))
    for block in encoder.down_blocks[:NUM_ENCODER_BLOCKS]:
        hidden_states = block(hidden_states)
        yield normalize_features(hidden_states)


def normalize_features(features: torch.Tensor) -> torch.Tensor:
    """Return centered features, shape (B, C, H, W), divided by their magnitude; lengths from 0 to 1.

    The magnitude is the root of the squared length at a position plus its mean over the image.
    """
    centered = features - features.mean((2, 3), keepdim=True)
    energy = centered.square().sum(1, keepdim=True)
    # 1e-6 keeps the features of a flat image, which are rounding errors, close to 0.
    return centered / (energy + energy.mean((1, 2, 3), keepdim=True) + 1e-6).sqrt()


@lru_cache(maxsize=1)
def _load_encoder() -> Any:
    """Return the VAE encoder of the bundled text-to-image model, on the CPU."""
    from diffusers import AutoencoderKL

    from artgen.registry.catalog import ASSETS_FOLDER

    vae = AutoencoderKL.from_pretrained(ASSETS_FOLDER / "tiny", subfolder="vae", torch_dtype=torch.float32)
    return vae.encoder.eval()


METRICS = {"psnr": psnr, "ssim": ssim, "vae_feature_distance": vae_feature_distance}
"""Metrics of `compare_images`. psnr is in dB, higher is better. ssim is at most 1, higher is better.
vae_feature_distance is at least 0, lower is better."""


def compare_images(candidate: Image.Image, reference: Image.Image) -> dict[str, float]:
    """Return the `METRICS` of two images of the same size, computed on 8-bit colors without alpha."""
    is_gray = candidate.mode in ("L", "LA") and reference.mode in ("L", "LA")
    first, second = (
        np.asarray(drop_alpha(image).convert("L" if is_gray else "RGB")) for image in (candidate, reference)
    )
    return {name: metric(first, second) for name, metric in METRICS.items()}
