"""Cache the images of a training on the disk: cropped to their buckets and, for a denoiser, encoded to latents.

An image can have several augmentations (mirrored, random crops). Each augmentation is encoded once; a resumed training
uses the cached files.
"""

import hashlib
import random
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
from artgen.system.external_data import read_optional
from artgen.system.files import write_atomically

NUM_RANDOM_CROPS = 4
"""Crops per image with `--crop random`."""

_TENSOR_NAME = "kept"  # part of the file format; older trainings can resume
MAX_LATENT_BYTES = 1 << 28

Encode = Callable[[Tensor], Tensor]
"""Encode an image of shape (1, 3, H, W), from -1 to 1, to the cached tensor of shape (C, h, w)."""


@dataclass(frozen=True)
class Augmentation:
    """Represent one variant of an image."""

    mirrored: bool
    crop_index: int


class LatentCache:
    """Store the encoded images of a training as files.

    Args:
        plan: the training.
        encoder_key: everything that `encode` depends on except the image, such as the hash of the weights.
        encode: called once per augmentation of an image.
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
        """Encode the missing images. Yield the number of finished images and the total after each image.

        Raises:
            InputFileError: an image can no longer be read.
            OutputError: the disk is full, or the folder cannot be created.
        """
        folder = self._plan.paths.latents_dir
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"Cannot create '{folder}': {error.strerror}.", "Check its permissions.") from error
        training_images = self._plan.dataset.images
        for index, training_image in enumerate(training_images):
            missing = [each for each in self.augmentations if not self._is_valid(self._entry_path(index, each))]
            if missing:
                image = open_training_image(training_image)
                for augmentation in missing:
                    pixels = self._augment(image, training_image, index, augmentation)
                    self._write_entry(index, augmentation, self._encode(pixels))
            yield index + 1, len(training_images)

    def load_batch(self, batch_spec: BatchSpec, generator: torch.Generator) -> Tensor:
        """Return the encoded images of a batch, shape (B, C, h, w), each with a random augmentation."""
        choices = torch.randint(0, len(self.augmentations), (len(batch_spec.indices),), generator=generator).tolist()
        return torch.stack(
            [
                load(self._entry_path(index, self.augmentations[choice]).read_bytes())[_TENSOR_NAME]
                for index, choice in zip(batch_spec.indices, choices, strict=True)
            ]
        )

    def _augment(
        self, image: Image.Image, training_image: TrainingImage, index: int, augmentation: Augmentation
    ) -> Tensor:
        rng = random.Random(f"{training_image.sha256} {augmentation.crop_index}")
        crop = resize_and_crop(image, self.image_sizes[index], self._plan.settings.dataset.crop, rng)
        pixels = np.array(ImageOps.mirror(crop) if augmentation.mirrored else crop, dtype=np.float32)
        return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1

    def _entry_path(self, index: int, augmentation: Augmentation) -> Path:
        sha256 = self._plan.dataset.images[index].sha256
        variant = f"{self._plan.settings.dataset.crop} {augmentation.crop_index} {augmentation.mirrored}"
        key = f"{self._encoder_key} {sha256} {self.image_sizes[index]} {variant}"
        return self._plan.paths.latents_dir / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"

    def _is_valid(self, path: Path) -> bool:
        try:
            return _TENSOR_NAME in load(read_optional(path, MAX_LATENT_BYTES) or b"")
        except (SafetensorError, KeyError, ValueError):
            return False

    def _write_entry(self, index: int, augmentation: Augmentation, encoded: Tensor) -> None:
        path = self._entry_path(index, augmentation)
        write_atomically(path, save({_TENSOR_NAME: encoded.contiguous().cpu()}), "Free disk space.")
