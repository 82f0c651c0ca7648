"""Estimate depth.

Depth Anything V2: Yang et al. 2024, arXiv 2406.09414. DPT: Ranftl et al. 2021, arXiv 2103.13413.
"""

import numpy as np
from PIL import Image

from artgen.engine.loading.transformers_models import ModelWithProcessor


def depth_map(image: Image.Image, model: ModelWithProcessor) -> Image.Image:
    """Return the relative inverse depth, near pixels white, mode RGB, same size.

    Args:
        image: RGB image.
        model: model that estimates inverse depth.
    """
    outputs = model.run(model.processor(images=image, return_tensors="pt"))
    depth = outputs.predicted_depth.float().cpu().numpy()[0]
    resized = np.asarray(Image.fromarray(depth).resize(image.size, Image.Resampling.BICUBIC))
    low, high = float(resized.min()), float(resized.max())
    scaled = (resized - low) * (255 / max(high - low, 1e-12))
    return Image.fromarray(np.rint(scaled).astype(np.uint8)).convert("RGB")
