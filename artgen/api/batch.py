"""Define the function `batch`, which generates many images into a folder with a ledger."""

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from artgen.api.arguments import api_function, take_group
from artgen.api.batch_inputs import parse_inputs, sweep_texts
from artgen.api.batch_results import BatchResult, BatchResults, InvalidBatchError
from artgen.api.call import Call, start_call
from artgen.api.function_keywords import FUNCTIONS
from artgen.api.generation import take_series
from artgen.api.keyword_types import BatchKeywords
from artgen.errors import ArtgenError, UsageError
from artgen.spec.fields import non_default_settings, validate
from artgen.spec.python_text import for_python, python_text
from artgen.spec.python_values import output_text
from artgen.spec.settings import BatchRunSettings, OutputSettings

if TYPE_CHECKING:
    from artgen.api.batch_inputs import PromptInput
    from artgen.api.batch_outcome import BatchOutcome
    from artgen.api.batch_run import BatchRun
    from artgen.api.sweep import Sweep
    from artgen.queue.job_queue import RunState
    from artgen.queue.plan import BatchPlan


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
    swept, destination = sweep_texts(values.pop("sweep", None)), values.pop("folder", None)
    if destination is not None:
        is_text = isinstance(destination, str)
        destination = output_text(destination, "folder", "images") + ("" if is_text else "/")
    series = take_series(values)
    values |= {"seed": series.seed, "count": series.count}
    groups: dict[type, Any] = {group: take_group(group, values) for group in FUNCTIONS["batch"].groups}
    run_settings, output = groups.pop(BatchRunSettings), replace(groups.pop(OutputSettings), output=destination)
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
