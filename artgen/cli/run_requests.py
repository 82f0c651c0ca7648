"""Run all requests of a command: validate, list or generate them, print results, and exit with the right code.

The jobs come from `request_jobs.RequestJobs`, which has no ledger, or from `ledger_jobs.LedgerJobs`, which has one.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import typer

from artgen.cli.console import EXIT_SOME_FAILED, print_error, print_note, print_result, shares_terminal
from artgen.cli.display import Display
from artgen.cli.first_run import print_first_step
from artgen.cli.record_output import image_output
from artgen.cli.stdout_image import is_stdout, print_saved_path
from artgen.errors import ArtgenError, FilteredError
from artgen.spec.settings import FramesSettings, OutputSettings, RemoteSettings, ReportSettings
from artgen.system import attempt, process
from artgen.system.counts import counted, format_duration

if TYPE_CHECKING:
    from artgen.cli.reporter import Reporter

IMAGE_OUTPUT = image_output()

MAX_LISTED_ERRORS = 50
"""Maximum number of errors of one kind that are printed. The rest are counted."""


@dataclass(frozen=True)
class OutputOptions:
    """Store the settings that apply to results.

    Attributes:
        output: destination and file format of the images.
        frames: content and destination of the intermediate steps.
        report: what is printed.
        remote: server that generates the images.
    """

    output: OutputSettings
    frames: FramesSettings
    report: ReportSettings
    remote: RemoteSettings = RemoteSettings()


@dataclass(frozen=True)
class PendingJob:
    """Represent one job that has not run yet.

    Attributes:
        location: prompt-file line such as `prompts.txt:12`; empty without a prompt file.
        record: the record as far as it is known before generation.
        settings: the task, and all settings that differ from a request without options.
        choose_name: returns the path of the image without creating it.
    """

    location: str
    record: Mapping[str, Any]
    settings: Mapping[str, Any]
    choose_name: Callable[[], Path]


@dataclass(frozen=True)
class JobOutcome:
    """Store the result of one job.

    Attributes:
        label: name of the job in notes, such as `Seed 7` or `prompts.txt:12`; may be empty.
        path: the image file, or None if the image could not be generated.
        frames: the file or folder of the intermediate steps, or None.
        record: the record of the image.
        seconds: duration of the job.
        error: the reason of a failure, or None. An image whose frames could not be saved has a path and an error.
        measure: is called once after the image is saved; returns additional values for `--json`.
        number: number of the job in the run; None if the outcome is of an earlier run.
        is_reported: the first attempt of the command has printed the outcome.
    """

    label: str
    path: Path | None = None
    frames: Path | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    error: ArtgenError | None = None
    measure: Callable[[], dict[str, Any]] = dict
    number: int | None = None
    is_reported: bool = False


OnOutcome = Callable[[JobOutcome], None]


@dataclass(frozen=True)
class RunPlan:
    """Store the validated jobs of one run.

    Attributes:
        pending: jobs to run now, in order.
        generate: runs the pending jobs and calls its second argument with each outcome.
        check: runs the checks of the engine, which need no weights, for a dry run.
        total: number of all jobs, including completed jobs.
        has_ledger: the same command can continue the run later.
        notes: notes to print before the run.
        failed: outcomes of jobs that failed in an earlier run and are not retried.
        folder: the folder of a run with a ledger, in quotes.
    """

    pending: Sequence[PendingJob]
    generate: "Callable[[Reporter, OnOutcome], None]"
    check: "Callable[[Reporter], None]"
    total: int
    has_ledger: bool
    notes: Sequence[str] = ()
    failed: Sequence[JobOutcome] = ()
    folder: str = ""


class JobSource(Protocol):
    """Represent the source of the jobs of a run."""

    def create_reporter(self, report: ReportSettings) -> "Reporter":
        """Return the progress display that fits the jobs."""

    def prepare(self, reporter: "Reporter") -> RunPlan:
        """Validate all requests before a model is loaded."""


def run_requests(source: JobSource, report: ReportSettings, *, on_finished: Callable[[], Path] | None = None) -> None:
    """Validate all requests, generate the images that do not exist yet, and report the results.

    Args:
        source: the jobs, with or without a ledger.
        report: what is printed. With `dry_run`, the jobs are listed and nothing is generated.
        on_finished: is called after all jobs, before the summary of failures; returns the sheet of the images.

    Raises:
        ArtgenError: a request is invalid; or all jobs of a run without a ledger failed with the same exit code.
        OutputError: a file cannot be written.
        typer.Exit: code 7 if some jobs failed, 8 if filters refused all images of a run with a ledger.
    """
    start_time = time.monotonic()
    with source.create_reporter(report) as reporter:
        if report.verbose and not report.quiet:
            from artgen.cli.verbose import version_note

            print_note(version_note())
        plan = source.prepare(reporter)
        if not report.quiet and not attempt.has_results():
            for text in plan.notes:
                print_note(text)
        if report.dry_run:
            plan.check(reporter)
            _print_pending(plan.pending, report)
            if plan.failed:
                _exit_with_failures(plan.failed, plan, report)
            return
        failures, models = list(plan.failed), set[str]()
        saved: list[Path] = []
        display = Display(report)

        def on_outcome(outcome: JobOutcome) -> None:
            if outcome.error is not None:
                failures.append(outcome)
            else:
                models.add(str(outcome.record.get("model")))
            if outcome.path is not None:
                saved.append(outcome.path)
            if outcome.is_reported:
                return
            if outcome.path is not None and not plan.has_ledger:
                display.show_file(outcome.path)
            _print_outcome(outcome, plan, report)
            _report_result(outcome)

        plan.generate(reporter, on_outcome)
    sheet = on_finished() if on_finished is not None else None
    if saved and plan.has_ledger:
        display.show_file(sheet or saved[-1])
    if saved:
        display.open(saved[-1] if plan.total == 1 else saved[-1].parent)
    if saved and (plan.has_ledger or plan.total > 1) and not report.quiet:
        seconds = process.elapsed_seconds() if process.owns_process() else time.monotonic() - start_time
        print_note(f"{counted(len(saved), 'image')} in {_format_seconds(seconds)}{plan.folder and f': {plan.folder}'}.")
    print_first_step(models, report)
    if failures:
        _exit_with_failures(failures, plan, report)


def _report_result(outcome: JobOutcome) -> None:
    error = outcome.error
    attempt.report(
        "result",
        number=outcome.number,
        path=None if outcome.path is None else str(outcome.path),
        frames=None if outcome.frames is None else str(outcome.frames),
        model=outcome.record.get("model"),
        error=None if error is None else (error.message, error.hint, error.exit_code),
    )


def _print_pending(pending: Sequence[PendingJob], report: ReportSettings) -> None:
    for job in pending:
        if report.json:
            location = {"where": job.location} if job.location else {}
            IMAGE_OUTPUT.print({**location, "file": job.choose_name(), **job.record})
        else:
            settings = {**job.settings, "output": job.choose_name()}
            print_result("  ".join(text for text in (job.location, summary_line(settings)) if text))
    if not report.quiet:
        print_note(f"Dry run: {counted(len(pending), 'image')} would be generated.")


def _print_outcome(outcome: JobOutcome, plan: RunPlan, report: ReportSettings) -> None:
    if outcome.path is not None:
        _print_saved(outcome, outcome.path, plan, report)
    if outcome.error is not None and not report.quiet and (plan.has_ledger or plan.total > 1):
        print_note(f"{outcome.label}: {outcome.error.message}")
        for line in outcome.error.hint.splitlines():
            print_note(f"  {line}")


def _print_saved(outcome: JobOutcome, path: Path, plan: RunPlan, report: ReportSettings) -> None:
    if not report.quiet and (report.verbose or not plan.has_ledger):
        # On a terminal, the path continues the line. Progress bars of a batch print only complete lines.
        continues = not (report.json or plan.has_ledger or is_stdout(path)) and shares_terminal()
        text = ", ".join(part for part in (outcome.label, _format_seconds(outcome.seconds)) if part)
        print_note(text + (":" if continues else "."), end=" " if continues else "\n")
    if report.json:
        frames = {"frames": outcome.frames} if outcome.frames else {}
        IMAGE_OUTPUT.print({"file": path, **outcome.record, **frames, **outcome.measure()})
        return
    print_saved_path(path, outcome.frames)
    outcome.measure()


def _format_seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else format_duration(seconds)


def _exit_with_failures(failures: Sequence[JobOutcome], plan: RunPlan, report: ReportSettings) -> None:
    """Exit with code 7, or 8 if filters refused all images.

    Without a ledger, raise the error if all jobs failed with the same exit code.
    """
    errors = [outcome.error for outcome in failures if outcome.error is not None]
    if not plan.has_ledger and len(errors) == plan.total and len({error.exit_code for error in errors}) == 1:
        raise errors[0]
    if plan.has_ledger or report.quiet:  # otherwise each failure was printed when it occurred
        for outcome, error in list(zip(failures, errors, strict=True))[:MAX_LISTED_ERRORS]:
            print_note(f"{outcome.label}: {error.message}")
        if len(failures) > MAX_LISTED_ERRORS:
            print_note(
                f"{counted(len(failures) - MAX_LISTED_ERRORS, 'more failure is', 'more failures are')} not listed."
            )
    hint = "Add --retry-failed to try them again." if plan.has_ledger else ""
    print_error(ArtgenError(f"{len(failures):,} of {counted(plan.total, 'image')} failed.", hint))
    are_filtered = len(errors) == plan.total and {error.exit_code for error in errors} == {FilteredError.exit_code}
    raise typer.Exit(FilteredError.exit_code if are_filtered else EXIT_SOME_FAILED)


def summary_line(settings: Mapping[str, Any]) -> str:
    """Return the settings of a job as one line, for `--dry-run`: `NAME=VALUE`, separated by two spaces.

    Omits unset settings. A text that contains two spaces or a control character is written as JSON.
    """
    parts = []
    for name, value in settings.items():
        for item in value if isinstance(value, tuple) else (value,):
            text = str(item)
            if item is not None and item is not False and text:
                is_plain = text.isprintable() and "  " not in text
                parts.append(f"{name}={text if is_plain else json.dumps(text, ensure_ascii=False)}")
    return "  ".join(parts)
