"""Which pictures are the same to the eye: resized, compressed again, or mirrored. Cropped ones count as others.

The fingerprint is pHash (Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010): which of
the low frequencies of a small grey copy are high. They are compared with a little more than zero, not with their
median: symmetric drawings on plain grounds have many that are nearly nothing, whose signs are chance. Different
drawings of one kind often share a fingerprint, so it only proposes, and a small copy in colour decides.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.float32]

HASH_BITS = 64
GRAY_SIDE_PX = 32
"""Pixels a side of the grey copy."""

THUMBNAIL_SIDE_PX = 16
"""Pixels a side of the copy in colour."""

MAX_HASH_BITS = 10
"""Bits of the fingerprint that may differ."""

MIN_FREQUENCY_FRACTION = 0.1
"""Frequencies below this share of their root mean square are nothing."""

MAX_GRAY_DIFFERENCE = 8.0
"""Grey levels that small copies may differ by at most, root of the mean square."""

CONTRAST_FRACTION = 0.25
"""What they may differ by as a share of their contrast: fine lines on a plain ground leave little of it."""

MIN_ALLOWED_GRAY_DIFFERENCE = 1.0
"""Grey levels that they may differ by in any case; what compression does to a flat picture."""


@dataclass(frozen=True)
class ImageHash:
    """How a picture looks: the fingerprints of it and of its mirror image, and the small copy as RGB bytes."""

    phash: int
    mirrored_phash: int
    thumbnail: bytes


def hash_image(image: Image.Image) -> ImageHash:
    """The look of an RGB picture of any size."""
    # Pillow's box filter first, which is exact and fast; a large picture is halved often.
    grey = image.convert("L").resize((GRAY_SIDE_PX, GRAY_SIDE_PX), Image.Resampling.BOX)
    small = image.resize((THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX), Image.Resampling.BOX)
    return ImageHash(_compute_phash(grey), _compute_phash(ImageOps.mirror(grey)), small.tobytes())


def match(hash_a: ImageHash, hash_b: ImageHash) -> str | None:
    """`looks like`, `mirrors`, or None where two pictures are different ones."""
    first, second = _thumbnail_pixels(hash_a), _thumbnail_pixels(hash_b)
    allowed = max(
        MIN_ALLOWED_GRAY_DIFFERENCE,
        min(MAX_GRAY_DIFFERENCE, CONTRAST_FRACTION * _contrast(first), CONTRAST_FRACTION * _contrast(second)),
    )
    if _rms_difference(first, second) <= allowed:
        return "looks like"
    return "mirrors" if _rms_difference(first, second[:, ::-1]) <= allowed else None


class DuplicateIndex:
    """Pictures seen so far, to be asked which of them a further one may be."""

    def __init__(self, capacity: int) -> None:
        """Makes room for `capacity` pictures."""
        import numpy as np

        self._phashes = np.empty(capacity, np.uint64)
        self._hashes: list[ImageHash] = []
        self._popcounts = np.array([value.bit_count() for value in range(1 << 16)], np.uint8)

    def add(self, image_hash: ImageHash) -> None:
        """Adds a picture; its number is how many there were before."""
        self._phashes[len(self._hashes)] = image_hash.phash
        self._hashes.append(image_hash)

    def find_match(self, image_hash: ImageHash) -> tuple[int, str] | None:
        """The number of a picture that this one is the same as, and how: `looks like` or `mirrors`."""
        import numpy as np

        differing = np.minimum(
            self._hamming_distances(image_hash.phash), self._hamming_distances(image_hash.mirrored_phash)
        )
        for number in np.flatnonzero(differing <= MAX_HASH_BITS):
            how = match(image_hash, self._hashes[number])
            if how:
                return int(number), how
        return None

    def _hamming_distances(self, phash: int) -> "NDArray[Any]":
        import numpy as np

        different = self._phashes[: len(self._hashes)] ^ np.uint64(phash)
        bits: NDArray[Any] = self._popcounts[different.view(np.uint16)].reshape(-1, 4).sum(1)
        return bits


def _compute_phash(gray: Image.Image) -> int:
    import numpy as np

    pixels = np.asarray(gray, np.float32) - 128
    place = np.arange(GRAY_SIDE_PX) + 0.5
    waves = np.cos(np.pi / GRAY_SIDE_PX * np.arange(1, 9)[:, None] * place).astype(np.float32)
    frequencies = (waves @ pixels @ waves.T).ravel()
    least = MIN_FREQUENCY_FRACTION * float(np.sqrt((frequencies**2).mean()))
    return sum(1 << place for place, value in enumerate(frequencies.tolist()) if value > least)


def _thumbnail_pixels(image_hash: ImageHash) -> "Pixels":
    import numpy as np

    return (
        np.frombuffer(image_hash.thumbnail, np.uint8)
        .reshape(THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX, 3)
        .astype(np.float32)
    )


def _rms_difference(first: "Pixels", second: "Pixels") -> float:
    return float(((first - second) ** 2).mean() ** 0.5)


def _contrast(thumbnail: "Pixels") -> float:
    """How much a small copy varies, in grey levels, the mean over its colours."""
    return float(thumbnail.std((0, 1)).mean())
