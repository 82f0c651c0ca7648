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

from artgen.engine.anomalies.comparing import Comparison

Floats = NDArray[np.float64]

PRIOR = 8
"""Pictures that the deviation over all places counts for, beside a place's own."""
RIDGE = 0.01
"""Added to the correlations of channels, as a share of their mean variance."""
FOLDS = 20
"""Parts of the normal pictures, each scored by the others; with as many pictures or fewer, one by one."""
COLUMNS = 200_000
"""Places, of all pictures, from which correlations of channels are taken."""
NORMAL_QUARTILE = 0.6745
"""The median of the absolute values of a normal variable of deviation 1."""
LEAST = 0.1
"""Deviation of the logarithm of a distance, at least, where a picture is taken beside itself."""
TOP = 0.02
"""The share of places, most surprising first, whose mean is a picture's score."""
SMOOTHING = 1.0
"""Standard deviation in places of the Gaussian over a map."""


@dataclass(frozen=True)
class Surprise:
    """How surprising a picture is: `score` and where, `places` (rows, columns) of the same unit.

    The unit is a standard deviation, of normal pictures or where there are none of the picture's own places; 1 is
    usual. With a prompt and nothing else, see `unfitted`.
    """

    score: float
    places: Floats


@dataclass(frozen=True)
class Normality:
    """The statistics of normal pictures.

    Attributes:
        mean: (channels,).
        places: (channels, rows, columns), the mean at each place beside it; of one row and column where pictures have
            different sizes.
        deviation: the same shape.
        whitening: (channels, channels), lower triangular: makes standardised channels uncorrelated with variance 1.
        offset: (channels,), the standard deviation of pictures' own offsets.
    """

    mean: Floats
    places: Floats
    deviation: Floats
    whitening: Floats
    offset: Floats

    @classmethod
    def learn(cls, pictures: Sequence[NDArray[np.floating]], *, local: bool = True) -> Self:
        """From (channels, rows, columns) of each normal picture, two or more.

        Args:
            pictures: of one shape, if `local`.
            local: whether each place gets statistics of its own.
        """
        means = np.stack([maps.mean((1, 2), dtype=np.float64) for maps in pictures])
        mean = means.mean(0)
        rest = [(maps - own[:, None, None]).astype(np.float32) for maps, own in zip(pictures, means, strict=True)]
        places, deviation = _at_places(np.stack(rest)) if local else _overall(rest)
        every = -(-sum(each[0].size for each in rest) // COLUMNS)
        columns = np.concatenate([((each - places) / deviation).reshape(len(mean), -1)[:, ::every] for each in rest], 1)
        covariance = np.cov(columns)
        covariance += np.eye(len(mean)) * RIDGE * np.trace(covariance) / len(mean)
        spread = np.sqrt((deviation**2).mean((1, 2)))
        offset = np.maximum(means.std(0, ddof=1), 0.3 * spread)
        whitening: Floats = np.linalg.inv(np.linalg.cholesky(covariance)).astype(np.float64)
        return cls(mean, places, deviation, whitening, offset)

    def surprise(self, maps: NDArray[np.floating]) -> Surprise:
        """Of a picture of (channels, rows, columns), the places as many as here where each has its own statistics."""
        rest = maps - self.mean[:, None, None] - self.places
        # The median: what is wrong in a part is no property of the whole.
        own = np.median(rest, axis=(1, 2))
        standard = ((rest - own[:, None, None]) / self.deviation).reshape(len(maps), -1)
        places = ((self.whitening @ standard) ** 2).mean(0).reshape(maps.shape[1:])
        return _surprise(places, float(((own / self.offset) ** 2).mean()))


def learn(pictures: Sequence[NDArray[np.floating]], *, local: bool = True) -> tuple[Normality, Floats]:
    """The statistics of normal pictures (see `Normality.learn`), and the score of each by those of the others."""
    count = len(pictures)
    scores = np.empty(count)
    for fold in range(min(FOLDS, count)):
        others = Normality.learn([pictures[i] for i in range(count) if i % FOLDS != fold], local=local)
        for i in range(fold, count, FOLDS):
            scores[i] = others.surprise(pictures[i]).score
    return Normality.learn(pictures, local=local), scores


def p_value(score: float, normal: Floats) -> float:
    """How often a normal picture is at least as surprising: (1 + how many of n are) / (n + 1).

    Laxhammar and Falkman, Conformal prediction for distribution-independent anomaly detection in streaming vessel data,
    2010; Bates et al., Testing for outliers with conformal p-values, Annals of Statistics 2023, arXiv 2104.08279.
    """
    return float((1 + (normal >= score).sum()) / (len(normal) + 1))


def unfitted(comparison: Comparison) -> Surprise:
    """Where nothing is known of normal pictures: by the prompt, or else of a picture beside itself.

    With a prompt, the mean ratio of `Reconstruction`: above 0, the model explains the picture better without it.
    Without one, places that are unlike most others of the picture: the squared Mahalanobis distance of a place's
    distances from those of the whole picture (Reed and Yu, Adaptive multiple-band CFAR detection, IEEE TASSP 38(10),
    1990), standardised by medians, which a defect hardly moves.
    """
    if comparison.ratio is not None:
        ratio = comparison.ratio.mean(0, dtype=np.float64)
        return Surprise(float(ratio.mean()), ratio)
    maps = comparison.distances.astype(np.float64)
    rest = (maps - np.median(maps, axis=(1, 2), keepdims=True)).reshape(len(maps), -1)
    deviation = np.median(np.abs(rest), axis=1, keepdims=True) / NORMAL_QUARTILE + LEAST
    standard = rest / deviation
    covariance = np.corrcoef(standard) + np.eye(len(maps)) * 0.05
    squares = (np.linalg.inv(np.linalg.cholesky(covariance)) @ standard) ** 2
    return _surprise(squares.mean(0).reshape(maps.shape[1:]), 0.0)


def _surprise(squares: Floats, whole: float) -> Surprise:
    places = np.sqrt(gaussian_filter(squares, SMOOTHING, mode="mirror"))
    top = np.sort(places, axis=None)[-max(1, round(TOP * places.size)) :]
    return Surprise(float(np.sqrt(top.mean() ** 2 + whole / 4)), places)


def _at_places(rest: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Means and deviations at each place, of (pictures, channels, rows, columns)."""
    count = len(rest)
    found = rest.mean(0)
    by_chance = rest.var(0, ddof=1).mean((1, 2)) / count
    kept = np.clip(1 - by_chance / np.maximum((found**2).mean((1, 2)), 1e-12), 0, 1)
    places = found * kept[:, None, None]
    squares = gaussian_filter(((rest - places) ** 2).mean(0), (0, SMOOTHING, SMOOTHING), mode="mirror")
    overall = squares.mean((1, 2), keepdims=True)
    return places, np.sqrt((count * squares + PRIOR * overall) / (count + PRIOR) + 1e-12)


def _overall(rest: Sequence[NDArray[np.float32]]) -> tuple[Floats, Floats]:
    """One deviation for each channel, over all places of all pictures."""
    squares = sum((each**2).sum((1, 2)) for each in rest) / sum(each[0].size for each in rest)
    deviation = np.sqrt(squares + 1e-12)[:, None, None]
    return np.zeros_like(deviation), deviation
