"""Define the interface of the two sources of labels: the judge of the bundled model, and CLIP models."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image
from prompt_list import Prompt

UNCLEAR = "unclear"
"""Label of an image for which no label is probable enough."""


class LabeledImages(NamedTuple):
    """Store the labels of images.

    Attributes:
        labels: attribute -> label of each image.
        features: features of the images, float32 of shape (images, n).
    """

    labels: list[dict[str, str]]
    features: np.ndarray


class Labeler(Protocol):
    """Label images."""

    @property
    def description(self) -> Mapping[str, Any]:
        """Return the source, the hash and the measured accuracy of the labels, for the report."""

    def label(self, images: Sequence[Image.Image], prompts: Sequence[Prompt]) -> LabeledImages:
        """Label images. `prompts` has the prompt of each image."""
