"""Generate noise whose samples cancel in pairs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def antithetic_noise(shape: Sequence[int], seed: int, level_index: int, sample_index: int) -> NDArray[np.float32]:
    """Return white noise of variance 1. Each odd sample is the negative of the sample before it.

    The effect of the noise on the mean reconstruction is smaller with antithetic samples (Hammersley and Morton, "A new
    Monte Carlo technique: antithetic variates", 1956).
    """
    rng = np.random.default_rng([seed, level_index, sample_index // 2])
    noise: NDArray[np.float32] = rng.standard_normal(tuple(shape), np.float32)
    return -noise if sample_index % 2 else noise
