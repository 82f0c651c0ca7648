"""The pictures of a training, prepared once: cut to their shapes, and for a denoiser turned into latents.

A picture may be there in several versions, mirrored and cropped differently; each is kept on the disk, so that the
autoencoder works once, and a training that goes on finds them again.
"""

import hashlib
import random as chance
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from artgen.engine.training.order import Pick, Size
from artgen.errors import OutputError
from artgen.outputs import write_over
from artgen.training.buckets import placed
from artgen.training.collection import Example, open_example
from artgen.training.plans import Plan

CROPS = 4
"""Versions of a picture with `--crop random`."""

Encode = Callable[[Tensor], Tensor]
"""(1, 3, height, width) from -1 to 1 -> what is kept of it, (channels, height, width)."""


@dataclass(frozen=True)
class Version:
    """One way to show a picture."""

    mirrored: bool
    crop: int


class Stock:
    """What batches are made of.

    Args:
        plan: whose pictures.
        key: says what `encode` depends on beside the picture, such as the weights' hash.
        encode: called once for each version of a picture.
    """

    def __init__(self, plan: Plan, key: str, encode: Encode) -> None:
        self._plan, self._key, self._encode = plan, key, encode
        self.sizes: list[Size] = plan.sizes
        data = plan.settings.data
        self.versions = [
            Version(mirrored, crop)
            for mirrored in ((False, True) if data.flip else (False,))
            for crop in range(CROPS if data.crop == "random" else 1)
        ]

    def fill(self) -> Iterator[tuple[int, int]]:
        """Prepares what is not there yet; yields how many pictures are done, of how many.

        Raises:
            InputFileError: a picture cannot be read any more.
            OutputError: the disk is full.
        """
        folder = self._plan.layout.latents
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"'{folder}' cannot be made: {error.strerror}.", "Check its folder's rights.") from error
        examples = self._plan.pictures.examples
        for number, example in enumerate(examples):
            missing = [version for version in self.versions if not self._sound(self._path(number, version))]
            picture = open_example(example) if missing else None
            for version in missing:
                if picture is not None:
                    self._write(number, version, self._encode(self._cut(picture, example, number, version)))
            yield number + 1, len(examples)

    def tensors(self, pick: Pick, generator: torch.Generator) -> Tensor:
        """The pictures of a batch, (batch, channels, height, width), each in a version by chance."""
        drawn = torch.randint(0, len(self.versions), (len(pick.members),), generator=generator).tolist()
        return torch.stack(
            [
                load(self._path(member, self.versions[version]).read_bytes())["kept"]
                for member, version in zip(pick.members, drawn, strict=True)
            ]
        )

    def _cut(self, picture: Image.Image, example: Example, number: int, version: Version) -> Tensor:
        data = self._plan.settings.data
        random = chance.Random(f"{example.sha256} {version.crop}")
        cut = placed(picture, self.sizes[number], data.crop, random)
        pixels = np.array(ImageOps.mirror(cut) if version.mirrored else cut, dtype=np.float32)
        return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1

    def _path(self, number: int, version: Version) -> Path:
        example = self._plan.pictures.examples[number]
        crop = self._plan.settings.data.crop
        said = f"{self._key} {example.sha256} {self.sizes[number]} {crop} {version.crop} {version.mirrored}"
        return self._plan.layout.latents / f"{hashlib.sha256(said.encode()).hexdigest()[:32]}.safetensors"

    def _sound(self, path: Path) -> bool:
        try:
            return "kept" in load(path.read_bytes())
        except (OSError, SafetensorError):
            return False

    def _write(self, number: int, version: Version, kept: Tensor) -> None:
        path = self._path(number, version)
        try:
            write_over(path, save({"kept": kept.contiguous().cpu()}))
        except OSError as error:
            raise OutputError(
                f"'{path}' cannot be written: {error.strerror or error}.", "Make room on the disk."
            ) from error
