"""Removers of noise that need no model, from scikit-image."""

import numpy as np

TV_WEIGHT = 0.8
"""Times sigma: the weight of total variation; the best of 0.5 to 1.3 on a photograph at sigma 15 and 50."""


def total_variation(noisy: np.ndarray, sigma: float) -> np.ndarray:
    """Total variation denoising (Chambolle, An algorithm for total variation minimization, JMIV 2004).

    Args:
        noisy: (channels, height, width), 0 to 255.
        sigma: standard deviation of the noise in grey levels.
    """
    from skimage.restoration import denoise_tv_chambolle

    weight = TV_WEIGHT * sigma / 255
    found: np.ndarray = denoise_tv_chambolle(noisy / 255, weight=weight, channel_axis=0)  # type: ignore[no-untyped-call]
    return found.astype(np.float32) * 255


def non_local_means(noisy: np.ndarray, sigma: float) -> np.ndarray:
    """Non-local means (Buades, Coll and Morel, CVPR 2005; fast as in Froment, IPOL 2014), with its usual sizes.

    Args:
        noisy: (channels, height, width), 0 to 255.
        sigma: standard deviation of the noise in grey levels.
    """
    from skimage.restoration import denoise_nl_means

    level = sigma / 255
    found: np.ndarray = denoise_nl_means(
        noisy / 255, h=0.8 * level, sigma=level, patch_size=5, patch_distance=6, fast_mode=True, channel_axis=0
    )
    return found.astype(np.float32) * 255
