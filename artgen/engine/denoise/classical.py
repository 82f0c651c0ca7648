"""Removers of noise that need no model, from scikit-image."""

import numpy as np

TV_WEIGHT_PER_SIGMA = 0.8
"""Times sigma: the weight of total variation; the best of 0.6 to 1.9 on photographs at sigma 15 and 50."""

NLM_H_PER_SIGMA = ((15, 50), (0.8, 0.4))
"""From sigma 15 to 50, times sigma: how unlike patches may be; the best of 0.4 to 1 on the same photographs."""

NLM_PARAMS_WEAK = {"patch_size": 5, "patch_distance": 6}
NLM_PARAMS_STRONG = {"patch_size": 7, "patch_distance": 11}
"""Sizes that are better at sigma 15, and those that are better at 50."""


def total_variation(noisy: np.ndarray, sigma: float) -> np.ndarray:
    """Total variation denoising (Chambolle, An algorithm for total variation minimization, JMIV 2004).

    Args:
        noisy: (channels, height, width), 0 to 255.
        sigma: standard deviation of the noise in grey levels.
    """
    from skimage.restoration import denoise_tv_chambolle

    weight = TV_WEIGHT_PER_SIGMA * sigma / 255
    found: np.ndarray = denoise_tv_chambolle(noisy / 255, weight=weight, channel_axis=0)  # type: ignore[no-untyped-call]
    return found.astype(np.float32) * 255


def non_local_means(noisy: np.ndarray, sigma: float) -> np.ndarray:
    """Non-local means (Buades, Coll and Morel, CVPR 2005; fast as in Froment, IPOL 2014).

    Args:
        noisy: (channels, height, width), 0 to 255.
        sigma: standard deviation of the noise in grey levels.
    """
    from skimage.restoration import denoise_nl_means

    level, strength = sigma / 255, float(np.interp(sigma, *NLM_H_PER_SIGMA))
    sizes = NLM_PARAMS_WEAK if sigma <= 30 else NLM_PARAMS_STRONG
    # Grey is told to it as such: of a single channel it makes something else.
    pixels, axis = (noisy[0], None) if len(noisy) == 1 else (noisy, 0)
    found: np.ndarray = denoise_nl_means(
        pixels / 255, h=strength * level, sigma=level, fast_mode=True, channel_axis=axis, **sizes
    )
    return found.reshape(noisy.shape).astype(np.float32) * 255
