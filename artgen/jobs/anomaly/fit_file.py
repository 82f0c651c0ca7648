"""Read and write the header of a fit file: the settings and the normal images of a fit."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, UsageError
from artgen.registry.safetensors_header import read_header
from artgen.spec.settings import AnomalySettings, validate
from artgen.system.counts import counted
from artgen.system.external_data import parse_json

MIN_NORMAL_IMAGES = 8
"""Minimum number of normal images, so that their variation can be estimated."""
MAX_NORMAL_IMAGES = 500
"""Maximum number of normal images, limited by the memory."""
MAX_NOISE_LEVELS = 1000
FIT_FILE_KIND = "artgen normal pictures"
FIT_FILE_VERSION = "1"


@dataclass(frozen=True)
class AnomalyConfig:
    """Store the resolved settings that a fit and the scored images share.

    Attributes:
        method: pixel or latent.
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
    if not path.exists():
        raise InputFileError(
            f"Cannot read '{path}': it does not exist.", "Give --fit a folder of normal images or a fit file."
        )
    try:
        header = read_header(path)
        if header.metadata.get("kind") != FIT_FILE_KIND or header.metadata.get("version") != FIT_FILE_VERSION:
            raise ValueError
        return _parse_known(parse_json(header.metadata["known"]))
    except (InputFileError, UsageError, ValueError, KeyError, TypeError, OverflowError):
        raise InputFileError(
            f"Cannot read '{path}': it is not a fit file of this version of artgen.",
            "Create one: artgen anomaly --fit normal/ --save-fit normal.safetensors",
        ) from None


def _parse_known(known: dict[str, Any]) -> FitHeader:
    look = dict(known["look"])
    noise_levels, noise_samples = tuple(map(float, look.pop("levels"))), look.pop("draws")
    config = AnomalyConfig(**look, noise_levels=noise_levels, noise_samples=noise_samples)
    validate(
        AnomalySettings(
            method=config.method, prompt=config.prompt, noise_samples=config.noise_samples, seed=config.seed
        )
    )
    hashes = tuple(known["pictures"])
    texts = (config.method, config.model, config.model_hash, config.prompt, *hashes)
    if not all(isinstance(text, str) for text in texts) or None in (config.noise_samples, config.seed):
        raise TypeError
    if not 0 < len(noise_levels) <= MAX_NOISE_LEVELS or len(hashes) > MAX_NORMAL_IMAGES or min(noise_levels) <= 0:
        raise ValueError
    if not known["size"]:
        return FitHeader(config, None, hashes)
    width, height = known["size"]
    if not all(isinstance(side, int) and 0 < side < 2**31 for side in (width, height)):
        raise ValueError
    return FitHeader(config, (width, height), hashes)


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
