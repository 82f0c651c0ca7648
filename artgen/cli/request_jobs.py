"""Run requests in this process, without a ledger: the path of a single image and of `--count`."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artgen.api import engine_checks
from artgen.cli.display import has_previews
from artgen.cli.load_times import LoadTimes
from artgen.cli.reporter import Reporter
from artgen.cli.run_requests import JobOutcome, OnOutcome, OutputOptions, PendingJob, RunPlan
from artgen.cli.status_line import status_line
from artgen.cli.stdout_image import check_stdout_image
from artgen.cli.verbose import file_notes
from artgen.errors import OutputError
from artgen.events import Listener, Notice, no_op
from artgen.spec import best_of
from artgen.spec.settings import ReportSettings
from artgen.system import attempt, process

if TYPE_CHECKING:
    from artgen.engine.generate import GeneratedImage
    from artgen.jobs.batch_size import BatchSizePolicy
    from artgen.jobs.job import Job
    from artgen.jobs.prepare import PrepareJobs
    from artgen.outputs import AnimationOutput, Destination
    from artgen.outputs.signatures import Signing
    from artgen.spec.base_requests import Request

OnSaved = Callable[["GeneratedImage", Path], dict[str, Any]]
"""Receive each saved image and its path; return additional values for `--json`."""


class RequestJobs:
    """Represent jobs that one process runs in order, without a ledger."""

    def __init__(
        self,
        requests: "Sequence[Request]",
        options: OutputOptions,
        *,
        batch_size: "int | BatchSizePolicy" = 1,
        check_job: "Callable[[Job], None] | None" = None,
        prepare_request: "Callable[[Request, PrepareJobs, Listener], Job] | None" = None,
        on_saved: OnSaved | None = None,
    ) -> None:
        """Store the requests. Nothing is validated yet.

        Args:
            requests: one request for each image, all of one task.
            options: the settings that apply to the results.
            batch_size: images per pipeline call.
            prepare_request: converts a request to a job; None: `prepare_jobs`.
            check_job: raises an ArtgenError if a prepared job must not run.
            on_saved: is called with each image after it is saved.
        """
        self._requests = requests
        self._options = options
        self._batch_size = batch_size
        self._check_job = check_job
        self._prepare_request = prepare_request
        self._on_saved = on_saved

    def create_reporter(self, report: ReportSettings) -> Reporter:
        self._load_times = LoadTimes(self._requests[0])
        status_line.set_expected_seconds(self._load_times.expected_seconds(len(self._requests)))
        return Reporter(report.quiet, report.verbose)

    def prepare(self, reporter: Reporter) -> RunPlan:
        """Convert the requests to jobs, and check that each result can be saved.

        Raises:
            ArtgenError: a request cannot run, or a result cannot be saved.
        """
        # Imported here: `--help` and usage errors do not need these modules.
        from artgen import outputs
        from artgen.jobs import checks
        from artgen.jobs.prepare import prepare_jobs

        output, frames = self._options.output, self._options.frames
        destination = outputs.destination_for_requests(self._requests, output)
        animation = outputs.parse_frames_option(
            frames, multiple_images=len(self._requests) > 1, overwrite=output.overwrite
        )
        check_stdout_image(destination.is_stdout, json=self._options.report.json, dry_run=self._options.report.dry_run)
        prepare = partial(
            prepare_jobs,
            listener=reporter,
            download=not self._options.report.dry_run,
            check_previews=partial(engine_checks.check_jobs, listener=no_op),
        )
        if self._prepare_request is None:
            jobs = prepare(self._requests)
        else:
            jobs = [self._prepare_request(request, prepare, reporter) for request in self._requests]
        self._earlier_outcomes = list(_earlier_outcomes(jobs))
        for outcome in self._earlier_outcomes:
            destination.add_written(outcome.path)
            if animation is not None:
                animation.destination.add_written(outcome.frames)
        for job in jobs:
            if self._check_job is not None:
                self._check_job(job)
            destination.check(job.width, job.height, preview_record(job), has_alpha=job.has_transparency)
            if animation is not None:
                checks.check_frames(frames, job)
                animation.check(preview_record(job))
        notes = [] if self._options.report.quiet else _collect_notes(jobs, destination)
        if not self._options.report.quiet and not destination.is_stdout:
            notes += filter(None, [outputs.file_name_note(output.output, destination.suffix)])
        if animation is not None and (text := animation.scaling_note(jobs[0].size)):
            notes.append(text)
        if self._options.report.verbose:
            notes += file_notes(jobs)
        return RunPlan(
            [self._pending_job(job, destination) for job in jobs],
            partial(self._generate, jobs, destination, animation),
            partial(engine_checks.check_jobs, jobs),
            len(jobs),
            has_ledger=False,
            notes=notes,
        )

    def _pending_job(self, job: "Job", destination: "Destination") -> PendingJob:
        from artgen.spec.fields import non_default_settings

        record = preview_record(job)
        settings = {
            "task": job.request.task,
            **non_default_settings(job.request),
            "width": job.width,
            "height": job.height,
            **non_default_settings(self._options.output, self._options.frames),
        }
        return PendingJob("", record, settings, partial(destination.preview, record))

    def _generate(
        self,
        jobs: "Sequence[Job]",
        destination: "Destination",
        animation: "AnimationOutput | None",
        reporter: Reporter,
        on_outcome: OnOutcome,
    ) -> None:
        attempt.report("plan", numbers=[*range(len(jobs))])
        for outcome in self._earlier_outcomes:
            on_outcome(outcome)
        first = len(self._earlier_outcomes)
        if first == len(jobs):
            return
        from artgen.engine.select_engine import import_engine_for
        from artgen.outputs.save_result import history_notes

        engine = import_engine_for(jobs)
        start_time = time.monotonic()
        if process.owns_process() and len(jobs) == 1:
            start_time -= process.elapsed_seconds()  # a single image: the time that the user waited
        frames = animation.settings if animation else None
        context = engine.GenerationContext(previews=has_previews(self._options.report, jobs))
        results = engine.generate_jobs(
            jobs, first=first, batch_size=self._batch_size, frames=frames, context=context, listener=reporter
        )
        for number, result in enumerate(results, first):
            label = job_label(result.request, getattr(result, "record", {}))
            if isinstance(result, engine.FailedImage):
                on_outcome(JobOutcome(label, error=result.error, number=number))
                continue
            reporter.show_saving()
            attempt.report("saving", number=number)
            path = destination.save(
                result.image,
                result.record,
                low_bytes=result.low_bytes,
                seconds=result.seconds,
                request=result.request,
            )
            frames_path, error = _save_frames(animation, result, path, destination.encoding.signing)
            reporter.close()
            for note in history_notes():
                reporter(Notice(note))
            measure = partial(self._on_saved, result, path) if self._on_saved is not None else dict
            seconds = time.monotonic() - start_time
            on_outcome(JobOutcome(label, path, frames_path, result.record, seconds, error, measure, number))
            start_time = time.monotonic()
        if reporter.loading_seconds is not None:
            self._load_times.save(reporter.loading_seconds, process.elapsed_seconds(), len(jobs))


def job_label(request: "Request", record: Mapping[str, Any]) -> str:
    """Return the name of an image in notes: its seed, and the number of images of which it is the best."""
    if request.seed is None:
        return ""
    candidates = record.get(best_of.SEEDS)
    return f"Seed {request.seed}, best of {len(candidates)}" if candidates else f"Seed {request.seed}"


def _earlier_outcomes(jobs: "Sequence[Job]") -> Iterator[JobOutcome]:
    """Yield the results that the first attempt of the command reported; see `artgen.system.attempt`."""
    first = attempt.first_attempt()
    for number, job in enumerate(jobs):
        if first is None or (result := first.results.get(number)) is None:
            return
        path, frames = (Path(result[name]) if result[name] else None for name in ("path", "frames"))
        error = attempt.reported_error(result)
        record = {"model": result["model"]}
        yield JobOutcome(job_label(job.request, {}), path, frames, record, error=error, number=number, is_reported=True)


def preview_record(job: "Job") -> dict[str, Any]:
    """Return the record of a job as far as it is known before generation."""
    from artgen.spec.records import to_record

    return to_record(job.request, job.provenance)


def _save_frames(
    animation: "AnimationOutput | None", result: "GeneratedImage", image_path: Path, signing: "Signing | None"
) -> tuple[Path | None, OutputError | None]:
    """Save the frames of an image. Return their path, or the error: the image itself is saved already."""
    if animation is None:
        return None, None
    try:
        path = animation.save(result.frames, result.record, image_path, signing=signing, request=result.request)
        return path, None
    except OutputError as error:
        return None, error


def _collect_notes(jobs: "Sequence[Job]", destination: "Destination") -> list[str]:
    """Return the notes of all jobs, each note once."""
    from artgen.jobs.license_notes import license_notes
    from artgen.jobs.notes import format_notes, job_notes
    from artgen.jobs.trained_words import words_note

    notes: list[str] = []
    for job in jobs:
        notes += [*job_notes(job), *format_notes(job, destination.encoding)]
    notes += license_notes(jobs)
    notes.append(words_note((job.request, getattr(job, "model", None)) for job in jobs))
    return list(filter(None, dict.fromkeys(notes)))
