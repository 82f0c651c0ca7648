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

BITS = 64
SIDE = 32
"""Pixels a side of the grey copy."""

SMALL = 16
"""Pixels a side of the copy in colour."""

NEAR = 10
"""Bits of the fingerprint that may differ."""

FAINT = 0.1
"""Frequencies below this share of their root mean square are nothing."""

CLOSE = 8.0
"""Grey levels that small copies may differ by at most, root of the mean square."""

OF_CONTRAST = 0.25
"""What they may differ by as a share of their contrast: fine lines on a plain ground leave little of it."""

LEAST = 1.0
"""Grey levels that they may differ by in any case; what compression does to a flat picture."""


@dataclass(frozen=True)
class Look:
    """How a picture looks: the fingerprints of it and of its mirror image, and the small copy as RGB bytes."""

    fingerprint: int
    mirrored: int
    small: bytes


def look(image: Image.Image) -> Look:
    """The look of an RGB picture of any size."""
    # Pillow's box filter first, which is exact and fast; a large picture is halved often.
    grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    small = image.resize((SMALL, SMALL), Image.Resampling.BOX)
    return Look(_fingerprint(grey), _fingerprint(ImageOps.mirror(grey)), small.tobytes())


def alike(one: Look, other: Look) -> str | None:
    """`looks like`, `mirrors`, or None where two pictures are different ones."""
    first, second = _small(one), _small(other)
    allowed = max(LEAST, min(CLOSE, OF_CONTRAST * _contrast(first), OF_CONTRAST * _contrast(second)))
    if _distance(first, second) <= allowed:
        return "looks like"
    return "mirrors" if _distance(first, second[:, ::-1]) <= allowed else None


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

        differing = np.minimum(self._bits(each.fingerprint), self._bits(each.mirrored))
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
    frequencies = (waves @ pixels @ waves.T).ravel()
    least = FAINT * float(np.sqrt((frequencies**2).mean()))
    return sum(1 << place for place, value in enumerate(frequencies.tolist()) if value > least)


def _small(each: Look) -> "Pixels":
    import numpy as np

    return np.frombuffer(each.small, np.uint8).reshape(SMALL, SMALL, 3).astype(np.float32)


def _distance(one: "Pixels", other: "Pixels") -> float:
    return float(((one - other) ** 2).mean() ** 0.5)


def _contrast(small: "Pixels") -> float:
    """How much a small copy varies, in grey levels, the mean over its colours."""
    return float(small.std((0, 1)).mean())
