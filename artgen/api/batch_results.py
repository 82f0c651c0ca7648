"""Represent the results of `artgen.batch`, and the error for invalid jobs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artgen.api.call import Call
from artgen.errors import ArtgenError, UsageError
from artgen.system.counts import counted

if TYPE_CHECKING:
    from PIL import Image

    from artgen.queue.plan import BatchPlan

MAX_LISTED_ERRORS = 5
"""Maximum number of invalid entries that the message of an error lists. `errors` contains all of them."""


@dataclass(frozen=True)
class BatchResult:
    """Represent a job of a batch: a saved image, or a failure.

    Attributes:
        path: the image file; None for a failure.
        seed: random seed; None for an invalid entry, and for a method without random numbers.
        error: the reason of a failure; None for an image.
        location: line of the prompt file such as `prompts.txt:12`, combination of a sweep such as `steps=20`, or name
            of the input image.
        frames: the file or folder of the intermediate steps; None if there are none.
        seconds: duration of the job.
        is_new: whether this call generated the image. False for a failure, and for an image of an earlier call or of
            another process.
    """

    path: Path | None
    seed: int | None
    error: ArtgenError | None
    location: str
    frames: Path | None = None
    seconds: float = 0.0
    is_new: bool = False
    _record: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def image(self) -> "Image.Image":
        """Return the image of the file as a PIL image. The file is read when this attribute is first used.

        Raises:
            ArtgenError: the error of a job that failed.
            InputFileError: the file cannot be read.
        """
        from artgen.images import load_lossless

        return load_lossless(self._existing_path()).image

    @cached_property
    def record(self) -> dict[str, Any]:
        """Return the record of the image. The record of an image of an earlier call is read from the file.

        Raises:
            ArtgenError: the error of a job that failed.
            InputFileError: the file cannot be read, or contains no record.
        """
        from artgen.metadata import read_metadata

        path = self._existing_path()
        return dict(self._record) or dict(read_metadata(path).record or {})

    def __fspath__(self) -> str:
        """Return the path of the image, so that functions take a result as an input image."""
        return str(self._existing_path())

    def _existing_path(self) -> Path:
        if self.path is None:
            raise self.error or ArtgenError("The job has no image.")
        return self.path

    def _repr_png_(self) -> bytes | None:
        """Return the image as a PNG file, which notebooks show; None for a failure."""
        from artgen.outputs import encode_without_metadata

        return encode_without_metadata(self.image, "png") if self.path else None


class InvalidBatchError(UsageError):
    """Report invalid entries of a batch. No image was generated.

    Attributes:
        errors: location and error of each invalid entry.
    """

    def __init__(self, plan: "BatchPlan") -> None:
        self.errors = tuple((line.location, line.error) for line in plan.line_errors)
        total = len(plan.line_errors) + len(plan.jobs)
        listed = [f"{location}: {error.message}" for location, error in self.errors[:MAX_LISTED_ERRORS]]
        if len(self.errors) > MAX_LISTED_ERRORS:
            listed.append(f"{len(self.errors) - MAX_LISTED_ERRORS:,} more.")
        hints = dict.fromkeys(error.hint for _, error in self.errors[:MAX_LISTED_ERRORS] if error.hint)
        if plan.jobs:
            hints["keep_going=True generates the other images."] = None
        super().__init__(
            f"{len(self.errors):,} of {counted(total, 'job')} cannot run: {' '.join(listed)}", " ".join(hints)
        )
        codes = {error.exit_code for _, error in self.errors}
        self.exit_code = codes.pop() if len(codes) == 1 else UsageError.exit_code


class BatchResults(Iterator[BatchResult]):
    """Iterate over the results of a batch. The next pipeline call runs when its first result is requested.

    A pipeline call generates several images if the model and the device allow it; `batch_size=1` gives one. First, the
    images of earlier calls and earlier failures are returned, then the new images. The same call continues a batch
    whose loop was left early.

    Attributes:
        folder: folder of the images.
        total: number of all jobs, including invalid entries.
        num_pending: number of images to generate.
        notes: notes about the batch, one sentence each.
    """

    def __init__(self, folder: Path, total: int, num_pending: int, call: Call, results: Iterator[BatchResult]) -> None:
        self.folder = folder
        self.total = total
        self.num_pending = num_pending
        self._call = call
        self._results = results

    @property
    def notes(self) -> tuple[str, ...]:
        """Return the notes so far."""
        return self._call.notes

    def __next__(self) -> BatchResult:
        return next(self._results)

    def __enter__(self) -> "BatchResults":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the batch. Images that are not generated yet stay pending."""
        close = getattr(self._results, "close", None)
        if close is not None:
            close()

    def __repr__(self) -> str:
        return (
            f"<BatchResults {counted(self.total, 'job')}, {self.num_pending} to generate, folder={str(self.folder)!r}>"
        )
