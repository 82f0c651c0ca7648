"""What a diffusion model makes of a picture that was noised: the picture as the model would have it.

In pixels one call of the network gives the mean of all clean pictures that the noisy one may come from; what the model
does not expect is not in it (Graham et al., Denoising diffusion models for out-of-distribution detection, CVPRW 2023,
arXiv 2211.07740; Wyatt et al., AnoDDPM, CVPRW 2022). A denoiser of weak noise sees fine texture only; stronger noise
is reached on the picture made smaller, where the mean of k by k pixels has a k-th of it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from artgen.engine.denoise.pixel_denoiser import PixelDenoiser
from artgen.errors import InputFileError

FloatArray = NDArray[np.float32]

MIN_SIDE_PX = 8
"""Pixels a side below which a picture is not made smaller."""


@dataclass(frozen=True)
class LevelReconstruction:
    """A picture at one level of noise, and what the model makes of it.

    Attributes:
        image: (3, height, width), float32, 0 to 255; perhaps smaller than the file.
        reconstruction: the same shape; the mean over all draws of noise.
        likelihood_ratio: (rows, columns), how much better the model explains each place without its prompt than with it; None
            where there is no prompt.
    """

    image: FloatArray
    reconstruction: FloatArray
    likelihood_ratio: FloatArray | None = None


OnModelCall = Callable[[], None]
"""Called after each call of the network."""


def reconstruct(
    denoiser: PixelDenoiser,
    image: FloatArray,
    noise_levels: tuple[float, ...],
    noise_samples: int,
    seed: int,
    on_model_call: OnModelCall,
) -> Iterator[LevelReconstruction]:
    """One reconstruction for each level.

    Args:
        denoiser: of pixels.
        image: (3, height, width), 0 to 255.
        noise_levels: standard deviations in grey levels, at the size of the picture.
        noise_samples: of noise, whose reconstructions are averaged.
        seed: of the noise; the same for every picture.
        on_model_call: called after each call of the network.

    Raises:
        InputFileError: the picture is too small for a level.
        NonFiniteError: the model produced NaN or infinity.
    """
    for number, level in enumerate(noise_levels):
        times = downscale_factor(level, denoiser.schedule.max_sigma)
        if times > 1 and min(image.shape[1:]) < MIN_SIDE_PX * times:
            raise InputFileError(
                f"Noise of {level:g} grey levels is reached on a picture {times} times smaller, which takes "
                f"{MIN_SIDE_PX * times} pixels a side, not {image.shape[2]}x{image.shape[1]}.",
                "Leave the strongest --noise-levels out.",
            )
        small = functional.avg_pool2d(torch.from_numpy(image)[None], times)[0].numpy() if times > 1 else image
        sigma = max(level / times, denoiser.schedule.min_sigma)
        total: FloatArray = np.zeros_like(small)
        for draw in range(noise_samples):
            total += _predict_x0(
                denoiser,
                small + np.float32(sigma) * antithetic_noise(small.shape, seed, number, draw),
                sigma,
                on_model_call,
            )
        yield LevelReconstruction(small, (total / noise_samples).astype(np.float32))


def antithetic_noise(shape: Sequence[int], seed: int, level_index: int, sample_index: int) -> FloatArray:
    """White noise of variance 1, the same for every picture; each second draw is the one before it, turned round.

    What a reconstruction owes to the noise itself then nearly cancels (antithetic variates, Hammersley and Morton,
    1956).
    """
    drawn: FloatArray = np.random.default_rng([seed, level_index, sample_index // 2]).standard_normal(
        tuple(shape), np.float32
    )
    return -drawn if sample_index % 2 else drawn


def downscale_factor(sigma: float, max_sigma: float) -> int:
    """How many times smaller a picture has to be for noise of `sigma` to be at most `max_sigma` there; a power of two."""
    times = 1
    while sigma / times > max_sigma * 1.001:
        times *= 2
    return times


def num_model_calls(
    denoiser: PixelDenoiser, size: tuple[int, int], noise_levels: tuple[float, ...], noise_samples: int
) -> int:
    """How often the network is called for a picture of (height, width)."""
    planes = 1 if denoiser.channels == 3 else 3
    factors = [downscale_factor(level, denoiser.schedule.max_sigma) for level in noise_levels]
    return noise_samples * planes * sum(denoiser.tiling.num_tiles(size[0] // k, size[1] // k) for k in factors)


def _predict_x0(denoiser: PixelDenoiser, noisy: FloatArray, sigma: float, on_model_call: OnModelCall) -> FloatArray:
    def tile(part: FloatArray) -> FloatArray:
        found = denoiser.predict_x0(part, sigma)
        on_model_call()
        return found

    planes = [noisy] if denoiser.channels == 3 else [noisy[i : i + 1] for i in range(len(noisy))]
    return np.concatenate([denoiser.tiling.apply(tile, plane) for plane in planes])
