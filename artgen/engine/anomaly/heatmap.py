"""A finding as a picture."""

import numpy as np
from PIL import Image

from artgen.engine.anomaly.result import AnomalyResult
from artgen.images.heatmap import render_heatmap


def render_result(result: AnomalyResult) -> Image.Image:
    """The picture beside its heat map.

    With normal pictures, the scale goes to twice the score from which on a picture is surprising, or to the most that
    this picture has, if that is more; that score is marked. Without, from the least to the most of this picture.
    """
    if result.threshold is None:
        low, high = float(result.heatmap.min()), float(result.heatmap.max())
        ticks = [(0.0, f"{low:.2f}"), (1.0, f"{high:.2f}")]
        caption = f"score {result.score:.2f}, without normal pictures"
    else:
        low, high = 0.0, max(2 * result.threshold, float(result.heatmap.max()))
        ticks = [(0.0, "0"), (result.threshold / high, f"{result.threshold:.2f} alpha"), (1.0, f"{high:.2f}")]
        verdict = "surprising" if result.is_anomalous else "normal"
        caption = f"{verdict}: p = {result.p_value:.3f}, score {result.score:.2f}"
    share = np.clip((result.heatmap - low) / max(high - low, 1e-9), 0, 1)
    return render_heatmap(result.image, Image.fromarray(np.rint(share * 255).astype(np.uint8)), ticks, caption)
