"""Select the batch size: the number of images per pipeline call.

With a fixed batch size, the bits of an image depend neither on the other images of the batch nor on its position.
With another batch size, kernels sum in another order and pixels differ by one gray level. Therefore all jobs of a group
use the same batch size: an incomplete batch is padded with copies of its last job, whose images are discarded. The
record contains the batch size, and `replay` uses it.
"""

from dataclasses import dataclass
from typing import Protocol

from artgen.errors import UsageError
from artgen.jobs.job import Job, PipelineJob
from artgen.spec.settings import MAX_BATCH_SIZE, describe_value, parse_whole_number
from artgen.system import hardware

AUTO = "auto"
MIN_SPEEDUP = 1.05
"""Smallest speedup per image for which a larger batch size is selected, because it also needs more memory."""

CUDA_BATCH_SIZES = {"sd1": 8, "sd2": 8}
"""Batch sizes that fully use a GPU at the native size of the model, by architecture."""

CUDA_DEFAULT_BATCH_SIZE = 4
"""Batch size on CUDA for all other architectures."""

CPU_BATCH_SIZE = 8
"""Fastest batch size of a small model on a CPU for images of 128x128 pixels. See RESULTS.md."""

SMALL_MODEL_BYTES = 500_000_000
"""Size of the weights below which a CPU is limited by call overhead, not by matrix products."""


@dataclass(frozen=True)
class JobGroup:
    """Describe jobs that can share a pipeline call.

    Attributes:
        shape_id: Number of the group.
        total: Number of jobs in the group.
        remaining: Number of jobs that are not completed, at least 1.
        default_size: Result of `default_batch_size` for the jobs.
    """

    shape_id: int
    total: int
    remaining: int
    default_size: int


class BatchSizePolicy(Protocol):
    """Select the batch size of each group."""

    def next_batch_size(self, group: JobGroup) -> int:
        """Return the next batch size, 1 to 256. It may exceed the number of remaining jobs."""

    def record_timing(self, shape_id: int, num_images: int, seconds_per_image: float) -> None:
        """Record the duration of a pipeline call that generated `num_images` images."""


class ExactBatchSize:
    """Use the same batch size for every group."""

    def __init__(self, batch_size: int) -> None:
        """Create a policy.

        Raises:
            UsageError: The batch size is outside 1 to 256.
        """
        if not 1 <= batch_size <= MAX_BATCH_SIZE:
            raise _invalid_batch_size(str(batch_size))
        self._batch_size = batch_size

    def next_batch_size(self, group: JobGroup) -> int:  # noqa: ARG002
        return self._batch_size

    def record_timing(self, shape_id: int, num_images: int, seconds_per_image: float) -> None:
        """Do nothing: the batch size is fixed."""


class MaxBatchSize(ExactBatchSize):
    """Use the given batch size, or a smaller one for groups with fewer jobs."""

    def next_batch_size(self, group: JobGroup) -> int:
        return _cap_to_total(self._batch_size, group.total)


class DefaultBatchSize:
    """Use the default batch size of the model, image size and device."""

    def next_batch_size(self, group: JobGroup) -> int:
        return _cap_to_total(group.default_size, group.total)

    def record_timing(self, shape_id: int, num_images: int, seconds_per_image: float) -> None:
        """Do nothing: the batch size is fixed."""


class AutoTuneBatchSize:
    """Double the batch size while the time per image decreases, then use the fastest one.

    Attributes:
        best_sizes: Fastest batch size of each group for which tuning is complete.
    """

    def __init__(self) -> None:
        self._seconds_by_size: dict[int, dict[int, float]] = {}
        self.best_sizes: dict[int, int] = {}

    def next_batch_size(self, group: JobGroup) -> int:
        if group.shape_id in self.best_sizes:
            return _cap_to_total(self.best_sizes[group.shape_id], group.total)
        return min(self._next_trial_size(group.shape_id), group.remaining)

    def record_timing(self, shape_id: int, num_images: int, seconds_per_image: float) -> None:
        if shape_id in self.best_sizes or num_images < self._next_trial_size(shape_id):
            return  # The last, smaller batch of a group does not measure the trial size.
        seconds_by_size = self._seconds_by_size.setdefault(shape_id, {})
        best = min(seconds_by_size, key=lambda size: seconds_by_size[size], default=None)
        seconds_by_size[num_images] = seconds_per_image
        if best is not None and seconds_per_image * MIN_SPEEDUP > seconds_by_size[best]:
            self.best_sizes[shape_id] = best
        elif num_images >= MAX_BATCH_SIZE:
            self.best_sizes[shape_id] = num_images

    def _next_trial_size(self, shape_id: int) -> int:
        return 2 * max(self._seconds_by_size.get(shape_id, {}), default=0) or 1


def _cap_to_total(batch_size: int, total: int) -> int:
    """Return the batch size for a group of `total` jobs: at most the next power of two."""
    return min(batch_size, 1 << (total - 1).bit_length())


def default_batch_size(job: Job) -> int:
    """Return the default batch size for the model, image size and device of a job, a power of two.

    On a CPU the result is 1 for a large model, because one image keeps all cores busy.
    """
    if not isinstance(job, PipelineJob) or job.model.pipeline_entry.max_batch_size == 1:
        return 1
    model, device = job.model, job.request.device
    if device.startswith("cuda") or (device == "auto" and hardware.cuda_device_count()):
        max_size = min(CUDA_BATCH_SIZES.get(model.architecture, CUDA_DEFAULT_BATCH_SIZE), job.max_batch_size)
        width, height = model.native_size
    elif model.weight_bytes() < SMALL_MODEL_BYTES:
        max_size, width, height = min(CPU_BATCH_SIZE, job.max_batch_size), 128, 128
    else:
        return 1
    batch_size = min(max_size, max_size * width * height // (job.width * job.height))
    return 1 << max(0, batch_size.bit_length() - 1)


def parse_batch_size(text: str | None) -> BatchSizePolicy:
    """Return the policy for `auto`, a number, or None (the default batch size).

    Raises:
        UsageError: The text is neither `auto` nor a number from 1 to 256.
    """
    if text is None:
        return DefaultBatchSize()
    if text.strip().casefold() == AUTO:
        return AutoTuneBatchSize()
    size = parse_whole_number(text)
    if size is None:
        raise _invalid_batch_size(text)
    return MaxBatchSize(size)


def _invalid_batch_size(text: str) -> UsageError:
    return UsageError(
        f"Cannot use batch size {describe_value(text)}: the value must be auto or a number from 1 to {MAX_BATCH_SIZE}.",
        "Use --batch-size auto or --batch-size 4.",
    )
