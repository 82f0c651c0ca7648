"""Read and write the header of a fit file: the settings and the normal images of a fit."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.errors import ArtgenError, InputFileError
from artgen.jobs.anomaly.request import Anomaly
from artgen.registry.safetensors_header import read_header
from artgen.system.counts import counted
from artgen.system.external_data import parse_json

MIN_NORMAL_IMAGES = 8
"""Minimum number of normal images, so that their variation can be estimated."""
MAX_NORMAL_IMAGES = 500
"""Maximum number of normal images, limited by the memory."""
MAX_FIT_FILE_BYTES = 1 << 28
MAX_SIDE_PX = 1 << 16
FIT_FILE_KIND = "artgen normal pictures"
FIT_FILE_VERSION = "1"


@dataclass(frozen=True)
class AnomalyConfig:
    """Store the resolved settings that a fit and the scored images share.

    Attributes:
        method: space of the noise: pixel or latent.
        model: recorded name of the model.
        model_hash: SHA-256 of the model's main weights.
        prompt: description of normal images; empty for none.
        noise_levels: increasing; gray levels for pixel, strengths for latent.
        noise_samples: noise samples per level.
        seed: seed of the noise.
    """

    method: str
    model: str
    model_hash: str
    prompt: str
    noise_levels: tuple[float, ...]
    noise_samples: int
    seed: int


@dataclass(frozen=True)
class FitHeader:
    """Store the description of a fit.

    Attributes:
        config: settings of the fit.
        working_size: (width, height) of the normal images at which they were compared; None if the sizes differ.
        image_hashes: SHA-256 of each normal image file.
    """

    config: AnomalyConfig
    working_size: tuple[int, int] | None
    image_hashes: tuple[str, ...]

    def to_metadata(self) -> dict[str, str]:
        """Return the metadata of the safetensors file."""
        config = self.config
        look = {
            "method": config.method, "model": config.model, "model_hash": config.model_hash, "prompt": config.prompt,
            "levels": config.noise_levels, "draws": config.noise_samples, "seed": config.seed,
        }  # fmt: skip
        known = {"look": look, "size": self.working_size, "pictures": self.image_hashes}
        return {"kind": FIT_FILE_KIND, "version": FIT_FILE_VERSION, "known": json.dumps(known)}


def read_fit_header(path: Path) -> FitHeader:
    """Return the header of a fit file without reading its tensors.

    Raises:
        InputFileError: the file is missing or damaged, or is not a fit file of this version.
    """
    if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises for long names
        raise InputFileError(
            f"Cannot read '{path}': it does not exist.", "Give --fit a folder of normal images or a fit file."
        )
    try:
        if not os.path.isfile(path):  # noqa: PTH113 - a pipe would wait for data
            raise ValueError
        header = read_header(path)
        if header.metadata.get("kind") != FIT_FILE_KIND or header.metadata.get("version") != FIT_FILE_VERSION:
            raise ValueError
        if path.stat().st_size > MAX_FIT_FILE_BYTES:
            raise ValueError
        return _parse_known(parse_json(header.metadata["known"]))
    except (ArtgenError, OSError, ValueError, KeyError, TypeError, OverflowError):
        raise InputFileError(
            f"Cannot read '{path}': it is not a fit file of this version of artgen.",
            "Create one: artgen anomaly --fit normal/ --save-fit normal.safetensors",
        ) from None


def _parse_known(known: dict[str, Any]) -> FitHeader:
    """Return the header with the types and limits of a request.

    Raises:
        UsageError, ValueError, KeyError, TypeError: a value is missing, has another type or is outside its limits.
    """
    look, size, image_hashes = known["look"], known["size"], known["pictures"]
    levels = tuple(map(float, look["levels"]))
    request = Anomaly(
        method=look["method"],
        model=look["model"],
        prompt=look["prompt"] or None,
        noise_levels=",".join(map(repr, levels)),
        noise_samples=look["draws"],
        seed=look["seed"],
    )
    names = {"method", "model", "model_hash", "prompt", "levels", "draws", "seed"}
    if set(look) != names or levels != request.parsed_levels() or len(image_hashes) > MAX_NORMAL_IMAGES:
        raise ValueError
    is_size = size is None or (len(size) == 2 and all(type(side) is int and 0 < side <= MAX_SIDE_PX for side in size))
    texts = (look["model_hash"], look["model"], look["method"], look["prompt"], *image_hashes)
    if not is_size or not all(isinstance(text, str) for text in texts) or type(look["draws"]) is not int:
        raise ValueError
    return FitHeader(
        AnomalyConfig(
            look["method"], look["model"], look["model_hash"], look["prompt"], levels, look["draws"], request.seed
        ),
        tuple(size) if size else None,
        tuple(image_hashes),
    )


def min_normal_images(alpha: float) -> int:
    """Return the number of normal images for which a p-value can be `alpha`: the lowest p-value of n is 1/(n+1)."""
    return max(MIN_NORMAL_IMAGES, math.ceil(1 / alpha - 1e-9) - 1)


def check_normal_count(count: int, alpha: float) -> None:
    """Check the number of normal images.

    Raises:
        InputFileError: the number of images is too small for `alpha`, or too large for the memory.
    """
    required = min_normal_images(alpha)
    if count < required:
        hint = "Add images to the folder."
        if count >= MIN_NORMAL_IMAGES:
            hint = f"Add images to the folder, or use --alpha {1 / (count + 1):.3f}1"
        raise InputFileError(
            f"{counted(count, 'normal image is', 'normal images are')} too few for alpha {alpha:g}: the lowest "
            f"p-value of n images is 1/(n+1), so {required} images are needed.",
            hint,
        )
    if count > MAX_NORMAL_IMAGES:
        raise InputFileError(
            f"{count:,} normal images are too many: the maximum is {MAX_NORMAL_IMAGES:,}.", "Use a random subset."
        )
