"""What becomes of a request: a picture, or a failure that says why."""

from dataclasses import dataclass
from typing import Any

from PIL import Image

from artgen.errors import ArtgenError
from artgen.requests import Request


@dataclass(frozen=True)
class Picture:
    """A picture that was made.

    Attributes:
        image: RGB, at the size asked for.
        record: the flat JSON record of what ran; `artgen.records.from_record` turns it into a request again.
        request: the complete request.
    """

    image: Image.Image
    record: dict[str, Any]
    request: Request


@dataclass(frozen=True)
class Failure:
    """A picture that was not made, and why."""

    request: Request
    error: ArtgenError
