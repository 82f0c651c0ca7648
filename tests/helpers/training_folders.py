"""Create folders of training images in `data` of the current folder."""

import json
from pathlib import Path
from typing import Any

import numpy
from PIL import Image

from artgen.dataset.read import Dataset, read_dataset
from artgen.spec.settings import DatasetSettings


def create_image(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Return an image of smooth color patches that depend on the seed."""
    patches = numpy.random.default_rng(seed).integers(0, 255, (6, 6, 3)).astype("uint8")
    return Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC)


def save_image(name: str, seed: int = 0, size: tuple[int, int] = (160, 120), **save_args: Any) -> Path:
    path = _create_parent(name)
    create_image(seed, size).save(path, **save_args)
    return path


def write_file(name: str, text: str | bytes) -> None:
    _create_parent(name).write_bytes(text if isinstance(text, bytes) else text.encode())


def write_jsonl(name: str, *values: Any) -> None:
    write_file(name, "".join(json.dumps(value) + "\n" for value in values))


def load_dataset(**settings: Any) -> Dataset:
    return read_dataset(DatasetSettings(folder=Path("data"), **settings))


def _create_parent(name: str) -> Path:
    path = Path("data") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
