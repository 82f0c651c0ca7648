"""Create the responses of OpenAI's images API, and serve the images of `response_format` `url`."""

import base64
import io
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from artgen.metadata.content_credentials.manifest import Parent
from artgen.metadata.content_credentials.signing import sign_image
from artgen.outputs.encoding import DEFAULT_QUALITY, EncodingOptions, encode_unsigned
from artgen.server.openai.fields import ImagesRequest

if TYPE_CHECKING:
    from artgen.server.job_queue import JobImage

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
SUFFIXES = {"png": "png", "jpeg": "jpg", "webp": "webp"}

LINK_SECONDS = 3600
"""Time after which a link expires, as in OpenAI's API."""

MAX_LINKED_BYTES = 128 << 20
"""Size of all linked images. The oldest links expire first."""


@dataclass(frozen=True)
class LinkedImage:
    """Store an image to which a link points.

    Attributes:
        content: bytes of the file.
        media_type: media type of the file.
        expires: time in seconds of `time.monotonic`.
    """

    content: bytes
    media_type: str
    expires: float


class ImageLinks:
    """Store the images of links. A name has 128 random bits, so that a link needs no token. Thread-safe."""

    def __init__(self, max_bytes: int = MAX_LINKED_BYTES, seconds: float = LINK_SECONDS) -> None:
        """Create an empty store.

        Args:
            max_bytes: size of all images. The newest image is kept if it is larger.
            seconds: time after which a link expires.
        """
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._images: OrderedDict[str, LinkedImage] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, content: bytes, output_format: str) -> str:
        """Store an image. Return its file name in the link."""
        name = f"{secrets.token_hex(16)}.{SUFFIXES[output_format]}"
        now = time.monotonic()
        with self._lock:
            self._images[name] = LinkedImage(content, MEDIA_TYPES[output_format], now + self._seconds)
            while len(self._images) > 1 and (self._num_bytes() > self._max_bytes or self._first().expires < now):
                self._images.popitem(last=False)
        return name

    def get(self, name: str) -> LinkedImage | None:
        """Return an image; None if the name is unknown or the link has expired."""
        with self._lock:
            image = self._images.get(name)
        return image if image is not None and image.expires > time.monotonic() else None

    def _first(self) -> LinkedImage:
        return next(iter(self._images.values()))

    def _num_bytes(self) -> int:
        return sum(len(image.content) for image in self._images.values())


def images_body(
    request: ImagesRequest, images: Sequence["JobImage"], created: float, link: tuple[ImageLinks, str]
) -> dict[str, Any]:
    """Return the JSON body of a response.

    Args:
        request: request.
        images: images of the job.
        created: time of the job in seconds of `time.time`.
        link: store of the linked images, and the address of the server as the client used it, such as
            `http://127.0.0.1:7860`.
    """
    links, base_url = link
    data = []
    for image in images:
        content = encode_output(image, request)
        if request.as_url:
            data.append({"url": f"{base_url}/v1/images/files/{links.add(content, request.output_format)}"})
        else:
            data.append({"b64_json": base64.b64encode(content).decode("ascii")})
    record = images[0].record if images else {}
    size = f"{record['width']}x{record['height']}" if record.get("width") and record.get("height") else None
    body = {"created": int(created), "data": data, "output_format": request.output_format, "size": size}
    return {**body, "background": "opaque"}


def encode_output(generated: "JobImage", request: ImagesRequest) -> bytes:
    """Return an image in the requested format, with its record. The manifest of a signed PNG file is kept.

    Args:
        generated: image of the job.
        request: request with the format and the quality.
    """
    kind = request.output_format
    if kind == "png":
        return generated.png
    quality = DEFAULT_QUALITY if request.quality is None else max(1, request.quality)
    encoding = EncodingOptions(kind, quality, signing=generated.signing)
    with Image.open(io.BytesIO(generated.png), formats=["PNG"]) as image:
        image.load()
        data, _ = encode_unsigned(image, generated.record, encoding)
    if generated.signing is None:
        return data
    return sign_image(data, kind, generated.record, [Parent("", generated.png)], *generated.signing)
