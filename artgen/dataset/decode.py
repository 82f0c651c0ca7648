"""One picture file: decoded as a whole, and what is known of it afterwards. The pixels are not kept."""

from dataclasses import dataclass
from pathlib import Path

from artgen.dataset.duplicates import ImageHash, hash_image
from artgen.dataset.types import RejectedFile
from artgen.errors import InputFileError
from artgen.images import LoadedImage, load_image


@dataclass(frozen=True)
class VerifiedImage:
    """A picture that can be read.

    Attributes:
        path: the file.
        name: as it is told.
        size: width and height, upright, in pixels.
        sha256: of the file's bytes.
        image_hash: to compare it with others.
        notes: what was changed on the way in.
    """

    path: Path
    name: str
    size: tuple[int, int]
    sha256: str
    image_hash: ImageHash
    notes: tuple[str, ...]


def verify_image(path: Path, name: str) -> VerifiedImage | RejectedFile:
    """Decode a file fully and look at what comes out."""
    try:
        loaded = load_rgb_image(path)
    except InputFileError as error:
        return RejectedFile(name, _strip_path(error.message, path), "unreadable")
    return VerifiedImage(path, name, loaded.image.size, loaded.sha256, hash_image(loaded.image), loaded.notes)


def load_rgb_image(path: Path) -> LoadedImage:
    """A picture as training sees it: RGB, upright, sRGB, transparency over white, the first frame.

    Raises:
        InputFileError: it cannot be used.
    """
    return load_image(path, background="white")


def _strip_path(message: str, path: Path) -> str:
    """What is wrong, without the path before it."""
    for start in (f"'{path}' is ", f"'{path}' has ", f"'{path}' "):
        if message.startswith(start):
            verb = start.removeprefix(f"'{path}' ")
            return verb + message.removeprefix(start)
    return message
