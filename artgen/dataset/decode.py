"""Decode an image file completely to verify it, and return its properties without the pixels."""

from dataclasses import dataclass
from pathlib import Path

from artgen.dataset.duplicates import ImageHash, hash_image
from artgen.dataset.types import RejectedFile
from artgen.errors import InputFileError
from artgen.images import LoadedImage, load_image


@dataclass(frozen=True)
class VerifiedImage:
    """Represent a readable image.

    Attributes:
        path: the file.
        name: path relative to the folder of the data set.
        size: width and height of the upright image in pixels.
        sha256: SHA-256 of the file, 64 hex digits.
        image_hash: perceptual hash, for duplicate detection.
        notes: conversions that were made while loading.
    """

    path: Path
    name: str
    size: tuple[int, int]
    sha256: str
    image_hash: ImageHash
    notes: tuple[str, ...]


def verify_image(path: Path, name: str) -> VerifiedImage | RejectedFile:
    """Decode a file completely. Return a `RejectedFile` if it is unreadable."""
    try:
        loaded = load_rgb_image(path)
    except InputFileError as error:
        return RejectedFile(name, _strip_path(error.message, path), "unreadable")
    return VerifiedImage(path, name, loaded.image.size, loaded.sha256, hash_image(loaded.image), loaded.notes)


def load_rgb_image(path: Path) -> LoadedImage:
    """Load the first frame of an image for training: upright, mode RGB, sRGB, transparency composited over white.

    Raises:
        InputFileError: the file cannot be decoded.
    """
    return load_image(path, background="white")


def _strip_path(message: str, path: Path) -> str:
    """Return the predicate of a message whose subject is the path."""
    for start in (f"'{path}' is ", f"'{path}' has ", f"'{path}' "):
        if message.startswith(start):
            verb = start.removeprefix(f"'{path}' ")
            return verb + message.removeprefix(start)
    return message
