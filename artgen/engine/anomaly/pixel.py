"""Reconstruct noisy images with a pixel denoiser.

One network call returns the posterior mean of the clean image. Anomalous details are not reconstructed (Graham et al.,
"Denoising diffusion models for out-of-distribution detection", CVPRW 2023, arXiv 2211.07740; Wyatt et al., "AnoDDPM",
CVPRW 2022). At the noise levels of the bundled denoiser only fine texture is affected. Stronger noise is applied to a
downscaled image: the mean of k x k pixels has a k-th of the noise.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from artgen.engine.denoise.pixel_denoiser import PixelDenoiser
from artgen.engine.diffusion.antithetic_noise import antithetic_noise
from artgen.errors import InputFileError

FloatArray = NDArray[np.float32]

MIN_SIDE_PX = 8
"""Lower bound of the sides of a downscaled image."""

OnModelCall = Callable[[], None]
"""Called after each call of the network."""


@dataclass(frozen=True)
class LevelReconstruction:
    """Store an image and its reconstruction at one noise level.

    Attributes:
        image: shape (3, H, W), float32, 0 to 255; may be downscaled.
        reconstruction: mean over the noise samples; the same shape and range.
        likelihood_ratio: error of the noise prediction with the prompt minus the error without it, shape (h, w); None
            without a prompt.
    """

    image: FloatArray
    reconstruction: FloatArray
    likelihood_ratio: FloatArray | None = None


def reconstruct(
    denoiser: PixelDenoiser,
    image: FloatArray,
    noise_levels: tuple[float, ...],
    noise_samples: int,
    seed: int,
    on_model_call: OnModelCall,
) -> Iterator[LevelReconstruction]:
    """Yield one reconstruction for each noise level.

    Args:
        denoiser: pixel denoiser.
        image: shape (3, H, W), 0 to 255.
        noise_levels: standard deviations in gray levels at the size of the image.
        noise_samples: noise samples whose reconstructions are averaged.
        seed: seed of the noise; the noise is the same for all images of a size.
        on_model_call: called after each call of the network.

    Raises:
        InputFileError: the image is too small for a noise level.
        NonFiniteError: the model produced NaN or infinity.
    """
    for level_index, level in enumerate(noise_levels):
        factor = downscale_factor(level, denoiser.schedule.max_sigma)
        if factor > 1 and min(image.shape[1:]) < MIN_SIDE_PX * factor:
            raise InputFileError(
                f"Cannot use noise level {level:g}: the image would be downscaled by {factor}, which needs "
                f"{MIN_SIDE_PX * factor} pixels a side, not {image.shape[2]}x{image.shape[1]}.",
                "Omit the highest values of --noise-levels.",
            )
        small = functional.avg_pool2d(torch.from_numpy(image)[None], factor)[0].numpy() if factor > 1 else image
        sigma = max(level / factor, denoiser.schedule.min_sigma)
        total: FloatArray = np.zeros_like(small)
        for sample_index in range(noise_samples):
            noisy = small + np.float32(sigma) * antithetic_noise(small.shape, seed, level_index, sample_index)
            total += _predict_x0(denoiser, noisy, sigma, on_model_call)
        yield LevelReconstruction(small, (total / noise_samples).astype(np.float32))


def downscale_factor(sigma: float, max_sigma: float) -> int:
    """Return the lowest power of two at which noise of `sigma` is at most `max_sigma` in the downscaled image."""
    factor = 1
    while sigma / factor > max_sigma * 1.001:
        factor *= 2
    return factor


def num_model_calls(
    denoiser: PixelDenoiser, size: tuple[int, int], noise_levels: tuple[float, ...], noise_samples: int
) -> int:
    """Return the number of network calls for an image of (height, width)."""
    planes = 1 if denoiser.channels == 3 else 3
    factors = [downscale_factor(level, denoiser.schedule.max_sigma) for level in noise_levels]
    return noise_samples * planes * sum(denoiser.tiling.num_tiles(size[0] // k, size[1] // k) for k in factors)


def _predict_x0(denoiser: PixelDenoiser, noisy: FloatArray, sigma: float, on_model_call: OnModelCall) -> FloatArray:
    def predict_tile(tile: FloatArray) -> FloatArray:
        x0 = denoiser.predict_x0(tile, sigma)
        on_model_call()
        return x0

    planes = [noisy] if denoiser.channels == 3 else [noisy[i : i + 1] for i in range(len(noisy))]
    return np.concatenate([denoiser.tiling.apply(predict_tile, plane) for plane in planes])
