"""Render an anomaly result as an image."""

import numpy as np
from PIL import Image

from artgen.engine.anomaly.result import AnomalyResult
from artgen.images.heatmap import render_heatmap


def render_result(result: AnomalyResult) -> Image.Image:
    """Return the image beside its heat map.

    With a fit, the scale ranges from 0 to twice the threshold, or to the maximum of the heat map if it is higher; the
    threshold is marked. Without a fit, the scale ranges from the minimum to the maximum of the heat map.
    """
    if result.threshold is None:
        low, high = float(result.heatmap.min()), float(result.heatmap.max())
        ticks = [(0.0, f"{low:.2f}"), (1.0, f"{high:.2f}")]
        caption = f"score {result.score:.2f}, without normal images"
    else:
        low, high = 0.0, max(2 * result.threshold, float(result.heatmap.max()))
        ticks = [(0.0, "0"), (result.threshold / high, f"{result.threshold:.2f} alpha"), (1.0, f"{high:.2f}")]
        verdict = "anomalous" if result.is_anomalous else "normal"
        caption = f"{verdict}: p = {result.p_value:.3f}, score {result.score:.2f}"
    relative = np.clip((result.heatmap - low) / max(high - low, 1e-9), 0, 1)
    return render_heatmap(result.image, Image.fromarray(np.rint(relative * 255).astype(np.uint8)), ticks, caption)
