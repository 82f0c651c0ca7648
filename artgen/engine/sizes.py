"""How many pictures are drawn at the same time.

One call of a pipeline draws a device batch. With one number of rows, a picture's bits depend neither on what else is in
the batch nor on its place there; with another number, kernels add in another order, and pixels differ by a grey level.
So pictures of one shape have one number of rows: where fewer are left, the last one is drawn again in the rows that are
free, and thrown away. The record keeps the number, and `replay` uses it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from artgen import machine
from artgen.errors import UsageError
from artgen.prepare import Prepared
from artgen.requests import FromWords, Request
from artgen.settings import LARGEST_BATCH

AUTO = "auto"
_WORTH = 1.05
"""How much faster a larger batch must be, to make up for what it takes in memory."""

ON_CUDA = {"sd1": 8, "sd2": 8}
"""Rows that fill a GPU with pictures of a model's own size."""

ON_CUDA_ELSE = 4

ON_CPU = 8
"""Rows at which a small model is fastest on a CPU, with pictures of 128x128 pixels; see RESULTS.md."""

SMALL = 500_000_000
"""Bytes of weights up to which a CPU is kept waiting by the calls, not by the products in them."""


@dataclass(frozen=True)
class Alike:
    """Pictures of one shape: one call of a pipeline could draw any of them together.

    Attributes:
        shape: its number.
        total: how many pictures there are of it, with those that are drawn already.
        left: how many are not drawn yet, 1 or more.
        suited: what `suited` says of them.
    """

    shape: int
    total: int
    left: int
    suited: int


class BatchSize(Protocol):
    """Chooses the number of rows for each shape of picture."""

    def rows(self, alike: Alike) -> int:
        """The rows of the next device batch, 1 to 256; they may be more than there are pictures left."""

    def learn(self, shape: int, drawn: int, seconds: float) -> None:
        """Takes note that `drawn` pictures together took `seconds` each."""


class Exactly:
    """Always the same, however few pictures there are."""

    def __init__(self, rows: int) -> None:
        """Raises UsageError for a number outside 1 to 256."""
        if not 1 <= rows <= LARGEST_BATCH:
            raise UsageError(f"batch_size must be auto or 1 to {LARGEST_BATCH}, not {rows}.")
        self._rows = rows

    def rows(self, alike: Alike) -> int:  # noqa: ARG002
        return self._rows

    def learn(self, shape: int, drawn: int, seconds: float) -> None:
        """Nothing to learn."""


class Fixed(Exactly):
    """The same for all shapes that have as many pictures."""

    def rows(self, alike: Alike) -> int:
        return _fewer(self._rows, alike.total)


class Suited:
    """What suits the model and the device."""

    def rows(self, alike: Alike) -> int:
        return _fewer(alike.suited, alike.total)

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

    def rows(self, alike: Alike) -> int:
        if alike.shape in self.settled:
            return _fewer(self.settled[alike.shape], alike.total)
        return min(self._next(alike.shape), alike.left)

    def learn(self, shape: int, drawn: int, seconds: float) -> None:
        if shape in self.settled or drawn < self._next(shape):
            return  # the rest of a shape says nothing
        tried = self._seconds.setdefault(shape, {})
        best = min(tried, key=lambda size: tried[size], default=None)
        tried[drawn] = seconds
        if best is not None and seconds * _WORTH > tried[best]:
            self.settled[shape] = best
        elif drawn >= LARGEST_BATCH:
            self.settled[shape] = drawn

    def _next(self, shape: int) -> int:
        return 2 * max(self._seconds.get(shape, {}), default=0) or 1


def _fewer(rows: int, total: int) -> int:
    """The rows for a shape that may have fewer pictures: then the next power of two holds them all."""
    return min(rows, 1 << (total - 1).bit_length())


def appearance(request: Request) -> Request:
    """What must agree in requests that are drawn together, beside size and wording: all but seed and pictures."""
    if not isinstance(request, FromWords):
        return request
    pictures = {name: Path("any") for name in ("image", "mask") if getattr(request, name, None) is not None}
    return request.replace(seed=0, prompt="", negative_prompt="", **pictures)


def wording(request: Request) -> tuple[Any, ...]:
    """What must agree in the words of requests that are drawn together."""
    if not isinstance(request, FromWords):
        return ()
    # Chunks would be as many as the longest neighbour needs.
    words = (request.prompt, request.negative_prompt) if request.long_prompt == "chunk" else ()
    return bool(request.negative_prompt), *words


def suited(job: Prepared) -> int:
    """How many pictures like this one are best drawn together, by model, size and device; a power of two.

    On a CPU, a large model keeps all cores busy with one picture.
    """
    if job.found is None or not isinstance(job.request, FromWords):
        return 1
    device = job.request.device
    if device.startswith("cuda") or (device == "auto" and machine.cuda_devices()):
        most, (width, height) = ON_CUDA.get(job.found.architecture, ON_CUDA_ELSE), job.found.native
    elif job.found.weight_bytes() < SMALL:
        most, width, height = ON_CPU, 128, 128
    else:
        return 1
    rows = min(most, most * width * height // (job.width * job.height))
    return 1 << max(0, rows.bit_length() - 1)


def parse_batch_size(text: str | None) -> BatchSize:
    """`auto`, how many at a time, or None for what suits.

    Raises:
        UsageError: neither.
    """
    if text is None:
        return Suited()
    if text.strip().casefold() == AUTO:
        return Growing()
    if not text.strip().isdecimal():
        raise UsageError(f"batch_size must be auto or 1 to {LARGEST_BATCH}, not {text!r}.")
    return Fixed(int(text))
