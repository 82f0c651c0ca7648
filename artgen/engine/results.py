"""What becomes of a request: a picture, or a failure that says why."""

from dataclasses import dataclass
from typing import Any

from PIL import Image

from artgen.errors import ArtgenError
from artgen.spec.requests import Request


@dataclass(frozen=True)
class GeneratedImage:
    """A picture that was made.

    Attributes:
        image: RGB, at the size asked for; denoised pictures have their file's mode.
        record: the flat JSON record of what ran; `artgen.spec.records.from_record` turns it into a request again.
        request: the complete request.
        low_bytes: the lower bytes of a picture with 16 bits a channel, whose upper ones are `image`; None for 8 bits.
        frames: how it came about, the last the picture itself; empty unless they were asked for.
    """

    image: Image.Image
    record: dict[str, Any]
    request: Request
    low_bytes: Image.Image | None = None
    frames: tuple[Image.Image, ...] = ()


@dataclass(frozen=True)
class FailedImage:
    """A picture that was not made, and why."""

    request: Request
    error: ArtgenError
