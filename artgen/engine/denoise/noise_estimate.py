"""How noisy a picture is, and whether its noise is the white kind a denoiser is made for.

Noise shows where the picture itself is smooth. Patches of 8x8 pixels are taken to their cosine transform; those with
the least energy in the low frequencies are smooth, and what their high frequencies hold is noise. White noise is
independent from one frequency to another, so choosing by the low ones does not bias the high ones. The idea is
Ponomarenko et al.'s ("An automatic approach to lossy compression of AVIRIS images", IGARSS 2007); choosing weakly
textured patches is in Liu, Tanaka and Okutomi ("Single-image noise level estimation for blind denoising", IEEE TIP
22(12), 2013) as well.

A file holds noise clipped to 0 to 255, which hides much of it near black and white. The moments of a clipped Gaussian
(Foi, "Clipped noisy images: heteroskedastic modeling and practical denoising", Signal Processing 89(12), 2009) say how
much is left at a patch's mean; patches are measured by that, and those that keep too little are left out.
"""

from dataclasses import dataclass
from math import erf, sqrt

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Pixels = NDArray[np.float32] | NDArray[np.uint8]
FloatArray = NDArray[np.float64]

PATCH_SIDE_PX = 8
_MAX_PATCHES = 60_000
_SMOOTH_FRACTION, _SMOOTHEST_FRACTION = 0.2, 0.05
"""The shares of patches, smoothest first, that noise is measured in, and that tell noise from texture."""
_MIN_PATCHES = 48
"""Patches below which shares are not shared out further."""
_MIN_CLIPPING_FACTOR = 0.6
"""Patches keep at least this much of the noise's deviation after clipping, or do not count."""
_DCT_MATRIX = np.cos(np.pi / PATCH_SIDE_PX * np.outer(np.arange(PATCH_SIDE_PX), np.arange(PATCH_SIDE_PX) + 0.5)) * sqrt(
    2 / PATCH_SIDE_PX
)
_DCT_MATRIX[0] /= sqrt(2)
_FREQUENCY_ORDER = np.add.outer(np.arange(PATCH_SIDE_PX), np.arange(PATCH_SIDE_PX))
_LOW_FREQUENCY_MASK, _MIDDLE_FREQUENCY_MASK, _HIGH_FREQUENCY_MASK = (
    (_FREQUENCY_ORDER >= 1) & (_FREQUENCY_ORDER <= 4),
    (_FREQUENCY_ORDER >= 5) & (_FREQUENCY_ORDER <= 7),
    _FREQUENCY_ORDER >= 9,
)


@dataclass(frozen=True)
class NoiseEstimate:
    """What is known of a picture's noise.

    Attributes:
        sigma: its standard deviation on the scale of 0 to 255.
        is_white: whether it is the same at all frequencies, as far as can be told.
        reason: the reason why it is not white, a clause about "it"; or why nothing can be told; else empty.
    """

    sigma: float
    is_white: bool
    reason: str


@dataclass(frozen=True)
class _Spectrum:
    """Standard deviations in smooth patches: of high and of middle frequencies, and of the latter in the smoothest."""

    noise_floor: float
    high_sigma: float
    middle_sigma: float
    smoothest_middle_sigma: float

    @property
    def tilt(self) -> float:
        """1 for white noise, more for noise or texture that is correlated."""
        return self.middle_sigma / max(self.high_sigma, 1e-6)

    @property
    def evenness(self) -> float:
        """About 1 for noise, which is the same everywhere; less for texture, which is not."""
        return self.smoothest_middle_sigma / max(self.middle_sigma, 1e-6)


def estimate_sigma(pixels: Pixels) -> NoiseEstimate:
    """Estimates additive noise.

    Args:
        pixels: (height, width) or (height, width, 3), 0 to 255; equal channels count as one.

    Raises:
        ValueError: another shape.
    """
    planes = _to_planes(pixels)
    if min(planes.shape[:2]) < PATCH_SIDE_PX:
        return NoiseEstimate(0.0, True, f"it is too small a picture to tell, below {PATCH_SIDE_PX} pixels a side")
    seen, blocks = _estimate_spectrum(*_sample_patch_dcts(planes)), _jpeg_blockiness(planes)
    if blocks:
        # What JPEG leaves at its block's edges, in one pixel; inside of the blocks there is somewhat more.
        sigma = max(1.5 * blocks, seen.middle_sigma if seen.evenness > 0.85 else seen.noise_floor)
        return NoiseEstimate(sigma, False, "it has the 8x8 blocks that JPEG leaves")
    if _is_synthetic(planes):
        return NoiseEstimate(0.0, True, "")
    if (
        seen.tilt > 1.12
        and seen.middle_sigma > 2
        and seen.evenness > 0.7
        and min(planes.shape[:2]) >= 2 * PATCH_SIDE_PX
    ):
        # Fine texture looks the same but for being uneven; in doubt, it is not called noise.
        sigma = seen.middle_sigma if seen.evenness > 0.85 else seen.noise_floor
        return NoiseEstimate(
            sigma, False, "it is correlated from pixel to pixel, as cameras, scaling or fine texture have it"
        )
    return NoiseEstimate(seen.noise_floor, True, "")


def _to_planes(pixels: Pixels) -> NDArray[np.float32]:
    """(height, width, 1 or 3), the channels one when they are equal."""
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3)) or 0 in pixels.shape:
        raise ValueError(f"pixels must be (height, width) or (height, width, 3), not {pixels.shape}")
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    if planes.shape[2] == 3 and (planes == planes[..., :1]).all():
        planes = planes[..., :1]
    return planes.astype(np.float32, copy=False)


def _sample_patch_dcts(planes: NDArray[np.float32]) -> tuple[FloatArray, FloatArray]:
    """Means (patches,) and cosine transforms (patches, 8, 8) of patches at random places, always the same ones."""
    random, found = np.random.default_rng(0), []
    for channel in range(planes.shape[2]):
        windows = sliding_window_view(planes[..., channel], (PATCH_SIDE_PX, PATCH_SIDE_PX))
        places, wanted = windows.shape[0] * windows.shape[1], _MAX_PATCHES // planes.shape[2]
        chosen = random.integers(0, places, wanted) if places > wanted else np.arange(places)
        found.append(windows[np.divmod(chosen, windows.shape[1])])
    patches = np.concatenate(found)
    return patches.mean((1, 2), dtype=np.float64), _DCT_MATRIX @ patches @ _DCT_MATRIX.T


def _estimate_spectrum(means: FloatArray, dcts: FloatArray) -> _Spectrum:
    """The noise in smooth patches, by a fixed point: what clipping hides depends on what is sought."""
    energies = dcts**2
    low = energies[:, _LOW_FREQUENCY_MASK].sum(1)
    kept, known, found = np.ones(len(means)), -1.0, _Spectrum(0.0, 0.0, 0.0, 0.0)
    for _ in range(10):
        # Noise that is correlated has more in its middle frequencies, and is clipped by that.
        visible = np.flatnonzero(_clipping_factor(means, max(found.middle_sigma, 0.1)) > _MIN_CLIPPING_FACTOR)
        if len(visible) == 0:
            break
        order = visible[np.argsort(low[visible] / kept[visible] ** 2, kind="stable")]
        smooth, smoothest = (
            order[: max(_MIN_PATCHES, int(len(order) * share))] for share in (_SMOOTH_FRACTION, _SMOOTHEST_FRACTION)
        )
        high = np.sort((energies[smooth][:, _HIGH_FREQUENCY_MASK] / kept[smooth, None] ** 2).mean(0))
        # What texture there is falls with frequency: the lowest third, where chance does not choose it, is nearest.
        floor = high[: len(high) // 3] if len(smooth) > 8000 else high
        found = _Spectrum(
            float(np.sqrt(floor.mean())),
            float(np.sqrt(np.median(high))),
            *(
                _median_std(energies[some][:, _MIDDLE_FREQUENCY_MASK] / kept[some, None] ** 2)
                for some in (smooth, smoothest)
            ),
        )
        if abs(found.noise_floor - known) < 0.002 * max(found.noise_floor, 0.1):
            break
        known = found.noise_floor
        kept = _clipping_factor(means, max(known, 0.1))
    return found


def _median_std(energies: FloatArray) -> float:
    return float(np.sqrt(np.median(energies.mean(0))))


def _clipping_factor(means: FloatArray, sigma: float) -> FloatArray:
    """The share of sigma left by clipping at 0 and 255, by the mean after it; same shape."""
    true = np.linspace(-3 * sigma, 255 + 3 * sigma, 2000)
    low, high = -true / sigma, (255 - true) / sigma
    below = [np.array([(1 + erf(edge / sqrt(2))) / 2 for edge in edges]) for edges in (low, high)]
    inside = below[1] - below[0]
    at_low, at_high = (np.exp(-(edge**2) / 2) / np.sqrt(2 * np.pi) for edge in (low, high))
    mean = true * inside + sigma * (at_low - at_high) + 255 * (1 - below[1])
    square = (
        (true**2 + sigma**2) * inside + sigma * (true * (at_low - at_high) - 255 * at_high) + 255**2 * (1 - below[1])
    )
    left: FloatArray = np.sqrt(np.maximum(square - mean**2, 0)) / sigma
    return np.interp(means, mean, left)


def _is_synthetic(planes: NDArray[np.float32]) -> bool:
    """Whether most neighbours are equal, as in graphics: noise of sigma 1 leaves 28 % of them so, even when rounded."""
    steps, inside = np.diff(planes[:: 1 + len(planes) // 512], axis=1), (planes > 0) & (planes < 255)
    counted = steps[inside[:: 1 + len(planes) // 512, 1:]]
    return counted.size == 0 or bool((counted == 0).mean() > 0.6)


def _jpeg_blockiness(planes: NDArray[np.float32]) -> float:
    """How much neighbours differ more across one in eight edges than elsewhere, as a sigma; 0 for not at all.

    After Wang, Bovik and Evans ("Blind measurement of blocking artifacts in images", ICIP 2000), in the pixel domain.
    """
    if min(planes.shape[:2]) < 4 * PATCH_SIDE_PX:
        return 0.0
    phases = sum((_step_energy_by_phase(np.moveaxis(planes, axis, 0)) for axis in (0, 1)), np.zeros(PATCH_SIDE_PX)) / 2
    at = int(phases.argmax())
    rest = np.delete(phases, at)
    excess = phases[at] - np.median(rest)
    if rest.max() == 0:
        return 0.0  # a picture of larger pixels
    if excess < max(0.06 * np.median(rest), 4 * rest.std()) or excess < 0.01:
        return 0.0
    return float(np.sqrt(excess / 2))


def _step_energy_by_phase(planes: NDArray[np.float32]) -> FloatArray:
    """Mean square steps down the first axis by their place modulo 8, the largest cut short; (8,)."""
    planes = planes[:4096, :: max(1, planes.shape[1] // 256)]
    steps = np.abs(np.diff(planes, axis=0))
    # The picture's own edges are no blocks.
    steps = np.minimum(steps, np.quantile(steps[:: 1 + len(steps) // 512], 0.8) + 1)
    rows = (steps**2).mean((1, 2), dtype=np.float64)[: len(steps) // PATCH_SIDE_PX * PATCH_SIDE_PX]
    means: FloatArray = rows.reshape(-1, PATCH_SIDE_PX).mean(0)
    return means
