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

from artgen.dataset.buckets import resize_and_crop
from artgen.dataset.read import TrainingImage, open_training_image
from artgen.engine.training.batch_order import BatchSpec, ImageSize
from artgen.errors import OutputError
from artgen.jobs.training_plan import TrainingPlan
from artgen.outputs import atomic_replace

NUM_RANDOM_CROPS = 4
"""Versions of a picture with `--crop random`."""

Encode = Callable[[Tensor], Tensor]
"""(1, 3, height, width) from -1 to 1 -> what is kept of it, (channels, height, width)."""


@dataclass(frozen=True)
class Augmentation:
    """One way to show a picture."""

    mirrored: bool
    crop_index: int


class LatentCache:
    """What batches are made of.

    Args:
        plan: whose pictures.
        encoder_key: says what `encode` depends on beside the picture, such as the weights' hash.
        encode: called once for each version of a picture.
    """

    def __init__(self, plan: TrainingPlan, encoder_key: str, encode: Encode) -> None:
        self._plan, self._encoder_key, self._encode = plan, encoder_key, encode
        self.image_sizes: list[ImageSize] = plan.image_sizes
        data = plan.settings.dataset
        self.augmentations = [
            Augmentation(mirrored, crop)
            for mirrored in ((False, True) if data.flip else (False,))
            for crop in range(NUM_RANDOM_CROPS if data.crop == "random" else 1)
        ]

    def populate(self) -> Iterator[tuple[int, int]]:
        """Prepares what is not there yet; yields how many pictures are done, of how many.

        Raises:
            InputFileError: a picture cannot be read any more.
            OutputError: the disk is full.
        """
        folder = self._plan.paths.latents_dir
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"'{folder}' cannot be made: {error.strerror}.", "Check its folder's rights.") from error
        examples = self._plan.dataset.images
        for number, example in enumerate(examples):
            missing = [
                version for version in self.augmentations if not self._is_valid(self._entry_path(number, version))
            ]
            picture = open_training_image(example) if missing else None
            for version in missing:
                if picture is not None:
                    self._write_entry(number, version, self._encode(self._augment(picture, example, number, version)))
            yield number + 1, len(examples)

    def load_batch(self, batch_spec: BatchSpec, generator: torch.Generator) -> Tensor:
        """The pictures of a batch, (batch, channels, height, width), each in a version by chance."""
        drawn = torch.randint(0, len(self.augmentations), (len(batch_spec.indices),), generator=generator).tolist()
        return torch.stack(
            [
                load(self._entry_path(member, self.augmentations[version]).read_bytes())["kept"]
                for member, version in zip(batch_spec.indices, drawn, strict=True)
            ]
        )

    def _augment(
        self, image: Image.Image, training_image: TrainingImage, index: int, augmentation: Augmentation
    ) -> Tensor:
        data = self._plan.settings.dataset
        random = chance.Random(f"{training_image.sha256} {augmentation.crop_index}")
        cut = resize_and_crop(image, self.image_sizes[index], data.crop, random)
        pixels = np.array(ImageOps.mirror(cut) if augmentation.mirrored else cut, dtype=np.float32)
        return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1

    def _entry_path(self, index: int, augmentation: Augmentation) -> Path:
        example = self._plan.dataset.images[index]
        crop = self._plan.settings.dataset.crop
        said = f"{self._encoder_key} {example.sha256} {self.image_sizes[index]} {crop} {augmentation.crop_index} {augmentation.mirrored}"
        return self._plan.paths.latents_dir / f"{hashlib.sha256(said.encode()).hexdigest()[:32]}.safetensors"

    def _is_valid(self, path: Path) -> bool:
        try:
            return "kept" in load(path.read_bytes())
        except (OSError, SafetensorError):
            return False

    def _write_entry(self, index: int, augmentation: Augmentation, encoded: Tensor) -> None:
        path = self._entry_path(index, augmentation)
        try:
            atomic_replace(path, save({"kept": encoded.contiguous().cpu()}))
        except OSError as error:
            raise OutputError(
                f"'{path}' cannot be written: {error.strerror or error}.", "Make room on the disk."
            ) from error
