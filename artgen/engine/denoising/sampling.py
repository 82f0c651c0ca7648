"""From a noisy picture to a clean one with a network that knows noise: one step, many steps, many times.

All pictures here are (channels, height, width), float32, 0 to 255, with the noise on them and not scaled by the model's
sqrt(alpha_bar): the network's wrapper does that. In this form a step of DDIM (Song et al., arXiv 2010.02502) from
noise s to noise s' is x0 + sqrt(s'^2 - r^2) * epsilon + r * z, with r^2 = (eta s')^2 (s^2 - s'^2) / s^2.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

Mean = Callable[[np.ndarray, float], np.ndarray]
"""A noisy picture and its sigma -> the mean of all clean pictures it may come from (Tweedie's formula)."""

Watch = Callable[[np.ndarray, np.ndarray], None]

Way = Callable[[np.ndarray], np.ndarray]


def sample(
    mean: Mean,
    noisy: np.ndarray,
    sigmas: list[float],
    eta: float,
    random: np.random.Generator,
    watch: Watch | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Steps down from the noise in the picture; nothing is added but what `eta` asks for.

    Returns the posterior mean at the first level, and what the last step gives (the same for one level).

    Args:
        mean: the network.
        noisy: the picture.
        sigmas: noise levels in grey levels, the picture's own first; one is the posterior mean.
        eta: 0 follows the noise down deterministically, 1 draws all of it anew.
        random: where new noise comes from.
        watch: is shown, at each level, the noisy state and the mean of the clean pictures behind it.
    """
    state, means = noisy, []
    for sigma, after in zip(sigmas, [*sigmas[1:], 0.0], strict=True):
        clean = mean(state, sigma)
        means.append(clean)
        if watch is not None:
            watch(state, clean)
        if after == 0:
            break
        fresh = eta * after * math.sqrt(sigma**2 - after**2) / sigma
        state = clean + np.float32(math.sqrt(after**2 - fresh**2) / sigma) * (state - clean)
        if fresh:
            state = state + np.float32(fresh) * random.standard_normal(state.shape, np.float32)
    return means[0], means[-1]


def turned(way: Way, noisy: np.ndarray, runs: int) -> np.ndarray:
    """The mean over `runs` of the eight flips and quarter turns of a picture, each turned back.

    Geometric self-ensemble: Timofte et al., Seven Ways to Improve Example-Based Single Image Super Resolution, CVPR
    2016.
    """
    total = np.zeros_like(noisy)
    for quarter, flip in list(_turns())[:runs]:
        seen = np.rot90(noisy[:, :, ::-1] if flip else noisy, quarter, (1, 2))
        found = np.rot90(way(np.ascontiguousarray(seen)), -quarter, (1, 2))
        total += found[:, :, ::-1] if flip else found
    return total / runs


def _turns() -> Iterator[tuple[int, bool]]:
    # Opposite turns first, so that a few of them differ as much as they can.
    return ((quarter, flip) for flip in (False, True) for quarter in (0, 2, 1, 3))
