"""Folders of pictures to learn from, written into the current folder's `data`."""

import json
from pathlib import Path
from typing import Any

import numpy
from PIL import Image

from artgen.dataset.read import Dataset, read_dataset
from artgen.spec.settings import DatasetSettings


def picture(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Soft patches of colour, no two seeds alike."""
    patches = numpy.random.default_rng(seed).integers(0, 255, (6, 6, 3)).astype("uint8")
    return Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC)


def save(name: str, seed: int = 0, size: tuple[int, int] = (160, 120), **more: Any) -> Path:
    path = _place(name)
    picture(seed, size).save(path, **more)
    return path


def write(name: str, text: str | bytes) -> None:
    _place(name).write_bytes(text if isinstance(text, bytes) else text.encode())


def lines(name: str, *values: Any) -> None:
    write(name, "".join(json.dumps(value) + "\n" for value in values))


def load(**settings: Any) -> Dataset:
    return read_dataset(DatasetSettings(folder=Path("data"), **settings))


def _place(name: str) -> Path:
    path = Path("data") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
