"""Define the result of an anomaly search."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class AnomalyResult:
    """Store the anomaly score and heat map of an image.

    Attributes:
        path: image file.
        image: image in mode RGB, at the size of the file.
        heatmap: anomaly of each pixel in the unit of `score`, shape (H, W), float32.
        score: mean of the most anomalous 2 % of the grid cells, 0 or higher; 1 is normal. With a prompt and without a
            fit: mean likelihood ratio, above 0 if the model explains the image better without the prompt.
        p_value: fraction of normal images with at least this score; None without a fit.
        threshold: lowest score of an anomalous image; None without a fit.
        alpha: significance level: the image is anomalous if p_value <= alpha.
    """

    path: Path
    image: Image.Image
    heatmap: NDArray[np.float32]
    score: float
    p_value: float | None
    threshold: float | None
    alpha: float

    @property
    def is_anomalous(self) -> bool | None:
        """Return whether p_value <= alpha; None without a fit."""
        return None if self.p_value is None else self.p_value <= self.alpha

    @property
    def peak_xy(self) -> tuple[int, int]:
        """Return (x, y) of the most anomalous pixel."""
        y, x = np.unravel_index(int(self.heatmap.argmax()), self.heatmap.shape)
        return int(x), int(y)
