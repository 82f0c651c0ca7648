"""How many pictures are drawn at the same time.

One call of a pipeline draws a device batch. With one number of rows, a picture's bits depend neither on what else is in
the batch nor on its place there; with another number, kernels add in another order, and pixels differ by a grey level.
So pictures of one shape have one number of rows: where fewer are left, the last one is drawn again in the rows that are
free, and thrown away. The record keeps the number, and `replay` uses it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from artgen.errors import UsageError
from artgen.jobs.prepare import Job
from artgen.spec.requests import PromptRequest, Request
from artgen.spec.settings import MAX_BATCH_SIZE
from artgen.system import hardware

AUTO = "auto"
MIN_SPEEDUP = 1.05
"""How much faster a larger batch must be, to make up for what it takes in memory."""

CUDA_BATCH_SIZES = {"sd1": 8, "sd2": 8}
"""Rows that fill a GPU with pictures of a model's own size."""

CUDA_DEFAULT_BATCH_SIZE = 4

CPU_BATCH_SIZE = 8
"""Rows at which a small model is fastest on a CPU, with pictures of 128x128 pixels; see RESULTS.md."""

SMALL_MODEL_BYTES = 500_000_000
"""Bytes of weights up to which a CPU is kept waiting by the calls, not by the products in them."""


@dataclass(frozen=True)
class JobGroup:
    """Pictures of one shape: one call of a pipeline could draw any of them together.

    Attributes:
        shape_id: its number.
        total: how many pictures there are of it, with those that are drawn already.
        remaining: how many are not drawn yet, 1 or more.
        default_size: what `default_size` says of them.
    """

    shape_id: int
    total: int
    remaining: int
    default_size: int


class BatchSizePolicy(Protocol):
    """Chooses the number of rows for each shape of picture."""

    def next_batch_size(self, group: JobGroup) -> int:
        """The rows of the next device batch, 1 to 256; they may be more than there are pictures left."""

    def record_timing(self, shape_id: int, num_images: int, seconds_per_image: float) -> None:
        """Takes note that `num_images` pictures together took `seconds_per_image` each."""


class ExactBatchSize:
    """Always the same, however few pictures there are."""

    def __init__(self, batch_size: int) -> None:
        """Raises UsageError for a number outside 1 to 256."""
        if not 1 <= batch_size <= MAX_BATCH_SIZE:
            raise UsageError(f"batch_size must be auto or 1 to {MAX_BATCH_SIZE}, not {batch_size}.")
        self._batch_size = batch_size

    def next_batch_size(self, group: JobGroup) -> int:  # noqa: ARG002
        return self._batch_size

    def record_timing(self, shape_id: int, num_images: int, seconds_per_image: float) -> None:
        """Nothing to learn."""


class MaxBatchSize(ExactBatchSize):
    """The same for all shapes that have as many pictures."""

    def next_batch_size(self, group: JobGroup) -> int:
        return _cap_to_remaining(self._batch_size, group.total)


class DefaultBatchSize:
    """What suits the model and the device."""

    def next_batch_size(self, group: JobGroup) -> int:
        return _cap_to_remaining(group.default_size, group.total)

    def record_timing(self, shape_id: int, num_images: int, seconds_per_image: float) -> None:
        """Nothing to learn."""


class AutoTuneBatchSize:
    """Doubles as long as pictures come faster for it, and goes back to the best when they do not.

    The engine halves a batch that does not fit in memory; the seconds of such a try tell against its size.
    """

    def __init__(self) -> None:
        self._seconds_by_size: dict[int, dict[int, float]] = {}
        self.best_sizes: dict[int, int] = {}
        """The best size of each shape, as far as it is known."""

    def next_batch_size(self, group: JobGroup) -> int:
        if group.shape_id in self.best_sizes:
            return _cap_to_remaining(self.best_sizes[group.shape_id], group.total)
        return min(self._next_trial_size(group.shape_id), group.remaining)

    def record_timing(self, shape_id: int, num_images: int, seconds_per_image: float) -> None:
        if shape_id in self.best_sizes or num_images < self._next_trial_size(shape_id):
            return  # the rest of a shape says nothing
        tried = self._seconds_by_size.setdefault(shape_id, {})
        best = min(tried, key=lambda size: tried[size], default=None)
        tried[num_images] = seconds_per_image
        if best is not None and seconds_per_image * MIN_SPEEDUP > tried[best]:
            self.best_sizes[shape_id] = best
        elif num_images >= MAX_BATCH_SIZE:
            self.best_sizes[shape_id] = num_images

    def _next_trial_size(self, shape_id: int) -> int:
        return 2 * max(self._seconds_by_size.get(shape_id, {}), default=0) or 1


def _cap_to_remaining(batch_size: int, total: int) -> int:
    """The rows for a shape that may have fewer pictures: then the next power of two holds them all."""
    return min(batch_size, 1 << (total - 1).bit_length())


def group_key(request: Request) -> Request:
    """What must agree in requests that are drawn together, beside size and wording: all but seed and pictures."""
    if not isinstance(request, PromptRequest):
        return request
    pictures = {name: Path("any") for name in ("image", "mask") if getattr(request, name, None) is not None}
    return request.replace(seed=0, prompt="", negative_prompt="", **pictures)


def prompt_group_key(request: Request) -> tuple[Any, ...]:
    """What must agree in the words of requests that are drawn together."""
    if not isinstance(request, PromptRequest):
        return ()
    # Chunks would be as many as the longest neighbour needs.
    words = (request.prompt, request.negative_prompt) if request.long_prompt == "chunk" else ()
    return bool(request.negative_prompt), *words


def default_batch_size(job: Job) -> int:
    """How many pictures like this one are best drawn together, by model, size and device; a power of two.

    On a CPU, a large model keeps all cores busy with one picture.
    """
    if job.model_or_none is None or not isinstance(job.request, PromptRequest):
        return 1
    device = job.request.device
    if device.startswith("cuda") or (device == "auto" and hardware.cuda_device_count()):
        most, (width, height) = (
            CUDA_BATCH_SIZES.get(job.model_or_none.architecture, CUDA_DEFAULT_BATCH_SIZE),
            job.model_or_none.native_size,
        )
    elif job.model_or_none.weight_bytes() < SMALL_MODEL_BYTES:
        most, width, height = CPU_BATCH_SIZE, 128, 128
    else:
        return 1
    rows = min(most, most * width * height // (job.width * job.height))
    return 1 << max(0, rows.bit_length() - 1)


def parse_batch_size(text: str | None) -> BatchSizePolicy:
    """`auto`, how many at a time, or None for what suits.

    Raises:
        UsageError: neither.
    """
    if text is None:
        return DefaultBatchSize()
    if text.strip().casefold() == AUTO:
        return AutoTuneBatchSize()
    if not text.strip().isdecimal():
        raise UsageError(f"batch_size must be auto or 1 to {MAX_BATCH_SIZE}, not {text!r}.")
    return MaxBatchSize(int(text))
