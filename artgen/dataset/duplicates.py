"""Detect near-duplicate images: resized, recompressed or mirrored copies. Cropped copies are not detected.

The hash is pHash (Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010): one bit per low
frequency of a small gray copy. The threshold is a little above zero, not the median: symmetric drawings on a plain
background have many coefficients near zero with random signs. Different drawings of one kind often have the same hash,
so the hash only selects candidates; a small color copy decides.
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
"""Side of the gray copy in pixels."""

THUMBNAIL_SIDE_PX = 16
"""Side of the color copy in pixels."""

MAX_HASH_BITS = 10
"""Maximum number of different bits between the hashes of a candidate pair."""

MIN_FREQUENCY_FRACTION = 0.1
"""Bit threshold of a frequency, as a fraction of the root mean square of all frequencies."""

MAX_GRAY_DIFFERENCE = 8.0
"""Maximum root-mean-square difference of two color copies, in gray levels (0-255)."""

CONTRAST_FRACTION = 0.25
"""Maximum difference as a fraction of the contrast, for low-contrast copies such as thin lines on white."""

MIN_ALLOWED_GRAY_DIFFERENCE = 1.0
"""Lower bound of the permitted difference in gray levels: the error of JPEG compression on a flat image."""


@dataclass(frozen=True)
class ImageHash:
    """Store the pHash of an image, the pHash of its mirror image, and its color copy as RGB bytes."""

    phash: int
    mirrored_phash: int
    thumbnail: bytes


def hash_image(image: Image.Image) -> ImageHash:
    """Return the hash of an RGB image of any size."""
    gray = image.convert("L").resize((GRAY_SIDE_PX, GRAY_SIDE_PX), Image.Resampling.BOX)
    small = image.resize((THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX), Image.Resampling.BOX)
    return ImageHash(_compute_phash(gray), _compute_phash(ImageOps.mirror(gray)), small.tobytes())


def match(hash_a: ImageHash, hash_b: ImageHash) -> str | None:
    """Return `looks like`, `mirrors`, or None for different images."""
    first, second = _thumbnail_pixels(hash_a), _thumbnail_pixels(hash_b)
    allowed = max(
        MIN_ALLOWED_GRAY_DIFFERENCE,
        min(MAX_GRAY_DIFFERENCE, CONTRAST_FRACTION * _contrast(first), CONTRAST_FRACTION * _contrast(second)),
    )
    if _rms_difference(first, second) <= allowed:
        return "looks like"
    return "mirrors" if _rms_difference(first, second[:, ::-1]) <= allowed else None


class DuplicateIndex:
    """Store image hashes and find the duplicate of a new image."""

    def __init__(self, capacity: int) -> None:
        """Allocate memory for `capacity` images."""
        import numpy as np

        self._phashes = np.empty(capacity, np.uint64)
        self._hashes: list[ImageHash] = []
        self._popcounts = np.array([value.bit_count() for value in range(1 << 16)], np.uint8)

    def add(self, image_hash: ImageHash) -> None:
        """Add an image. Its index is the number of images added before."""
        self._phashes[len(self._hashes)] = image_hash.phash
        self._hashes.append(image_hash)

    def find_match(self, image_hash: ImageHash) -> tuple[int, str] | None:
        """Return the index of the first duplicate and the relation (`looks like` or `mirrors`), or None."""
        import numpy as np

        distances = np.minimum(
            self.hamming_distances(image_hash.phash), self.hamming_distances(image_hash.mirrored_phash)
        )
        for index in np.flatnonzero(distances <= MAX_HASH_BITS):
            relation = match(image_hash, self._hashes[index])
            if relation:
                return int(index), relation
        return None

    def hamming_distances(self, phash: int) -> "NDArray[Any]":
        """Return the number of different bits between a pHash and the pHash of each image, in the order of `add`."""
        import numpy as np

        different = self._phashes[: len(self._hashes)] ^ np.uint64(phash)
        bits: NDArray[Any] = self._popcounts[different.view(np.uint16)].reshape(-1, 4).sum(1)
        return bits


def _compute_phash(gray: Image.Image) -> int:
    import numpy as np

    pixels = np.asarray(gray, np.float32) - 128
    positions = np.arange(GRAY_SIDE_PX) + 0.5
    cosines = np.cos(np.pi / GRAY_SIDE_PX * np.arange(1, 9)[:, None] * positions).astype(np.float32)
    frequencies = (cosines @ pixels @ cosines.T).ravel()
    threshold = MIN_FREQUENCY_FRACTION * float(np.sqrt((frequencies**2).mean()))
    return sum(1 << bit for bit, value in enumerate(frequencies.tolist()) if value > threshold)


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
    """Return the standard deviation of a color copy in gray levels, averaged over the channels."""
    return float(thumbnail.std((0, 1)).mean())
