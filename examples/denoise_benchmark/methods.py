"""The removers of noise that are compared; each is given the true sigma.

What classical methods leave open was chosen in their favour, once, by mean PSNR at sigma 15 and 50 on parts of
scikit-image's `brick`, `hubble_deep_field` and `coins`, none of which is measured; TV and NLM are those of
`artgen denoise --method`, where their constants are.
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
"""(height, width) or (height, width, 3) of uint8, and sigma in grey levels -> the same shape, 0 to 255."""

WAVELET = "db2"
"""Under BayesShrink; tried were db2, sym8 and bior4.4, under it and under VisuShrink of a quarter and 0.4 of sigma."""


def noisy(pixels: np.ndarray, sigma: float) -> np.ndarray:  # noqa: ARG001
    """Left as it is."""
    return pixels


def classical(way: Method) -> Method:
    """A method of `artgen denoise` that needs no model, on an array."""

    def with_channels_last(pixels: np.ndarray, sigma: float) -> np.ndarray:
        first = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        return way(first.astype(np.float64), sigma).transpose(1, 2, 0).reshape(pixels.shape)

    return with_channels_last


def wavelet(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """BayesShrink (Chang, Yu and Vetterli, IEEE TIP 9(9), 2000), averaged over shifts (Coifman and Donoho, 1995)."""
    from skimage.restoration import cycle_spin, denoise_wavelet

    colour = pixels.ndim == 3
    how = {"sigma": sigma / 255, "wavelet": WAVELET, "convert2ycbcr": colour, "rescale_sigma": True}
    shifts = (3, 3, 0) if colour else (3, 3)
    # Channels are told to the inner function: the outer one would take them apart.
    found = cycle_spin(
        pixels / 255, denoise_wavelet, shifts, workers=1, func_kw=how | _channels(pixels), channel_axis=None
    )
    return 255 * np.asarray(found)


def bm3d(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """Dabov, Foi, Katkovnik and Egiazarian, IEEE TIP 16(8), 2007, in colour (CBM3D) or grey; the package `bm3d`."""
    import bm3d as package  # type: ignore[import-untyped, import-not-found, unused-ignore]

    way = package.bm3d_rgb if pixels.ndim == 3 else package.bm3d
    return 255 * np.asarray(way(pixels / 255, sigma / 255))


def artgen_with(**options: Any) -> Method:
    """`artgen denoise` with these options."""

    def way(pixels: np.ndarray, sigma: float) -> np.ndarray:
        import artgen

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "noisy.png"
            Image.fromarray(pixels).save(path)
            request = artgen.Denoise(image=path, sigma=f"{sigma:g}", seed=0, **options)
            return np.asarray(artgen.generate(request).image)

    return way


@cache
def methods(model: str | None, latent_model: str | None) -> dict[str, Method]:
    """All by name, in the order of the table; the models are artgen's bundled ones without names."""
    pixel = {"model": model} if model else {}
    latent = {"model": latent_model} if latent_model else {}
    return {
        "noisy": noisy,
        "TV": classical(total_variation),
        "NLM": classical(non_local_means),
        "wavelet": wavelet,
        "BM3D": bm3d,
        "artgen 1 step": artgen_with(**pixel),
        "artgen 10 steps": artgen_with(steps=10, **pixel),
        "latent": artgen_with(method="latent", **latent),
    }


def threads() -> int:
    """How many threads the numeric libraries were told to use; all cores without a word."""
    return int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))


def _channels(pixels: np.ndarray) -> dict[str, int | None]:
    return {"channel_axis": 2 if pixels.ndim == 3 else None}
