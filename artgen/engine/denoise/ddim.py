"""From a noisy picture to a clean one with a network that knows noise: one step, many steps, many times.

All pictures here are (channels, height, width), float32, 0 to 255, with the noise on them and not scaled by the model's
sqrt(alpha_bar): the network's wrapper does that. In this form a step of DDIM (Song et al., arXiv 2010.02502) from
noise s to noise s' is x0 + sqrt(s'^2 - r^2) * epsilon + r * z, with r^2 = (eta s')^2 (s^2 - s'^2) / s^2.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

X0Predictor = Callable[[np.ndarray, float], np.ndarray]
"""A noisy picture and its sigma -> the mean of all clean pictures it may come from (Tweedie's formula)."""

StepCallback = Callable[[np.ndarray, np.ndarray], None]

Denoiser = Callable[[np.ndarray], np.ndarray]


def ddim_denoise(
    predict_x0: X0Predictor,
    noisy: np.ndarray,
    sigmas: list[float],
    eta: float,
    rng: np.random.Generator,
    on_step: StepCallback | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Steps down from the noise in the picture; nothing is added but what `eta` asks for.

    Returns the posterior mean at the first level, and what the last step gives (the same for one level).

    Args:
        predict_x0: the network.
        noisy: the picture.
        sigmas: noise levels in grey levels, the picture's own first; one is the posterior mean.
        eta: 0 follows the noise down deterministically, 1 draws all of it anew.
        rng: where new noise comes from.
        on_step: is shown, at each level, the noisy state and the mean of the clean pictures behind it.
    """
    state, means = noisy, []
    for sigma, after in zip(sigmas, [*sigmas[1:], 0.0], strict=True):
        clean = predict_x0(state, sigma)
        means.append(clean)
        if on_step is not None:
            on_step(state, clean)
        if after == 0:
            break
        fresh = eta * after * math.sqrt(sigma**2 - after**2) / sigma
        state = clean + np.float32(math.sqrt(after**2 - fresh**2) / sigma) * (state - clean)
        if fresh:
            state = state + np.float32(fresh) * rng.standard_normal(state.shape, np.float32)
    return means[0], means[-1]


def self_ensemble(denoise: Denoiser, noisy: np.ndarray, num_runs: int) -> np.ndarray:
    """The mean over `num_runs` of the eight flips and quarter turns of a picture, each turned back.

    Geometric self-ensemble: Timofte et al., Seven Ways to Improve Example-Based Single Image Super Resolution, CVPR
    2016.
    """
    total = np.zeros_like(noisy)
    for quarter, flip in list(_flips_and_rotations())[:num_runs]:
        seen = np.rot90(noisy[:, :, ::-1] if flip else noisy, quarter, (1, 2))
        found = np.rot90(denoise(np.ascontiguousarray(seen)), -quarter, (1, 2))
        total += found[:, :, ::-1] if flip else found
    return total / num_runs


def _flips_and_rotations() -> Iterator[tuple[int, bool]]:
    # Opposite turns first, so that a few of them differ as much as they can.
    return ((quarter, flip) for flip in (False, True) for quarter in (0, 2, 1, 3))
