"""Define the result of an anomaly search."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class AnomalyResult:
    """What was found in one picture.

    Attributes:
        path: its file.
        image: mode RGB, as it was looked at, at the size of the file.
        heatmap: (height, width), float32: how surprising each pixel is, in the unit of `score`.
        score: the mean of the most surprising fiftieth of places, 0 up and 1 usual; with a prompt and nothing normal,
            above 0 where the model explains the picture better without the prompt.
        p_value: how often a normal picture is at least as surprising; None where nothing normal was given.
        threshold: the score from which on a picture is surprising; None likewise.
        alpha: what the p-value is held to.
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
        """The verdict; None where nothing normal was given."""
        return None if self.p_value is None else self.p_value <= self.alpha

    @property
    def peak_xy(self) -> tuple[int, int]:
        """(x, y) of the most surprising pixel."""
        y, x = np.unravel_index(int(self.heatmap.argmax()), self.heatmap.shape)
        return int(x), int(y)
