"""A picture and its record as the bytes of a file."""

import io
from collections.abc import Mapping

from PIL import Image

from artgen.errors import OutputError
from artgen.metadata import embed


def encode(
    image: Image.Image,
    record: Mapping[str, object],
    format: str,  # noqa: A002 - the option's name
    quality: int,
    metadata: str,
) -> tuple[bytes, str | None]:
    """The whole file, and the JSON text that has to lie beside it when the format cannot hold the record.

    Raises:
        OutputError: the format cannot hold the picture.
    """
    embedded = embed(record, format, metadata)
    options: dict[str, object] = dict(embedded.arguments)
    if format == "jpeg":
        options |= {"quality": quality, "subsampling": 0 if quality >= 90 else 2, "optimize": False}
    elif format == "webp":
        options |= {"lossless": True} if quality == 100 else {"quality": quality}
    clean = image.copy()
    clean.info = {}
    buffer = io.BytesIO()
    try:
        clean.save(buffer, format.upper(), **options)
    except (OSError, ValueError) as error:
        raise OutputError(f"the picture cannot be written as {format}: {error}", "Use --format png.") from error
    return buffer.getvalue(), embedded.sidecar
