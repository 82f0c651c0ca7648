"""Define the compared denoising methods. Each method receives the true sigma.

The parameters of the classical methods were tuned once by mean PSNR at sigma 15 and 50, on crops of scikit-image's
`brick`, `hubble_deep_field` and `coins`, which are not part of the benchmark. TV and NLM are the methods of `artgen
denoise --method`, with the constants there.
"""

import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from artgen.engine.denoise.classical import non_local_means, total_variation

Method = Callable[[np.ndarray, float], np.ndarray]
"""Denoise a uint8 array (H, W) or (H, W, 3) with sigma in gray levels; return the same shape, 0 to 255."""

WAVELET = "db2"
"""Wavelet for BayesShrink. Tested: db2, sym8, bior4.4, with BayesShrink and with VisuShrink of 0.25 and 0.4 sigma."""


def noisy(pixels: np.ndarray, sigma: float) -> np.ndarray:  # noqa: ARG001
    """Return the input unchanged."""
    return pixels


def classical_method(denoise: Method) -> Method:
    """Return a method of `artgen denoise` without a model, for arrays."""

    def with_channels_last(pixels: np.ndarray, sigma: float) -> np.ndarray:
        first = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        return denoise(first.astype(np.float64), sigma).transpose(1, 2, 0).reshape(pixels.shape)

    return with_channels_last


def wavelet(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """Apply BayesShrink (Chang et al., IEEE TIP 9(9), 2000), averaged over shifts (Coifman and Donoho, 1995)."""
    from skimage.restoration import cycle_spin, denoise_wavelet

    is_color = pixels.ndim == 3
    settings = {"sigma": sigma / 255, "wavelet": WAVELET, "convert2ycbcr": is_color, "rescale_sigma": True}
    shifts = (3, 3, 0) if is_color else (3, 3)
    # The channel axis is passed only to the inner function: the outer one would process channels separately.
    denoised = cycle_spin(
        pixels / 255, denoise_wavelet, shifts, workers=1, func_kw=settings | _channels(pixels), channel_axis=None
    )
    return 255 * np.asarray(denoised)


def bm3d(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """Apply BM3D (Dabov et al., IEEE TIP 16(8), 2007), or CBM3D for color, from the package `bm3d`."""
    import bm3d as package  # type: ignore[import-untyped, import-not-found, unused-ignore]

    denoise = package.bm3d_rgb if pixels.ndim == 3 else package.bm3d
    return 255 * np.asarray(denoise(pixels / 255, sigma / 255))


def artgen_method(**options: Any) -> Method:
    """Return `artgen denoise` with options."""

    def denoise(pixels: np.ndarray, sigma: float) -> np.ndarray:
        import artgen

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "noisy.png"
            Image.fromarray(pixels).save(path)
            request = artgen.Denoise(image=path, sigma=f"{sigma:g}", seed=0, **options)
            return np.asarray(artgen.generate(request).image)

    return denoise


@cache
def build_methods(model: str | None, latent_model: str | None) -> dict[str, Method]:
    """Return all methods by name, in the order of the table. Without names, the bundled models are used."""
    pixel = {"model": model} if model else {}
    latent = {"model": latent_model} if latent_model else {}
    return {
        "noisy": noisy,
        "TV": classical_method(total_variation),
        "NLM": classical_method(non_local_means),
        "wavelet": wavelet,
        "BM3D": bm3d,
        "artgen 1 step": artgen_method(**pixel),
        "artgen 10 steps": artgen_method(steps=10, **pixel),
        "latent": artgen_method(method="latent", **latent),
    }


def num_threads() -> int:
    """Return the number of threads of the numeric libraries: OMP_NUM_THREADS, or the number of cores."""
    return int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))


def _channels(pixels: np.ndarray) -> dict[str, int | None]:
    return {"channel_axis": 2 if pixels.ndim == 3 else None}
