"""Write images with records for the tests and benchmarks of the gallery, without generating them."""

import hashlib
import os
from pathlib import Path
from typing import Any

from PIL import Image

from artgen._version import __version__
from artgen.outputs.encoding import EncodingOptions, encode_image

COLORS = ("crimson", "navy", "seagreen", "goldenrod", "purple", "teal", "orange", "gray")
BASE = {
    "task": "txt2img", "prompt_weights": "a1111", "long_prompt": "chunk", "steps": 20, "model": "tiny",
    "guidance_scale": 3.0, "scheduler": "ddim", "artgen": __version__, "schema": 1, "device": "cpu", "dtype": "fp32",
}  # fmt: skip


def save_image(path: str | Path, prompt: str, *, time: int = 0, size: tuple[int, int] = (96, 64), **record: Any) -> str:
    """Write a PNG file with a record, and return its SHA-256.

    Args:
        path: file.
        prompt: recorded prompt.
        time: modification time in seconds since 2026-01-01.
        size: width and height in pixels.
        record: further fields of the record.
    """
    values = {**BASE, "prompt": prompt, "width": size[0], "height": size[1], **record}
    color = COLORS[int(hashlib.sha256(prompt.encode()).hexdigest(), 16) % len(COLORS)]
    data, _ = encode_image(Image.new("RGB", size, color), values, EncodingOptions("png"))
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    seconds = 1_767_225_600 + time
    os.utime(file, (seconds, seconds))
    return hashlib.sha256(data).hexdigest()
