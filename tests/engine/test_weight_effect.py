"""Test with the bundled model that a word with a higher weight is stronger in the image, and with a lower one weaker.

`tests/benchmarks/prompt_weights.py` measures more prompts, and both rules at more weights.
"""

import numpy as np
import pytest
from PIL import Image

from artgen import GeneratedImage, Txt2Img, generate_all

SEEDS = (0, 1, 2)


def blue(image: Image.Image) -> float:
    """Return the mean excess of blue over red and green, in gray levels."""
    pixels = np.asarray(image).astype(int)
    return float(np.maximum(pixels[..., 2] - pixels[..., :2].max(axis=2), 0).mean())


@pytest.mark.parametrize("rule", ["a1111", "comfy"])
def test_a_color_is_stronger_with_a_higher_weight_and_weaker_with_a_lower_one(rule: str) -> None:
    amounts = []
    for weight in (0.5, 1.0, 1.5):
        requests = [
            Txt2Img(prompt=f"a (blue:{weight}) house", seed=seed, steps=8, model="tiny", prompt_weights=rule)
            for seed in SEEDS
        ]
        outcomes = [each for each in generate_all(requests, batch_size=3) if isinstance(each, GeneratedImage)]
        amounts.append([blue(each.image) for each in outcomes])
    for weak, plain, strong in zip(*amounts, strict=True):
        assert 1.1 * weak < plain
        assert 1.1 * plain < strong
