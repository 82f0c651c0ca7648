"""Which pictures are the same to the eye: resized, compressed again, recoloured a little, or mirrored.

The fingerprint is pHash (Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010): signs of
the low frequencies of a small grey copy. It is compared with zero instead of with the median, next to which the median
lies anyway; mirroring a picture turns the sign of every other horizontal frequency, so its fingerprint is known too.
Drawings on plain grounds leave many frequencies near zero, whose signs are chance. So a fingerprint only proposes, and
a small copy in colour decides.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps

if TYPE_CHECKING:
    from numpy.typing import NDArray

BITS = 64
SIDE = 32
"""Pixels a side of the grey copy."""

SMALL = 16
"""Pixels a side of the copy in colour."""

NEAR = 12
"""Bits of the fingerprint that may differ."""

CLOSE = 8.0
"""Grey levels that small copies may differ by, root of the mean square."""

_MIRROR = sum(1 << (8 * row + column) for row in range(8) for column in range(0, 8, 2))
"""The bits of frequencies that are odd from left to right; frequencies are counted from 1."""


@dataclass(frozen=True)
class Look:
    """How a picture looks, in 776 bytes: the fingerprint, and the small copy as RGB bytes."""

    fingerprint: int
    small: bytes


def look(image: Image.Image) -> Look:
    """The look of an RGB picture of any size."""
    # Pillow's box filter first, which is exact and fast; a large picture is halved often.
    grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    small = image.resize((SMALL, SMALL), Image.Resampling.BOX)
    return Look(_fingerprint(grey), small.tobytes())


def mirrored(fingerprint: int) -> int:
    """The fingerprint of the mirrored picture."""
    return fingerprint ^ _MIRROR


def alike(one: Look, other: Look) -> str | None:
    """`looks like`, `mirrors`, or None where two pictures are different ones."""
    if _distance(one.small, other.small) <= CLOSE:
        return "looks like"
    turned = ImageOps.mirror(Image.frombytes("RGB", (SMALL, SMALL), other.small)).tobytes()
    return "mirrors" if _distance(one.small, turned) <= CLOSE else None


class Known:
    """Pictures seen so far, to be asked which of them a further one may be."""

    def __init__(self, most: int) -> None:
        """Makes room for `most` pictures."""
        import numpy as np

        self._prints = np.empty(most, np.uint64)
        self._looks: list[Look] = []
        self._ones = np.array([value.bit_count() for value in range(1 << 16)], np.uint8)

    def add(self, each: Look) -> None:
        """Adds a picture; its number is how many there were before."""
        self._prints[len(self._looks)] = each.fingerprint
        self._looks.append(each)

    def same_as(self, each: Look) -> tuple[int, str] | None:
        """The number of a picture that this one is the same as, and how: `looks like` or `mirrors`."""
        import numpy as np

        differing = np.minimum(self._bits(each.fingerprint), self._bits(mirrored(each.fingerprint)))
        for number in np.flatnonzero(differing <= NEAR):
            how = alike(each, self._looks[number])
            if how:
                return int(number), how
        return None

    def _bits(self, fingerprint: int) -> "NDArray[Any]":
        import numpy as np

        different = self._prints[: len(self._looks)] ^ np.uint64(fingerprint)
        bits: NDArray[Any] = self._ones[different.view(np.uint16)].reshape(-1, 4).sum(1)
        return bits


def _fingerprint(grey: Image.Image) -> int:
    import numpy as np

    pixels = np.asarray(grey, np.float32) - 128
    place = np.arange(SIDE) + 0.5
    waves = np.cos(np.pi / SIDE * np.arange(1, 9)[:, None] * place).astype(np.float32)
    frequencies = waves @ pixels @ waves.T
    return sum(1 << place for place, value in enumerate(frequencies.ravel().tolist()) if value > 0)


def _distance(one: bytes, other: bytes) -> float:
    import numpy as np

    first, second = (np.frombuffer(each, np.uint8).astype(np.float32) for each in (one, other))
    return float(np.sqrt(((first - second) ** 2).mean()))
