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

from artgen.engine.denoising.networks import Network
from artgen.errors import InputFileError

Floats = NDArray[np.float32]

LEAST = 8
"""Pixels a side below which a picture is not made smaller."""


@dataclass(frozen=True)
class Reconstruction:
    """A picture at one level of noise, and what the model makes of it.

    Attributes:
        picture: (3, height, width), float32, 0 to 255; perhaps smaller than the file.
        rebuilt: the same shape; the mean over all draws of noise.
        ratio: (rows, columns), how much better the model explains each place without its prompt than with it; None
            where there is no prompt.
    """

    picture: Floats
    rebuilt: Floats
    ratio: Floats | None = None


Done = Callable[[], None]
"""Called after each call of the network."""


def in_pixels(
    network: Network, picture: Floats, levels: tuple[float, ...], draws: int, seed: int, done: Done
) -> Iterator[Reconstruction]:
    """One reconstruction for each level.

    Args:
        network: of pixels.
        picture: (3, height, width), 0 to 255.
        levels: standard deviations in grey levels, at the size of the picture.
        draws: of noise, whose reconstructions are averaged.
        seed: of the noise; the same for every picture.
        done: called after each call of the network.

    Raises:
        InputFileError: the picture is too small for a level.
        NonFiniteError: the model produced NaN or infinity.
    """
    for number, level in enumerate(levels):
        times = shrinking(level, network.levels.largest)
        if times > 1 and min(picture.shape[1:]) < LEAST * times:
            raise InputFileError(
                f"Noise of {level:g} grey levels is reached on a picture {times} times smaller, which takes "
                f"{LEAST * times} pixels a side, not {picture.shape[2]}x{picture.shape[1]}.",
                "Leave the strongest --levels out.",
            )
        small = functional.avg_pool2d(torch.from_numpy(picture)[None], times)[0].numpy() if times > 1 else picture
        sigma = max(level / times, network.levels.smallest)
        total: Floats = np.zeros_like(small)
        for draw in range(draws):
            total += _mean(network, small + np.float32(sigma) * noise(small.shape, seed, number, draw), sigma, done)
        yield Reconstruction(small, (total / draws).astype(np.float32))


def noise(shape: Sequence[int], seed: int, level: int, draw: int) -> Floats:
    """White noise of variance 1, the same for every picture; each second draw is the one before it, turned round.

    What a reconstruction owes to the noise itself then nearly cancels (antithetic variates, Hammersley and Morton,
    1956).
    """
    drawn: Floats = np.random.default_rng([seed, level, draw // 2]).standard_normal(tuple(shape), np.float32)
    return -drawn if draw % 2 else drawn


def shrinking(level: float, largest: float) -> int:
    """How many times smaller a picture has to be for noise of `level` to be at most `largest` there; a power of two."""
    times = 1
    while level / times > largest * 1.001:
        times *= 2
    return times


def calls(network: Network, size: tuple[int, int], levels: tuple[float, ...], draws: int) -> int:
    """How often the network is called for a picture of (height, width)."""
    planes = 1 if network.channels == 3 else 3
    factors = [shrinking(level, network.levels.largest) for level in levels]
    return draws * planes * sum(network.tiling.count(size[0] // k, size[1] // k) for k in factors)


def _mean(network: Network, noisy: Floats, sigma: float, done: Done) -> Floats:
    def tile(part: Floats) -> Floats:
        found = network.mean(part, sigma)
        done()
        return found

    planes = [noisy] if network.channels == 3 else [noisy[i : i + 1] for i in range(len(noisy))]
    return np.concatenate([network.tiling.run(tile, plane) for plane in planes])
