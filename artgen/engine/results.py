"""Define the result of a request: an image or a failure."""

from dataclasses import dataclass
from typing import Any

from PIL import Image

from artgen.errors import ArtgenError, WrongSizeError
from artgen.spec.base_requests import Request


@dataclass(frozen=True)
class GeneratedImage:
    """Represent a generated or denoised image.

    Attributes:
        image: Image of the requested size, mode RGB. Results of inpaint, outpaint and denoise have the mode, the
            transparency and the color profile (`image.info`) of the input file; results of img2img its transparency.
        record: Flat JSON record of the used values. `artgen.spec.records.from_record` converts it to a request.
        request: Complete request.
        low_bytes: Low bytes of a 16-bit image; `image` contains the high bytes. None for an 8-bit image.
        frames: Intermediate steps. The last frame is the image itself, in 8-bit sRGB. Empty if no frames were
            requested.
    """

    image: Image.Image
    record: dict[str, Any]
    request: Request
    low_bytes: Image.Image | None = None
    frames: tuple[Image.Image, ...] = ()


@dataclass(frozen=True)
class FailedImage:
    """Represent a request that failed.

    Attributes:
        request: The request.
        error: The reason of the failure.
    """

    request: Request
    error: ArtgenError


def wrong_size_error(size: tuple[int, int], expected: tuple[int, int]) -> WrongSizeError:
    """Return the error for an image whose width and height in pixels are not the expected ones."""
    return WrongSizeError(
        f"The model generated {size[0]}x{size[1]} pixels instead of {expected[0]}x{expected[1]}.",
        "Choose another model. If the model is right, report this as a bug of artgen.",
    )
