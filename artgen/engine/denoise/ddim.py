"""Denoise an image with an x0 predictor: one step, several DDIM steps, and a self-ensemble.

All arrays are images of shape (C, H, W), float32, 0 to 255. A noisy image is x0 + sigma * epsilon, without the factor
sqrt(alpha_bar) of the model, which `PixelDenoiser.predict_x0` applies. In this form a DDIM step (Song et al., arXiv
2010.02502) from sigma s to s' is x0 + sqrt(s'^2 - r^2) * epsilon + r * z, with r^2 = (eta s')^2 (s^2 - s'^2) / s^2.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

X0Predictor = Callable[[np.ndarray, float], np.ndarray]
"""Return the posterior mean E[x0 | noisy image] (Tweedie's formula) of a noisy image and its sigma in gray levels."""

StepCallback = Callable[[np.ndarray, np.ndarray], None]
"""Receive the noisy state and the predicted x0 of a step."""

Denoiser = Callable[[np.ndarray], np.ndarray]
"""Return the denoised image of a noisy image."""


def ddim_denoise(
    predict_x0: X0Predictor,
    noisy: np.ndarray,
    sigmas: list[float],
    eta: float,
    rng: np.random.Generator,
    on_step: StepCallback | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the posterior mean at the first sigma and the x0 of the last step; both are equal for one sigma.

    Args:
        predict_x0: model.
        noisy: noisy image.
        sigmas: decreasing noise levels in gray levels; the first one is the noise level of `noisy`.
        eta: 0 is deterministic DDIM, 1 replaces all noise with new noise at each step.
        rng: source of new noise.
        on_step: called after each prediction.
    """
    state, predictions = noisy, []
    for sigma, next_sigma in zip(sigmas, [*sigmas[1:], 0.0], strict=True):
        x0 = predict_x0(state, sigma)
        predictions.append(x0)
        if on_step is not None:
            on_step(state, x0)
        if next_sigma == 0:
            break
        sigma_noise = eta * next_sigma * math.sqrt(sigma**2 - next_sigma**2) / sigma
        state = x0 + np.float32(math.sqrt(next_sigma**2 - sigma_noise**2) / sigma) * (state - x0)
        if sigma_noise:
            state = state + np.float32(sigma_noise) * rng.standard_normal(state.shape, np.float32)
    return predictions[0], predictions[-1]


def self_ensemble(denoise: Denoiser, noisy: np.ndarray, num_runs: int) -> np.ndarray:
    """Return the mean of the denoised flips and rotations of an image.

    Geometric self-ensemble: Timofte et al., "Seven ways to improve example-based single image super resolution", CVPR
    2016.

    Args:
        denoise: denoiser.
        noisy: noisy image.
        num_runs: number of the eight flips and rotations to use, 1 to 8.
    """
    total = np.zeros_like(noisy)
    for quarter_turns, flip in list(_flips_and_rotations())[:num_runs]:
        transformed = np.rot90(noisy[:, :, ::-1] if flip else noisy, quarter_turns, (1, 2))
        denoised = np.rot90(denoise(np.ascontiguousarray(transformed)), -quarter_turns, (1, 2))
        total += denoised[:, :, ::-1] if flip else denoised
    return total / num_runs


def _flips_and_rotations() -> Iterator[tuple[int, bool]]:
    # Opposite rotations come first, because a small ensemble gains most from transforms that differ most.
    return ((quarter_turns, flip) for flip in (False, True) for quarter_turns in (0, 2, 1, 3))
