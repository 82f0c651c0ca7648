"""Generate many images into a folder with a ledger: the function `batch`, and functions for its folder."""

import contextlib
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from artgen.api.arguments import api_function, take_group
from artgen.api.batch_inputs import parse_inputs, sweep_texts
from artgen.api.call import Call, start_call
from artgen.api.function_keywords import FUNCTIONS
from artgen.api.generation import take_series
from artgen.api.keyword_types import BatchKeywords
from artgen.errors import ArtgenError, InputFileError, UsageError
from artgen.spec.fields import non_default_settings, validate
from artgen.spec.python_text import for_python, python_text
from artgen.spec.settings import BatchRunSettings, OutputSettings
from artgen.system.counts import counted

if TYPE_CHECKING:
    from PIL import Image

    from artgen.api.batch_inputs import PromptInput
    from artgen.api.batch_run import BatchOutcome, BatchRun
    from artgen.api.sweep import Sweep
    from artgen.queue.job_queue import RunState
    from artgen.queue.ledger import Ledger
    from artgen.queue.plan import BatchPlan
    from artgen.queue.status import BatchStatus, VerifiedFile

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
        return f"<BatchResults {self.total} jobs, {self.num_pending} to generate, folder={str(self.folder)!r}>"


@api_function("batch")
def batch(prompts: "PromptInput | None" = None, **settings: Unpack[BatchKeywords]) -> BatchResults:
    """Generate the images of prompts, prompt files or folders of images, and save them in a folder with a ledger.

    All jobs are validated before a model is loaded. The result is an iterator: the loop generates and saves the images.
    Images that exist already are not generated again, so the same call continues a batch that was interrupted. With
    several workers, a script needs the guard `if __name__ == "__main__":`.

    Args:
        prompts: A path of a prompt file, an image or a folder of images; or a list. Each item of a list is a line of a
            prompt file (a prompt, and options after it), a dictionary with the settings of a
            job, a record, a request, or a path. None: one prompt, from the keyword `prompt`, for `sweep` and
            `combinatorial`.

    Raises:
        InvalidBatchError: Jobs are invalid; the message lists them.
        UsageError, InputFileError, ModelUnavailableError, RefusedError: A setting or a file is invalid.
        OutputError: An image cannot be saved. Raised by the iterator.
    """
    with contextlib.ExitStack() as stack:
        call = stack.enter_context(start_call("batch", settings))
        plan = _plan(call, prompts)
        state = plan.run.prepare(call.listener)
        for text in plan.run.notes:
            call.listener.add_note(text)
        total = len(state.jobs) + len(plan.run.plan.line_errors)
        results = _results(plan, state, call, stack.pop_all())
        return BatchResults(plan.folder, total, len(state.pending), call, results)


@dataclass(frozen=True)
class _Plan:
    """Store the run of a batch, its folder, and its sweep if there is one."""

    run: "BatchRun"
    folder: Path
    sweep: "Sweep | None" = None


def _plan(call: Call, prompts: "PromptInput | None") -> _Plan:
    """Return the plan of a call.

    Raises:
        UsageError, InputFileError: a setting or an input is invalid.
    """
    from artgen.api.batch_run import BatchRun
    from artgen.api.sweep import plan_sweep
    from artgen.queue.batch_entries import batch_folder
    from artgen.queue.entries import Entry, LineError

    values = dict(call.values)
    given = values.keys() - call.from_presets
    swept, output_text = sweep_texts(values.pop("sweep", None)), values.pop("folder", None)
    series = take_series(values)
    values |= {"seed": series.seed, "count": series.count}
    groups: dict[type, Any] = {group: take_group(group, values) for group in FUNCTIONS["batch"].groups}
    run_settings, output = groups.pop(BatchRunSettings), replace(groups.pop(OutputSettings), output=output_text)
    validate(output)
    defaults = non_default_settings(*groups.values()) | ({"task": run_settings.task} if run_settings.task else {})
    batch_size = defaults.pop("batch_size", None)
    inputs = parse_inputs(prompts, run_settings.ignore_columns)
    sweep = None
    entries: Sequence[Entry | LineError]
    if swept:
        images = inputs.sweep_images()
        with _folder_hints():
            sweep = plan_sweep(images, defaults, swept, output)
        entries, folder, defaults = sweep.entries, sweep.folder, dict(sweep.defaults)
    else:
        with _folder_hints():
            folder, output_settings = batch_folder(output, inputs.name)
        defaults |= output_settings
        entries = inputs.entries(defaults, folder, call.listener.add_note)
        if prompts is None and (defaults.get("prompt") or defaults.get("combinatorial")):
            entries = [Entry("prompt", 0, {})]
    run = BatchRun(
        entries,
        folder,
        defaults,
        run_settings,
        batch_size=batch_size,
        is_typed=given.__contains__,
        on_invalid_entries=_reject_invalid_entries,
    )
    return _Plan(run, folder, sweep)


@contextlib.contextmanager
def _folder_hints() -> Iterator[None]:
    """Name the keyword `folder` in hints about the destination."""
    try:
        yield
    except UsageError as error:
        error.hint = error.hint.replace("-o images/", "folder='images'")
        raise


def _reject_invalid_entries(plan: "BatchPlan", *, keep_going: bool) -> None:
    if not keep_going:
        raise InvalidBatchError(plan)


def _results(plan: _Plan, state: "RunState", call: Call, resources: contextlib.ExitStack) -> Iterator[BatchResult]:
    """Yield the results of earlier calls, then generate the pending images. `resources` are closed at the end."""
    with resources, for_python():
        for outcome in (*plan.run.earlier_images(state), *plan.run.earlier_failures(state)):
            yield _result(outcome)
        outcomes: deque[BatchOutcome] = deque()
        try:
            for _ in plan.run.run(state, outcomes.append, call.listener, waits_for_saves=True):
                while outcomes:
                    yield _result(outcomes.popleft())
        except ArtgenError as error:
            yield from map(_result, outcomes)
            if error.message.startswith("Cannot start a worker"):
                error.hint = 'Protect the script with `if __name__ == "__main__":`, or call batch without workers.'
            raise
        yield from map(_result, outcomes)
        if plan.sweep is not None:
            from artgen.api.sweep import write_sheet_and_csv

            write_sheet_and_csv(plan.sweep.axes, plan.run.plan, plan.run.ledger, lambda _: None)


def _result(outcome: "BatchOutcome") -> BatchResult:
    seed = outcome.job.request.seed if outcome.job else None
    error = outcome.error
    if error is not None:
        error.message, error.hint = python_text(error.message), python_text(error.hint)
    is_new = bool(outcome.record)  # empty for an image of an earlier call or of another process
    return BatchResult(
        outcome.path, seed, error, outcome.location, outcome.frames, outcome.seconds, is_new, outcome.record
    )


@for_python()
def batch_status(folder: "str | os.PathLike[str]") -> "BatchStatus":
    """Return the progress of a batch: numbers of images, images per minute.

    Args:
        folder: folder of the images.

    Raises:
        InputFileError: the folder does not contain a batch.
    """
    from artgen.queue import status

    return status.batch_status(read_ledger(Path(folder)))


@for_python()
def verify_batch(folder: "str | os.PathLike[str]") -> "list[VerifiedFile]":
    """Return whether each image of a batch is intact, changed or missing, by its SHA-256 in the ledger.

    Args:
        folder: folder of the images.

    Raises:
        InputFileError: the folder does not contain a batch.
    """
    from artgen.queue import status

    return list(status.verify_files(read_ledger(Path(folder))))


def read_ledger(folder: Path) -> "Ledger":
    """Return the ledger of a batch.

    Raises:
        InputFileError: the folder does not contain a batch.
    """
    from artgen.queue.ledger import Ledger

    ledger = Ledger(folder)
    ledger.refresh()
    if not ledger.records and not ledger.run_starts:
        raise InputFileError(
            f"Cannot read '{folder}': it does not contain a batch.", "Use the output folder of `artgen batch`."
        )
    return ledger
