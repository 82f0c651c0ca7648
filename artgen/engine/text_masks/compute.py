"""Compute the mask that a text selects in an image. Equal masks are computed once per command."""

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
from PIL import Image

from artgen.engine.loading.device import DeviceConfig
from artgen.engine.text_masks.models import load_scorer
from artgen.events import Listener
from artgen.images import text_mask
from artgen.jobs.text_mask_input import TextMaskInput
from artgen.spec.mask_text import phrases
from artgen.system.command_state import register_reset

MAX_CACHED_MASKS = 16


class SelectedPixels(NamedTuple):
    """Store a computed mask.

    Attributes:
        mask: mode L, 255 where the text selects a pixel, in the size of the image.
        highest: highest score of a pixel, 0 to 1; 1 for the mask of a record.
        threshold: smallest score of a selected pixel.
    """

    mask: Image.Image
    highest: float
    threshold: float


_cache: OrderedDict[tuple[object, ...], SelectedPixels] = OrderedDict()


@register_reset
def _clear_cache() -> None:
    _cache.clear()


def compute_mask(source: TextMaskInput, device_config: DeviceConfig, listener: Listener) -> SelectedPixels:
    """Return the mask of a text, from the record, the cache or the mask model.

    Args:
        source: expression, image and model.
        device_config: device of the mask model, which computes in fp32.
        listener: receives the event of the loading.

    Raises:
        ModelUnavailableError: the mask model cannot be loaded.
    """
    if source.selected is not None:
        return SelectedPixels(source.selected, 1.0, source.threshold or 0.0)
    if source.model is None:
        raise ValueError("the mask model is not resolved")
    threshold = source.model.threshold if source.threshold is None else source.threshold
    files = tuple(part.files for part in source.model.parts)
    key = (source.image_sha256, str(source.expression), threshold, source.grow, files)
    if key not in _cache:
        scorer = load_scorer(source.model, device_config.device, listener)
        scores = {text: scorer.scores(source.image, text) for text in phrases(source.expression)}
        selected = text_mask.select_pixels(source.expression, scores, threshold, source.grow)
        mask = Image.fromarray(selected.astype(np.uint8) * np.uint8(255), "L")
        _cache[key] = SelectedPixels(mask, text_mask.highest_score(source.expression, scores), threshold)
        while len(_cache) > MAX_CACHED_MASKS:
            _cache.popitem(last=False)
    _cache.move_to_end(key)
    return _cache[key]
