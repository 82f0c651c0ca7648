"""Fit statistics of normal images and score images against them.

The feature maps of an image are modeled as the sum of a mean over all images, a mean for each cell, an offset of the
image, and a residual. The score is the squared Mahalanobis distance of the residual, divided by the number of channels,
plus the distance of the offset. The cell means are shrunk by the fraction that is due to chance (James and Stein,
"Estimation with quadratic loss", 1961): images of an object at a fixed position keep their cell means, textures with a
random phase have none. Standardization of each cell follows AnoDDPM and PaDiM (Defard et al., ICPR 2021, arXiv
2011.08785). P-values are conformal; the calibration scores are cross-validated (Vovk, "Cross-conformal predictors",
2015, arXiv 1208.0806).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from artgen.engine.anomaly.features import FeatureMaps

FloatArray = NDArray[np.float64]

PRIOR_COUNT = 8
"""Weight of the mean variance over all cells in the variance of a cell, in images."""
RIDGE_FRACTION = 0.01
"""Value added to the diagonal of the channel covariance, divided by the mean variance."""
NUM_FOLDS = 20
"""Folds of the cross-validated calibration scores; leave-one-out for fewer images."""
MAX_COVARIANCE_SAMPLES = 200_000
"""Upper bound of the number of cells, of all images, in the channel covariance."""
MIN_OFFSET_FRACTION = 0.3
"""Lower bound of the standard deviation of offsets, divided by the standard deviation of cells."""
STANDARD_NORMAL_MAD = 0.6745
"""Median absolute deviation of the standard normal distribution."""
MIN_DEVIATION = 0.1
"""Lower bound of the standard deviation of a log distance, for scores without a fit."""
UNFITTED_RIDGE = 0.05
"""Value added to the diagonal of the channel correlation, for scores without a fit."""
TOP_FRACTION = 0.02
"""Fraction of the most anomalous cells whose mean is the score of an image."""
SMOOTHING_SIGMA_CELLS = 1.0
"""Standard deviation of the Gaussian that smooths a map, in cells."""


@dataclass(frozen=True)
class AnomalyMap:
    """Store the anomaly of an image.

    Attributes:
        score: anomaly of the image, in standard deviations of normal images (without a fit: of the image's own cells);
            1 is normal. For scores with a prompt and without a fit, see `score_without_fit`.
        cells: anomaly of each cell in the unit of `score`, shape (rows, columns).
    """

    score: float
    cells: FloatArray


@dataclass(frozen=True)
class NormalStatistics:
    """Store the statistics of normal images.

    Attributes:
        mean: mean over all images and cells, shape (channels,).
        cell_mean: mean of each cell relative to `mean`, shape (channels, rows, columns); one row and one column if the
            images have different sizes.
        deviation: standard deviation of each cell, the shape of `cell_mean`.
        whitening: lower triangular matrix that makes standardized channels uncorrelated with variance 1, shape
            (channels, channels).
        offset: standard deviation of the image offsets, shape (channels,).
    """

    mean: FloatArray
    cell_mean: FloatArray
    deviation: FloatArray
    whitening: FloatArray
    offset: FloatArray

    @classmethod
    def fit(cls, feature_maps: Sequence[NDArray[np.floating]], *, per_cell: bool = True) -> Self:
        """Return the statistics of at least two normal images.

        Args:
            feature_maps: one array (channels, rows, columns) for each image; equal shapes with `per_cell`.
            per_cell: True for separate statistics of each cell.
        """
        image_means = np.stack([maps.mean((1, 2), dtype=np.float64) for maps in feature_maps])
        mean = image_means.mean(0)
        residuals = [
            (maps - image_mean[:, None, None]).astype(np.float32)
            for maps, image_mean in zip(feature_maps, image_means, strict=True)
        ]
        cell_mean, deviation = _per_cell_statistics(np.stack(residuals)) if per_cell else _pooled_statistics(residuals)
        interval = -(-sum(each[0].size for each in residuals) // MAX_COVARIANCE_SAMPLES)
        standardized = [((each - cell_mean) / deviation).reshape(len(mean), -1)[:, ::interval] for each in residuals]
        covariance = np.cov(np.concatenate(standardized, 1))
        covariance += np.eye(len(mean)) * RIDGE_FRACTION * np.trace(covariance) / len(mean)
        whitening: FloatArray = np.linalg.inv(np.linalg.cholesky(covariance)).astype(np.float64)
        cell_std = np.sqrt((deviation**2).mean((1, 2)))
        offset = np.maximum(image_means.std(0, ddof=1), MIN_OFFSET_FRACTION * cell_std)
        return cls(mean, cell_mean, deviation, whitening, offset)

    def score(self, maps: NDArray[np.floating]) -> AnomalyMap:
        """Return the anomaly of an image from its feature maps (channels, rows, columns)."""
        residual = maps - self.mean[:, None, None] - self.cell_mean
        # The median is robust against a local anomaly.
        image_offset = np.median(residual, axis=(1, 2))
        standardized = ((residual - image_offset[:, None, None]) / self.deviation).reshape(len(maps), -1)
        cells = ((self.whitening @ standardized) ** 2).mean(0).reshape(maps.shape[1:])
        return _to_anomaly_map(cells, float(((image_offset / self.offset) ** 2).mean()))


def fit_statistics(
    feature_maps: Sequence[NDArray[np.floating]], *, per_cell: bool = True
) -> tuple[NormalStatistics, FloatArray]:
    """Return the statistics of normal images, and the cross-validated score of each image, shape (images,)."""
    count = len(feature_maps)
    scores = np.empty(count)
    for fold in range(min(NUM_FOLDS, count)):
        others = NormalStatistics.fit(
            [feature_maps[i] for i in range(count) if i % NUM_FOLDS != fold], per_cell=per_cell
        )
        for i in range(fold, count, NUM_FOLDS):
            scores[i] = others.score(feature_maps[i]).score
    return NormalStatistics.fit(feature_maps, per_cell=per_cell), scores


def p_value(score: float, calibration_scores: FloatArray) -> float:
    """Return the conformal p-value of a score: (1 + number of calibration scores at or above it) / (n + 1).

    Laxhammar and Falkman, "Conformal prediction for distribution-independent anomaly detection in streaming vessel
    data", 2010; Bates et al., "Testing for outliers with conformal p-values", Annals of Statistics 2023, arXiv
    2104.08279.
    """
    return float((1 + (calibration_scores >= score).sum()) / (len(calibration_scores) + 1))


def score_without_fit(feature_maps: FeatureMaps) -> AnomalyMap:
    """Return the anomaly of an image without normal images.

    With a prompt: the mean likelihood ratio; above 0, the model explains the image better without the prompt. Without a
    prompt: the squared Mahalanobis distance of each cell's distances from the other cells of the image (Reed and Yu,
    "Adaptive multiple-band CFAR detection", IEEE TASSP 38(10), 1990). Medians standardize the distances, because they
    are robust against a local anomaly.
    """
    if feature_maps.likelihood_ratio is not None:
        ratio = feature_maps.likelihood_ratio.mean(0, dtype=np.float64)
        return AnomalyMap(float(ratio.mean()), ratio)
    maps = feature_maps.distances.astype(np.float64)
    residual = (maps - np.median(maps, axis=(1, 2), keepdims=True)).reshape(len(maps), -1)
    deviation = np.median(np.abs(residual), axis=1, keepdims=True) / STANDARD_NORMAL_MAD + MIN_DEVIATION
    standardized = residual / deviation
    correlation = np.corrcoef(standardized) + np.eye(len(maps)) * UNFITTED_RIDGE
    squares = (np.linalg.inv(np.linalg.cholesky(correlation)) @ standardized) ** 2
    return _to_anomaly_map(squares.mean(0).reshape(maps.shape[1:]), 0.0)


def _to_anomaly_map(squared_distances: FloatArray, squared_offset: float) -> AnomalyMap:
    cells = np.sqrt(gaussian_filter(squared_distances, SMOOTHING_SIGMA_CELLS, mode="mirror"))
    top = np.sort(cells, axis=None)[-max(1, round(TOP_FRACTION * cells.size)) :]
    return AnomalyMap(float(np.sqrt(top.mean() ** 2 + squared_offset / 4)), cells)


def _per_cell_statistics(residuals: NDArray[np.float32]) -> tuple[FloatArray, FloatArray]:
    """Return the mean and the standard deviation of each cell from residuals (images, channels, rows, columns)."""
    count = len(residuals)
    means = residuals.mean(0)
    chance_variance = residuals.var(0, ddof=1).mean((1, 2)) / count
    shrinkage = np.clip(1 - chance_variance / np.maximum((means**2).mean((1, 2)), 1e-12), 0, 1)
    cell_mean = means * shrinkage[:, None, None]
    variance = gaussian_filter(
        ((residuals - cell_mean) ** 2).mean(0), (0, SMOOTHING_SIGMA_CELLS, SMOOTHING_SIGMA_CELLS), mode="mirror"
    )
    mean_variance = variance.mean((1, 2), keepdims=True)
    return cell_mean, np.sqrt((count * variance + PRIOR_COUNT * mean_variance) / (count + PRIOR_COUNT) + 1e-12)


def _pooled_statistics(residuals: Sequence[NDArray[np.float32]]) -> tuple[FloatArray, FloatArray]:
    """Return zero means and one standard deviation for each channel, over all cells of all images."""
    variance = sum((each**2).sum((1, 2)) for each in residuals) / sum(each[0].size for each in residuals)
    deviation = np.sqrt(variance + 1e-12)[:, None, None]
    return np.zeros_like(deviation), deviation
