"""Hash the pixels and the texts of an image, so that verification reports which of them were changed.

Compressed pixels are hashed where the format permits it: decoding takes 10 to 40 ms for 512x512 pixels.
"""

import hashlib
import io
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from PIL import Image

from artgen.errors import InputFileError
from artgen.images.formats import READABLE_FORMATS
from artgen.metadata.containers import extract_texts
from artgen.metadata.content_credentials.image_data import image_data
from artgen.system.memory_file import MEMORY_NAME, MemoryFile

CONTENT_LABEL = "org.artgen.content"
"""Label of the assertion with the hashes. Its data has the keys `pixels` and `texts`."""

MAX_FRAMES = 500
"""Number of frames of an animation that are hashed."""

_OWN_TEXT = "C2PA"


@dataclass(frozen=True)
class ContentHashes:
    """Store the hashes of an image.

    Attributes:
        pixels: SHA-256 of the compressed pixels of a PNG, JPEG or WebP file, or of the decoded pixels of another
            format, 64 hex digits.
        texts: SHA-256 of each metadata text by its name, see `artgen.metadata.containers.RawTexts`.
    """

    pixels: str
    texts: Mapping[str, str]

    def to_dict(self) -> dict[str, object]:
        """Return the data of the assertion."""
        return {"pixels": self.pixels, "texts": dict(self.texts)}


def content_hashes(data: bytes) -> ContentHashes | None:
    """Return the hashes of the content of an image file; None if the image cannot be read.

    Args:
        data: bytes of a file of one of `READABLE_FORMATS`.
    """
    digest = hashlib.sha256()
    try:
        for part in image_data(data) or _decoded_pixels(data):
            digest.update(part)
    except Exception:  # decoders raise many exception types on damaged data
        return None
    return ContentHashes(digest.hexdigest(), {name: _sha256(text) for name, text in _texts(data).items()})


def _decoded_pixels(data: bytes) -> Iterator[bytes]:
    """Yield the mode, the size and the pixels of each frame."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(data), formats=READABLE_FORMATS)
        for number in range(min(getattr(image, "n_frames", 1), MAX_FRAMES)):
            image.seek(number)
            image.load()
            yield f"{image.mode} {image.width}x{image.height}\n".encode()
            yield image.tobytes()


def _texts(data: bytes) -> Mapping[str, str]:
    try:
        texts = dict(extract_texts(MemoryFile.create(MEMORY_NAME, data)).texts)
    except InputFileError:  # a format without texts, such as GIF
        return {}
    texts.pop(_OWN_TEXT, None)
    return texts


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def changed_parts(signed: Mapping[str, object], current: ContentHashes | None) -> tuple[str, ...]:
    """Return what differs from the signed content, as phrases for messages; empty if no difference is found.

    Args:
        signed: data of the assertion; untrusted.
        current: hashes of the file; None: its pixels cannot be decoded.
    """
    if current is None:
        return ("the pixels, which cannot be decoded",)
    changes = [] if signed.get("pixels") == current.pixels else ["the pixels"]
    texts = signed.get("texts")
    before = {str(name): digest for name, digest in texts.items()} if isinstance(texts, Mapping) else {}
    for name in sorted({*before, *current.texts}):
        if before.get(name) != current.texts.get(name):
            verb = "removed" if name not in current.texts else "added" if name not in before else "changed"
            changes.append(f"the text '{name[:60]}' ({verb})")
    return tuple(changes)
