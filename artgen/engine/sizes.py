"""How many pictures are drawn at the same time."""

from typing import Protocol

from artgen.errors import UsageError

AUTO = "auto"
LARGEST = 256
_WORTH = 1.05
"""How much faster a larger batch must be, to make up for what it takes in memory."""


class BatchSize(Protocol):
    """Chooses a device batch size for each shape of picture."""

    def size(self, shape: int) -> int:
        """How many pictures of a shape to draw together next."""

    def learn(self, shape: int, drawn: int, seconds: float) -> None:
        """Takes note that `drawn` pictures together took `seconds` each."""


class Fixed:
    """Always the same."""

    def __init__(self, size: int) -> None:
        """Raises UsageError for a size outside 1 to 256."""
        if not 1 <= size <= LARGEST:
            raise UsageError(f"batch_size must be auto or 1 to {LARGEST}, not {size}.")
        self._size = size

    def size(self, shape: int) -> int:  # noqa: ARG002
        return self._size

    def learn(self, shape: int, drawn: int, seconds: float) -> None:
        """Nothing to learn."""


class Growing:
    """Doubles as long as pictures come faster for it, and goes back to the best when they do not.

    The engine halves a batch that does not fit in memory; the seconds of such a try tell against its size.
    """

    def __init__(self) -> None:
        self._seconds: dict[int, dict[int, float]] = {}
        self.settled: dict[int, int] = {}
        """The best size of each shape, as far as it is known."""

    def size(self, shape: int) -> int:
        if shape in self.settled:
            return self.settled[shape]
        return 2 * max(self._seconds.get(shape, {}), default=0) or 1

    def learn(self, shape: int, drawn: int, seconds: float) -> None:
        if shape in self.settled or drawn < self.size(shape):
            return  # the rest of a shape says nothing
        tried = self._seconds.setdefault(shape, {})
        best = min(tried, key=lambda size: tried[size], default=None)
        tried[drawn] = seconds
        if best is not None and seconds * _WORTH > tried[best]:
            self.settled[shape] = best
        elif drawn >= LARGEST:
            self.settled[shape] = drawn


def parse_batch_size(text: str) -> BatchSize:
    """`auto`, or how many at a time.

    Raises:
        UsageError: neither.
    """
    if text.strip().casefold() == AUTO:
        return Growing()
    if not text.strip().isdecimal():
        raise UsageError(f"batch_size must be auto or 1 to {LARGEST}, not {text!r}.")
    return Fixed(int(text))
