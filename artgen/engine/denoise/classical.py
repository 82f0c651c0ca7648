"""Remove noise without a model, with scikit-image."""

import numpy as np

TV_WEIGHT_PER_SIGMA = 0.8
"""Weight of total variation divided by sigma; the best value of 0.6 to 1.9 on photographs at sigma 15 and 50."""

NLM_H_PER_SIGMA = ((15, 50), (0.8, 0.4))
"""Filter strength h of non-local means divided by sigma: 0.8 at sigma 15, 0.4 at sigma 50, interpolated linearly; the
best values of 0.4 to 1 on the same photographs."""

NLM_PARAMS_WEAK = {"patch_size": 5, "patch_distance": 6}
NLM_PARAMS_STRONG = {"patch_size": 7, "patch_distance": 11}
"""Patch sizes in pixels: weak is better at sigma 15, strong is better at sigma 50."""

MAX_WEAK_SIGMA = 30
"""Highest sigma in gray levels for `NLM_PARAMS_WEAK`."""


def total_variation(noisy: np.ndarray, sigma: float) -> np.ndarray:
    """Return the result of total variation denoising.

    Chambolle, "An algorithm for total variation minimization and applications", JMIV 2004.

    Args:
        noisy: shape (C, H, W), 0 to 255.
        sigma: standard deviation of the noise in gray levels.
    """
    from skimage.restoration import denoise_tv_chambolle

    weight = TV_WEIGHT_PER_SIGMA * sigma / 255
    denoised: np.ndarray = denoise_tv_chambolle(noisy / 255, weight=weight, channel_axis=0)  # type: ignore[no-untyped-call]
    return denoised.astype(np.float32) * 255


def non_local_means(noisy: np.ndarray, sigma: float) -> np.ndarray:
    """Return the result of non-local means.

    Buades, Coll and Morel, "A non-local algorithm for image denoising", CVPR 2005; fast mode: Froment, IPOL 2014.

    Args:
        noisy: shape (C, H, W), 0 to 255.
        sigma: standard deviation of the noise in gray levels.
    """
    from skimage.restoration import denoise_nl_means

    unit_sigma, h_per_sigma = sigma / 255, float(np.interp(sigma, *NLM_H_PER_SIGMA))
    params = NLM_PARAMS_WEAK if sigma <= MAX_WEAK_SIGMA else NLM_PARAMS_STRONG
    # With channel_axis and a single channel, scikit-image returns a different result than for a 2-D image.
    pixels, channel_axis = (noisy[0], None) if len(noisy) == 1 else (noisy, 0)
    denoised: np.ndarray = denoise_nl_means(
        pixels / 255, h=h_per_sigma * unit_sigma, sigma=unit_sigma, fast_mode=True, channel_axis=channel_axis, **params
    )
    return denoised.reshape(noisy.shape).astype(np.float32) * 255
