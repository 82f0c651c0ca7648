"""Run the entries of a batch with a ledger, so that the same command continues an interrupted batch."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from artgen.api.batch_outcome import BatchOutcome
from artgen.api.batch_run import BatchRun
from artgen.cli.batch_report import batch_summary, report_line_errors
from artgen.cli.console import print_note
from artgen.cli.load_times import LoadTimes
from artgen.cli.progress_batch import BatchReporter
from artgen.cli.remote_server import find_server, reject_local_options
from artgen.cli.reporter import Reporter
from artgen.cli.run_requests import JobOutcome, OnOutcome, PendingJob, RunPlan
from artgen.cli.user_defaults import is_typed
from artgen.errors import ArtgenError
from artgen.queue.entries import Entry, LineError
from artgen.queue.job_queue import RunState
from artgen.queue.ledger import Ledger
from artgen.queue.plan import BatchPlan, PlannedJob
from artgen.spec.fields import non_default_settings
from artgen.spec.records import to_record
from artgen.spec.settings import FramesSettings, OutputSettings, RemoteSettings, ReportSettings, RunSettings, options_of
from artgen.system import attempt
from artgen.system.counts import counted

_THIS_MACHINE = RemoteSettings()


class LedgerJobs:
    """Represent the jobs of a batch, whose results a ledger records."""

    def __init__(
        self,
        entries: Iterable[Entry | LineError],
        folder: Path,
        defaults: Mapping[str, Any],
        run_settings: RunSettings,
        *,
        batch_size: str | None = None,
        remote: RemoteSettings = _THIS_MACHINE,
    ) -> None:
        """Store the entries. Nothing is validated or written yet. See `BatchRun`.

        Raises:
            UsageError: the address of the server is invalid, or the settings contain something that a server does not
                support.
        """
        if (server := find_server(remote)) is not None:
            frames = FramesSettings(frames=defaults.get("frames"))
            reject_local_options(frames, batch_size, workers=run_settings.workers > 1, ray=run_settings.ray)
        self._folder = folder
        self._defaults = defaults
        self._run = BatchRun(
            entries,
            folder,
            defaults,
            run_settings,
            batch_size=batch_size,
            is_typed=is_typed,
            on_invalid_entries=report_line_errors,
            server=server,
        )
        self._is_dry_run = False

    @property
    def ledger(self) -> Ledger:
        """Return the ledger in the folder of the batch."""
        return self._run.ledger

    @property
    def plan(self) -> BatchPlan:
        """Return all jobs of the batch, including completed jobs; empty before `prepare`."""
        return self._run.plan

    def create_reporter(self, report: ReportSettings) -> BatchReporter:
        self._is_dry_run = report.dry_run
        return BatchReporter(report.quiet, report.verbose)

    def prepare(self, reporter: Reporter) -> RunPlan:
        """Validate every entry, and select the jobs that are not completed.

        Raises:
            UsageError: the batch contains no jobs, or a GPU is selected for several processes.
            typer.Exit: entries are invalid; each error is printed.
        """
        state = self._run.prepare(reporter, dry_run=self._is_dry_run)
        state, finished = self._run.continue_attempt(state)
        return RunPlan(
            [self._pending_job(job) for job in state.pending],
            partial(self._generate, state, finished),
            lambda _: None,  # the planner checked all jobs
            len(state.jobs) + len(self.plan.line_errors),
            has_ledger=True,
            notes=[*self._run.notes, *self._signing_note(state), batch_summary(state, self._folder)],
            failed=list(map(_job_outcome, self._run.earlier_failures(state))),
            folder=f"'{self._folder}'",
        )

    def _signing_note(self, state: RunState) -> list[str]:
        """Return a note if `--sign` or `--no-sign` does not apply to images of an earlier run."""
        if not state.num_completed or not is_typed("sign"):
            return []
        flag = "--sign" if self._defaults.get("sign") else "--no-sign"
        return [f"{flag} does not change {counted(state.num_completed, 'image')} of an earlier run."]

    def _pending_job(self, job: PlannedJob) -> PendingJob:
        width, height = job.template.size
        size = {"width": width, "height": height} if width and height else {}  # else only a server knows it
        record = {**to_record(job.request), **size}
        results = {*options_of(OutputSettings), *options_of(FramesSettings)}
        settings = {
            "task": job.request.task,
            **non_default_settings(job.request),
            **size,
            **{name: value for name, value in self._defaults.items() if name in results},
        }
        choose_name = partial(job.template.destination.preview, record, index=job.number)
        return PendingJob(job.location, record, settings, choose_name)

    def _generate(
        self, state: RunState, finished: Sequence[BatchOutcome], reporter: Reporter, on_outcome: OnOutcome
    ) -> None:
        attempt.report("plan", numbers=[job.number for job in state.pending])
        for outcome in finished:
            on_outcome(_job_outcome(outcome))
        num_left = len(state.pending)

        def report(outcome: BatchOutcome) -> None:
            nonlocal num_left
            if num_left:  # afterwards, images that were removed during the run are reported
                num_left -= 1
                reporter.advance()
            on_outcome(_job_outcome(outcome))

        load_times = None
        if state.pending:
            reporter.start(len(state.pending))
            load_times = LoadTimes(state.pending[0].request)
        try:
            for _ in self._run.run(state, report, reporter):
                pass
        except KeyboardInterrupt:
            reporter.close()
            print_note("Completed images are saved. Run the same command again to continue.")
            raise
        except ArtgenError:
            reporter.close()
            if num_left:
                print_note(f"{counted(num_left, 'image was', 'images were')} not generated.")
            raise
        finally:
            if load_times is not None and reporter.loading_seconds is not None:
                load_times.save(reporter.loading_seconds)


def _job_outcome(outcome: BatchOutcome) -> JobOutcome:
    return JobOutcome(
        outcome.location,
        outcome.path,
        outcome.frames,
        outcome.record,
        outcome.seconds,
        outcome.error,
        number=None if outcome.job is None else outcome.job.number,
        is_reported=outcome.is_reported,
    )
