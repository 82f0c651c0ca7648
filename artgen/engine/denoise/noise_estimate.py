"""Estimate the standard deviation of the noise in an image, and whether the noise is white.

The noise is measured in smooth patches of 8x8 pixels: the patches with the lowest energy in the low frequencies of the
discrete cosine transform (DCT). Their high frequencies contain mostly noise. White noise is independent between
frequencies, so selection by low frequencies does not bias the high frequencies. The method follows Ponomarenko et al.,
"An automatic approach to lossy compression of AVIRIS images", IGARSS 2007; the selection of weakly textured patches is
also in Liu, Tanaka and Okutomi, "Single-image noise level estimation for blind denoising", IEEE TIP 22(12), 2013.

Image files clip noise to 0..255, which reduces it near black and white. The moments of a clipped Gaussian (Foi,
"Clipped noisy images: heteroskedastic modeling and practical denoising", Signal Processing 89(12), 2009) give the
remaining fraction for the mean of a patch. Measurements are divided by this fraction; patches with a low fraction are
not used.
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
"""Fractions of the patches, smoothest first: the first measures noise, the second separates noise from texture."""
_MIN_PATCHES = 48
"""Lower bound of the number of patches in a fraction."""
_MIN_CLIPPING_FACTOR = 0.6
"""Patches are not used if clipping reduces the standard deviation of the noise below this factor."""
_MAX_ITERATIONS = 10
_MIN_TILT = 1.12
"""Tilt of the spectrum above which noise is correlated."""
_MIN_EVENNESS = 0.85
"""Evenness above which middle frequencies contain noise rather than texture."""
_MAX_EQUAL_NEIGHBOR_FRACTION = 0.6
"""Fraction of equal neighbors in synthetic graphics; rounded noise of sigma 1 has 28 % equal neighbors."""
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
    """Store the estimated noise of an image.

    Attributes:
        sigma: standard deviation in gray levels (0 to 255).
        is_white: True if the noise has the same power at all frequencies, as far as the image shows.
        reason: reason why the noise is not white or cannot be estimated, a clause; empty otherwise.
    """

    sigma: float
    is_white: bool
    reason: str


@dataclass(frozen=True)
class _Spectrum:
    """Store standard deviations of frequency bands in smooth patches, in gray levels.

    Attributes:
        noise_floor: lowest third of the high frequencies.
        high_sigma: high frequencies.
        middle_sigma: middle frequencies.
        smoothest_middle_sigma: middle frequencies of the smoothest patches.
    """

    noise_floor: float
    high_sigma: float
    middle_sigma: float
    smoothest_middle_sigma: float

    @property
    def tilt(self) -> float:
        """Return the ratio of middle to high frequencies: 1 for white noise, more for correlated noise and texture."""
        return self.middle_sigma / max(self.high_sigma, 1e-6)

    @property
    def evenness(self) -> float:
        """Return the ratio of the smoothest patches to all smooth patches: about 1 for noise, lower for texture."""
        return self.smoothest_middle_sigma / max(self.middle_sigma, 1e-6)


def estimate_sigma(pixels: Pixels) -> NoiseEstimate:
    """Estimate the additive noise of an image.

    Args:
        pixels: shape (H, W) or (H, W, 3), 0 to 255; equal channels count as one.

    Raises:
        ValueError: the array has another shape.
    """
    planes = _to_planes(pixels)
    if min(planes.shape[:2]) < PATCH_SIDE_PX:
        return NoiseEstimate(0.0, True, f"the image is too small, below {PATCH_SIDE_PX} pixels a side")
    spectrum, blockiness = _estimate_spectrum(*_sample_patch_dcts(planes)), _jpeg_blockiness(planes)
    if blockiness:
        # `blockiness` is measured at block edges; 1.5 is the ratio of the error inside blocks.
        return NoiseEstimate(max(1.5 * blockiness, _sigma_of(spectrum)), False, "the image has the 8x8 blocks of JPEG")
    if _is_synthetic(planes):
        return NoiseEstimate(0.0, True, "")
    is_correlated = spectrum.tilt > _MIN_TILT and spectrum.middle_sigma > 2 and spectrum.evenness > 0.7
    if is_correlated and min(planes.shape[:2]) >= 2 * PATCH_SIDE_PX:
        reason = "it is correlated between pixels, like camera noise, resized noise and fine texture"
        return NoiseEstimate(_sigma_of(spectrum), False, reason)
    return NoiseEstimate(spectrum.noise_floor, True, "")


def _sigma_of(spectrum: _Spectrum) -> float:
    """Return the sigma of noise that is not white; uneven middle frequencies count as texture."""
    return spectrum.middle_sigma if spectrum.evenness > _MIN_EVENNESS else spectrum.noise_floor


def _to_planes(pixels: Pixels) -> NDArray[np.float32]:
    """Return shape (H, W, C); C is 1 if all channels are equal, else 3."""
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3)) or 0 in pixels.shape:
        raise ValueError(f"pixels must be (height, width) or (height, width, 3), not {pixels.shape}")
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    if planes.shape[2] == 3 and (planes == planes[..., :1]).all():
        planes = planes[..., :1]
    return planes.astype(np.float32, copy=False)


def _sample_patch_dcts(planes: NDArray[np.float32]) -> tuple[FloatArray, FloatArray]:
    """Return the means (patches,) and DCTs (patches, 8, 8) of patches at random positions with a fixed seed."""
    rng, patches_per_channel = np.random.default_rng(0), []
    for channel in range(planes.shape[2]):
        windows = sliding_window_view(planes[..., channel], (PATCH_SIDE_PX, PATCH_SIDE_PX))
        num_positions, count = windows.shape[0] * windows.shape[1], _MAX_PATCHES // planes.shape[2]
        positions = rng.integers(0, num_positions, count) if num_positions > count else np.arange(num_positions)
        patches_per_channel.append(windows[np.divmod(positions, windows.shape[1])])
    patches = np.concatenate(patches_per_channel)
    return patches.mean((1, 2), dtype=np.float64), _DCT_MATRIX @ patches @ _DCT_MATRIX.T


def _estimate_spectrum(means: FloatArray, dcts: FloatArray) -> _Spectrum:
    """Return the spectrum of the noise by fixed-point iteration, because the clipping factor depends on sigma."""
    energies = dcts**2
    low = energies[:, _LOW_FREQUENCY_MASK].sum(1)
    factors, previous, spectrum = np.ones(len(means)), -1.0, _Spectrum(0.0, 0.0, 0.0, 0.0)
    for _ in range(_MAX_ITERATIONS):
        # Correlated noise has more power in the middle frequencies, which are clipped, too.
        usable = np.flatnonzero(_clipping_factor(means, max(spectrum.middle_sigma, 0.1)) > _MIN_CLIPPING_FACTOR)
        if len(usable) == 0:
            break
        order = usable[np.argsort(low[usable] / factors[usable] ** 2, kind="stable")]
        smooth, smoothest = (
            order[: max(_MIN_PATCHES, int(len(order) * fraction))]
            for fraction in (_SMOOTH_FRACTION, _SMOOTHEST_FRACTION)
        )
        high = np.sort((energies[smooth][:, _HIGH_FREQUENCY_MASK] / factors[smooth, None] ** 2).mean(0))
        # Texture decreases with frequency: with many patches, the lowest third contains the least texture. With few
        # patches, the lowest third is biased by chance.
        floor = high[: len(high) // 3] if len(smooth) > 8000 else high
        spectrum = _Spectrum(
            float(np.sqrt(floor.mean())),
            float(np.sqrt(np.median(high))),
            *(
                _median_std(energies[patches][:, _MIDDLE_FREQUENCY_MASK] / factors[patches, None] ** 2)
                for patches in (smooth, smoothest)
            ),
        )
        if abs(spectrum.noise_floor - previous) < 0.002 * max(spectrum.noise_floor, 0.1):
            break
        previous = spectrum.noise_floor
        factors = _clipping_factor(means, max(previous, 0.1))
    return spectrum


def _median_std(energies: FloatArray) -> float:
    return float(np.sqrt(np.median(energies.mean(0))))


def _clipping_factor(means: FloatArray, sigma: float) -> FloatArray:
    """Return the standard deviation after clipping to 0..255 divided by `sigma`, for means after clipping."""
    true = np.linspace(-3 * sigma, 255 + 3 * sigma, 2000)
    low, high = -true / sigma, (255 - true) / sigma
    below = [np.array([(1 + erf(edge / sqrt(2))) / 2 for edge in edges]) for edges in (low, high)]
    inside = below[1] - below[0]
    at_low, at_high = (np.exp(-(edge**2) / 2) / np.sqrt(2 * np.pi) for edge in (low, high))
    mean = true * inside + sigma * (at_low - at_high) + 255 * (1 - below[1])
    square = (
        (true**2 + sigma**2) * inside + sigma * (true * (at_low - at_high) - 255 * at_high) + 255**2 * (1 - below[1])
    )
    factors: FloatArray = np.sqrt(np.maximum(square - mean**2, 0)) / sigma
    return np.interp(means, mean, factors)


def _is_synthetic(planes: NDArray[np.float32]) -> bool:
    """Return whether most neighbors are equal, as in graphics."""
    row_step = 1 + len(planes) // 512
    differences, unclipped = np.diff(planes[::row_step], axis=1), (planes > 0) & (planes < 255)
    counted = differences[unclipped[::row_step, 1:]]
    return counted.size == 0 or bool((counted == 0).mean() > _MAX_EQUAL_NEIGHBOR_FRACTION)


def _jpeg_blockiness(planes: NDArray[np.float32]) -> float:
    """Return the additional difference of neighbors at block edges as a sigma; 0 without JPEG blocks.

    Wang, Bovik and Evans, "Blind measurement of blocking artifacts in images", ICIP 2000, in the pixel domain.
    """
    if min(planes.shape[:2]) < 4 * PATCH_SIDE_PX:
        return 0.0
    phases = sum((_step_energy_by_phase(np.moveaxis(planes, axis, 0)) for axis in (0, 1)), np.zeros(PATCH_SIDE_PX)) / 2
    block_phase = int(phases.argmax())
    others = np.delete(phases, block_phase)
    excess = phases[block_phase] - np.median(others)
    if others.max() == 0:
        return 0.0  # pixel art with enlarged pixels
    if excess < max(0.06 * np.median(others), 4 * others.std()) or excess < 0.01:
        return 0.0
    return float(np.sqrt(excess / 2))


def _step_energy_by_phase(planes: NDArray[np.float32]) -> FloatArray:
    """Return the mean squared differences along the first axis by position modulo 8, shape (8,)."""
    planes = planes[:4096, :: max(1, planes.shape[1] // 256)]
    steps = np.abs(np.diff(planes, axis=0))
    # Large differences are edges of the image rather than block edges.
    steps = np.minimum(steps, np.quantile(steps[:: 1 + len(steps) // 512], 0.8) + 1)
    rows = (steps**2).mean((1, 2), dtype=np.float64)[: len(steps) // PATCH_SIDE_PX * PATCH_SIDE_PX]
    means: FloatArray = rows.reshape(-1, PATCH_SIDE_PX).mean(0)
    return means
