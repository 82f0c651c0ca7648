"""What is normal: how much normal pictures differ from their reconstructions, and how much they vary in that.

A picture's channels (see `comparing`) are taken as a mean of all pictures, a mean at each place, an offset of the
picture's own, and what is left; its surprise is the squared Mahalanobis distance of what is left, divided by the number
of channels, plus that of its offset. The mean at a place counts as far as it is more than chance (James and Stein,
Estimation with quadratic loss, 1961): all of it for pictures that show a thing at one place, nothing of it for a
texture without a fixed phase. Standardising each place is AnoDDPM's and PaDiM's (Defard et al., ICPR 2021, arXiv
2011.08785); p-values are conformal, with scores of each normal picture among the others (Vovk, Cross-conformal
predictors, 2015, arXiv 1208.0806).
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
"""Pictures that the deviation over all places counts for, beside a place's own."""
RIDGE_FRACTION = 0.01
"""Added to the correlations of channels, as a share of their mean variance."""
NUM_FOLDS = 20
"""Parts of the normal pictures, each scored by the others; with as many pictures or fewer, one by one."""
MAX_COVARIANCE_SAMPLES = 200_000
"""Places, of all pictures, from which correlations of channels are taken."""
STANDARD_NORMAL_MAD = 0.6745
"""The median of the absolute values of a normal variable of deviation 1."""
MIN_DEVIATION = 0.1
"""Deviation of the logarithm of a distance, at least, where a picture is taken beside itself."""
TOP_FRACTION = 0.02
"""The share of places, most surprising first, whose mean is a picture's score."""
SMOOTHING_SIGMA_CELLS = 1.0
"""Standard deviation in places of the Gaussian over a map."""


@dataclass(frozen=True)
class AnomalyMap:
    """How surprising a picture is: `score` and where, `cells` (rows, columns) of the same unit.

    The unit is a standard deviation, of normal pictures or where there are none of the picture's own places; 1 is
    usual. With a prompt and nothing else, see `unfitted`.
    """

    score: float
    cells: FloatArray


@dataclass(frozen=True)
class NormalStatistics:
    """The statistics of normal pictures.

    Attributes:
        mean: (channels,).
        places: (channels, rows, columns), the mean at each place beside it; of one row and column where pictures have
            different sizes.
        deviation: the same shape.
        whitening: (channels, channels), lower triangular: makes standardised channels uncorrelated with variance 1.
        offset: (channels,), the standard deviation of pictures' own offsets.
    """

    mean: FloatArray
    places: FloatArray
    deviation: FloatArray
    whitening: FloatArray
    offset: FloatArray

    @classmethod
    def fit(cls, feature_maps: Sequence[NDArray[np.floating]], *, per_cell: bool = True) -> Self:
        """From (channels, rows, columns) of each normal picture, two or more.

        Args:
            feature_maps: of one shape, if `per_cell`.
            per_cell: whether each place gets statistics of its own.
        """
        means = np.stack([maps.mean((1, 2), dtype=np.float64) for maps in feature_maps])
        mean = means.mean(0)
        rest = [(maps - own[:, None, None]).astype(np.float32) for maps, own in zip(feature_maps, means, strict=True)]
        places, deviation = _per_cell_statistics(np.stack(rest)) if per_cell else _pooled_statistics(rest)
        every = -(-sum(each[0].size for each in rest) // MAX_COVARIANCE_SAMPLES)
        columns = np.concatenate([((each - places) / deviation).reshape(len(mean), -1)[:, ::every] for each in rest], 1)
        covariance = np.cov(columns)
        covariance += np.eye(len(mean)) * RIDGE_FRACTION * np.trace(covariance) / len(mean)
        spread = np.sqrt((deviation**2).mean((1, 2)))
        offset = np.maximum(means.std(0, ddof=1), 0.3 * spread)
        whitening: FloatArray = np.linalg.inv(np.linalg.cholesky(covariance)).astype(np.float64)
        return cls(mean, places, deviation, whitening, offset)

    def score(self, maps: NDArray[np.floating]) -> AnomalyMap:
        """Of a picture of (channels, rows, columns), the places as many as here where each has its own statistics."""
        rest = maps - self.mean[:, None, None] - self.places
        # The median: what is wrong in a part is no property of the whole.
        own = np.median(rest, axis=(1, 2))
        standard = ((rest - own[:, None, None]) / self.deviation).reshape(len(maps), -1)
        places = ((self.whitening @ standard) ** 2).mean(0).reshape(maps.shape[1:])
        return _to_anomaly_map(places, float(((own / self.offset) ** 2).mean()))


def fit_statistics(
    feature_maps: Sequence[NDArray[np.floating]], *, per_cell: bool = True
) -> tuple[NormalStatistics, FloatArray]:
    """The statistics of normal pictures (see `Normality.learn`), and the score of each by those of the others."""
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
    """How often a normal picture is at least as surprising: (1 + how many of n are) / (n + 1).

    Laxhammar and Falkman, Conformal prediction for distribution-independent anomaly detection in streaming vessel data,
    2010; Bates et al., Testing for outliers with conformal p-values, Annals of Statistics 2023, arXiv 2104.08279.
    """
    return float((1 + (calibration_scores >= score).sum()) / (len(calibration_scores) + 1))


def score_without_fit(feature_maps: FeatureMaps) -> AnomalyMap:
    """Where nothing is known of normal pictures: by the prompt, or else of a picture beside itself.

    With a prompt, the mean ratio of `Reconstruction`: above 0, the model explains the picture better without it.
    Without one, places that are unlike most others of the picture: the squared Mahalanobis distance of a place's
    distances from those of the whole picture (Reed and Yu, Adaptive multiple-band CFAR detection, IEEE TASSP 38(10),
    1990), standardised by medians, which a defect hardly moves.
    """
    if feature_maps.likelihood_ratio is not None:
        ratio = feature_maps.likelihood_ratio.mean(0, dtype=np.float64)
        return AnomalyMap(float(ratio.mean()), ratio)
    maps = feature_maps.distances.astype(np.float64)
    rest = (maps - np.median(maps, axis=(1, 2), keepdims=True)).reshape(len(maps), -1)
    deviation = np.median(np.abs(rest), axis=1, keepdims=True) / STANDARD_NORMAL_MAD + MIN_DEVIATION
    standard = rest / deviation
    covariance = np.corrcoef(standard) + np.eye(len(maps)) * 0.05
    squares = (np.linalg.inv(np.linalg.cholesky(covariance)) @ standard) ** 2
    return _to_anomaly_map(squares.mean(0).reshape(maps.shape[1:]), 0.0)


def _to_anomaly_map(squared_distances: FloatArray, squared_offset: float) -> AnomalyMap:
    places = np.sqrt(gaussian_filter(squared_distances, SMOOTHING_SIGMA_CELLS, mode="mirror"))
    top = np.sort(places, axis=None)[-max(1, round(TOP_FRACTION * places.size)) :]
    return AnomalyMap(float(np.sqrt(top.mean() ** 2 + squared_offset / 4)), places)


def _per_cell_statistics(residuals: NDArray[np.float32]) -> tuple[FloatArray, FloatArray]:
    """Means and deviations at each place, of (pictures, channels, rows, columns)."""
    count = len(residuals)
    found = residuals.mean(0)
    by_chance = residuals.var(0, ddof=1).mean((1, 2)) / count
    kept = np.clip(1 - by_chance / np.maximum((found**2).mean((1, 2)), 1e-12), 0, 1)
    places = found * kept[:, None, None]
    squares = gaussian_filter(
        ((residuals - places) ** 2).mean(0), (0, SMOOTHING_SIGMA_CELLS, SMOOTHING_SIGMA_CELLS), mode="mirror"
    )
    overall = squares.mean((1, 2), keepdims=True)
    return places, np.sqrt((count * squares + PRIOR_COUNT * overall) / (count + PRIOR_COUNT) + 1e-12)


def _pooled_statistics(residuals: Sequence[NDArray[np.float32]]) -> tuple[FloatArray, FloatArray]:
    """One deviation for each channel, over all places of all pictures."""
    squares = sum((each**2).sum((1, 2)) for each in residuals) / sum(each[0].size for each in residuals)
    deviation = np.sqrt(squares + 1e-12)[:, None, None]
    return np.zeros_like(deviation), deviation
