"""A finding as a picture."""

import numpy as np
from PIL import Image

from artgen.engine.anomaly import Finding
from artgen.heat import heat_sheet


def draw(found: Finding) -> Image.Image:
    """The picture beside its heat map.

    With normal pictures, the scale goes to twice the score from which on a picture is surprising, or to the most that
    this picture has, if that is more; that score is marked. Without, from the least to the most of this picture.
    """
    if found.threshold is None:
        low, high = float(found.heat.min()), float(found.heat.max())
        ticks = [(0.0, f"{low:.2f}"), (1.0, f"{high:.2f}")]
        caption = f"score {found.score:.2f}, without normal pictures"
    else:
        low, high = 0.0, max(2 * found.threshold, float(found.heat.max()))
        ticks = [(0.0, "0"), (found.threshold / high, f"{found.threshold:.2f} alpha"), (1.0, f"{high:.2f}")]
        verdict = "surprising" if found.surprising else "normal"
        caption = f"{verdict}: p = {found.p_value:.3f}, score {found.score:.2f}"
    share = np.clip((found.heat - low) / max(high - low, 1e-9), 0, 1)
    return heat_sheet(found.image, Image.fromarray(np.rint(share * 255).astype(np.uint8)), ticks, caption)
