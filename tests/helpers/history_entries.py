"""Enter images in the history of a test, without a generation."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from artgen.image_history.database import open_history
from artgen.image_history.entry import create_entry
from artgen.images.thumbnails import encode_thumbnail


def add_image(path: str | Path, record: Mapping[str, Any] | None = None) -> int:
    """Enter an image file in the history, and return the number of the entry.

    Args:
        path: image file.
        record: record of the entry.
    """
    file = Path(path)
    data = file.read_bytes()
    with Image.open(file) as image, open_history() as history:
        entry = create_entry(file, hashlib.sha256(data).hexdigest(), record or {"prompt": "a fox"}, image.size, 2.0)
        return history.add(entry, len(data), encode_thumbnail(image))
