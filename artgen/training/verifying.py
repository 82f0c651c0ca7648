"""One picture file: decoded as a whole, and what is known of it afterwards. The pixels are not kept."""

from dataclasses import dataclass
from pathlib import Path

from artgen.errors import InputFileError
from artgen.images import LoadedImage, load_image
from artgen.training.findings import Rejected
from artgen.training.fingerprints import Look, look


@dataclass(frozen=True)
class Verified:
    """A picture that can be read.

    Attributes:
        path: the file.
        name: as it is told.
        size: width and height, upright, in pixels.
        sha256: of the file's bytes.
        look: to compare it with others.
        notes: what was changed on the way in.
    """

    path: Path
    name: str
    size: tuple[int, int]
    sha256: str
    look: Look
    notes: tuple[str, ...]


def verify(path: Path, name: str) -> Verified | Rejected:
    """Decode a file fully and look at what comes out."""
    try:
        loaded = loaded_picture(path)
    except InputFileError as error:
        return Rejected(name, _reason(error.message, path), "unreadable")
    return Verified(path, name, loaded.image.size, loaded.sha256, look(loaded.image), loaded.notes)


def loaded_picture(path: Path) -> LoadedImage:
    """A picture as training sees it: RGB, upright, sRGB, transparency over white, the first frame.

    Raises:
        InputFileError: it cannot be used.
    """
    return load_image(path, background="white")


def _reason(message: str, path: Path) -> str:
    """What is wrong, without the path before it."""
    for start in (f"'{path}' is ", f"'{path}' has ", f"'{path}' "):
        if message.startswith(start):
            verb = start.removeprefix(f"'{path}' ")
            return verb + message.removeprefix(start)
    return message
