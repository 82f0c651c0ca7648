"""Define what the computation of a text mask needs."""

from dataclasses import dataclass

from PIL import Image

from artgen.registry.mask_models import MaskModel
from artgen.spec.mask_text import MaskExpression


@dataclass(frozen=True)
class TextMaskInput:
    """Store an expression and the image in which the mask model searches it.

    Attributes:
        expression: parsed text.
        image: RGB, in the size of the file.
        image_sha256: SHA-256 of the file, 64 hex digits.
        threshold: smallest score of a selected pixel; None is the default of the model.
        grow: growth in pixels of `image`; negative shrinks.
        model: mask model; None until it is resolved.
        selected: known mask, mode L, 255 where the text selects a pixel, in the size of `image`; None if it must be
            computed.
    """

    expression: MaskExpression
    image: Image.Image
    image_sha256: str
    threshold: float | None
    grow: int
    model: MaskModel | None = None
    selected: Image.Image | None = None
