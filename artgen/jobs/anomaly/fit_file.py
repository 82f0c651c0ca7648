"""What a fit says of itself: how its normal pictures were looked at, which they were, whether they are enough."""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

from artgen.errors import InputFileError
from artgen.registry.safetensors_header import read_header

MIN_NORMAL_IMAGES, MAX_NORMAL_IMAGES = 8, 500
"""Normal pictures: fewer say nothing of how they vary; more would not fit into memory."""
FIT_FILE_KIND = "artgen normal pictures"
FIT_FILE_VERSION = "1"


@dataclass(frozen=True)
class AnomalyConfig:
    """How pictures are looked at, settled: what a fit has to share with the pictures that are judged by it.

    Attributes:
        method: pixel or latent.
        model: the model's name as recorded.
        model_hash: SHA-256 of its main weights.
        prompt: what is normal, in words; empty for none.
        levels: weakest first.
        draws: of noise, at each level.
        seed: of the noise.
    """

    method: str
    model: str
    model_hash: str
    prompt: str
    levels: tuple[float, ...]
    draws: int
    seed: int


@dataclass(frozen=True)
class FitHeader:
    """What a fit says of itself.

    Attributes:
        look: how its pictures were looked at.
        size: their (width, height) as looked at, where all have the same; None where they differ.
        pictures: SHA-256 of each file.
    """

    look: AnomalyConfig
    size: tuple[int, int] | None
    pictures: tuple[str, ...]

    def to_metadata(self) -> dict[str, str]:
        """As text, for the header of a file."""
        return {"kind": FIT_FILE_KIND, "version": FIT_FILE_VERSION, "known": json.dumps(dataclasses.asdict(self))}


def read_fit_header(path: Path) -> FitHeader:
    """What a fit says of itself, from its header alone.

    Raises:
        InputFileError: it is no fit, or damaged.
    """
    if not path.exists():
        raise InputFileError(f"There is no '{path}'.", "--fit takes a folder of normal pictures, or a fit of them.")
    try:
        header = read_header(path)
        if header.metadata.get("kind") != FIT_FILE_KIND or header.metadata.get("version") != FIT_FILE_VERSION:
            raise ValueError
        values = json.loads(header.metadata["known"])
        look = AnomalyConfig(**{**values["look"], "levels": tuple(map(float, values["look"]["levels"]))})
        size = tuple(map(int, values["size"])) if values["size"] else None
        return FitHeader(look, size, tuple(map(str, values["pictures"])))  # type: ignore[arg-type]
    except (InputFileError, ValueError, KeyError, TypeError):
        raise InputFileError(
            f"'{path}' is no fit that this version of artgen wrote.",
            "Make one: artgen anomaly --fit normal/ --save-fit normal.safetensors",
        ) from None


def min_normal_images(alpha: float) -> int:
    """Normal pictures below which no p-value can be as small as alpha: the smallest of n is 1/(n+1)."""
    return max(MIN_NORMAL_IMAGES, math.ceil(1 / alpha - 1e-9) - 1)


def check_normal_count(count: int, alpha: float) -> None:
    """Holds the number of normal pictures to what alpha asks for and memory allows.

    Raises:
        InputFileError: too few, or too many.
    """
    least = min_normal_images(alpha)
    if count < least:
        raise InputFileError(
            f"{count} normal pictures are too few for alpha {alpha:g}: of n, the smallest p-value is 1/(n+1), so that "
            f"{least} are needed.",
            f"Add pictures to the folder{'' if count < MIN_NORMAL_IMAGES else f', or use --alpha {1 / (count + 1):.3f}1'}.",
        )
    if count > MAX_NORMAL_IMAGES:
        raise InputFileError(
            f"{count} normal pictures are more than {MAX_NORMAL_IMAGES}.", "Take a part of them at random."
        )
