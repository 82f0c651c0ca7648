"""Run the entries of a batch with a ledger, so that the same command continues an interrupted batch."""

import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from artgen.api import engine_checks
from artgen.cli.batch_entries import non_default_settings
from artgen.cli.batch_report import batch_summary, report_line_errors
from artgen.cli.console import Reporter, print_note
from artgen.cli.load_times import LoadTimes
from artgen.cli.progress_batch import BatchReporter
from artgen.cli.run_requests import JobOutcome, OnOutcome, PendingJob, RunPlan
from artgen.cli.user_defaults import check_unused_settings, is_typed
from artgen.errors import ArtgenError, UsageError
from artgen.events import no_op
from artgen.jobs.batch_size import AutoTuneBatchSize, parse_batch_size
from artgen.jobs.trained_words import words_note
from artgen.queue import job_queue
from artgen.queue.entries import Entry, LineError
from artgen.queue.failures import changed_failures, missing_images
from artgen.queue.job_queue import JobFilter, Runner, RunState, in_process_runner, parse_shard, pending_jobs
from artgen.queue.ledger import JobResult, Ledger
from artgen.queue.ledger_lines import JobRecord
from artgen.queue.plan import BatchPlan, PlannedJob
from artgen.queue.planner import Planner
from artgen.queue.recovery import find_images
from artgen.queue.timings import Timings
from artgen.spec.records import to_record
from artgen.spec.settings import FramesSettings, OutputSettings, ReportSettings, RunSettings, options_of
from artgen.system.counts import counted


class LedgerJobs:
    """Represent the jobs of a batch, whose results a ledger records.

    Attributes:
        ledger: the ledger in the folder of the batch.
        plan: all jobs of the batch, including completed jobs; empty before `prepare`.
    """

    def __init__(
        self,
        entries: Iterable[Entry | LineError],
        folder: Path,
        defaults: Mapping[str, Any],
        run_settings: RunSettings,
        *,
        batch_size: str | None = None,
    ) -> None:
        """Store the entries. Nothing is validated or written yet.

        Args:
            entries: jobs as files and folders define them, and invalid lines.
            folder: receives the images and the ledger.
            defaults: settings for entries that do not set them.
            run_settings: selection of the jobs, and the processes that run them.
            batch_size: `auto` or images per pipeline call; None selects a size for the model and the device.

        Raises:
            UsageError: `batch_size` or the shard is invalid.
        """
        self._entries = entries
        self._folder = folder
        self._defaults = defaults
        self._run_settings = run_settings
        self._batch_size_policy = parse_batch_size(batch_size)
        shard = (0, 1) if run_settings.shard is None else parse_shard(run_settings.shard)
        self._filter = JobFilter(
            shard,
            run_settings.shuffle,
            run_settings.limit,
            run_settings.retry_failed,
        )
        # Shards may run on machines that share a folder without locks, so each shard writes its own ledger.
        self._suffix = "" if run_settings.shard is None else f"-{shard[0]}of{shard[1]}"
        self.ledger = Ledger(folder, self._suffix)
        self.plan = BatchPlan(folder)
        self._recovered: dict[str, JobRecord] = {}
        self._is_dry_run = False

    def create_reporter(self, report: ReportSettings) -> BatchReporter:
        self._is_dry_run = report.dry_run
        return BatchReporter(report.quiet, report.verbose)

    def prepare(self, reporter: Reporter) -> RunPlan:
        """Validate every entry, and select the jobs that are not completed.

        Raises:
            UsageError: the batch contains no jobs, or a GPU is selected for several processes.
            typer.Exit: entries are invalid; each error is printed.
        """
        self.ledger.refresh()
        entries = list(self._entries)
        planner = self._create_planner(reporter)
        self.plan = planner.build_plan(entries)
        if planner.has_previews and not self._is_dry_run:
            if not self._run_settings.keep_going:  # else the errors are reported after the download
                report_line_errors(self.plan, keep_going=False)
                self._check_jobs(reporter)
            planner.download_models(self.plan)
            self.plan = self._create_planner(reporter).build_plan(entries)
        notes = self._recover_images()
        report_line_errors(self.plan, keep_going=self._run_settings.keep_going)
        notes += check_unused_settings(self.plan, self._defaults)
        self._check_jobs(reporter)
        _reject_selected_gpu(self.plan, self._run_settings)
        state = pending_jobs(self.plan.jobs, self.ledger, self._filter)
        notes += [*self.plan.notes, words_note((job.request, job.template.model) for job in state.pending)]
        return RunPlan(
            [self._pending_job(job) for job in state.pending],
            partial(self._generate, state),
            lambda _: None,  # the planner checked all jobs
            len(state.jobs) + len(self.plan.line_errors),
            has_ledger=True,
            notes=list(filter(None, [*self.ledger.damage_notes(), *notes, batch_summary(state, self._folder)])),
            failed=[
                *(JobOutcome(line.location, error=line.error) for line in self.plan.line_errors),
                *(_failed_outcome(job.location, record.error, record) for job, record in state.failed),
            ],
            folder=f"'{self._folder}'",
        )

    def _create_planner(self, reporter: Reporter) -> Planner:
        return Planner(
            self._folder,
            self._defaults,
            existing_files=self.ledger.completed_files(),
            known_fingerprints=self.ledger.records,
            recognizes_images=bool(self.ledger.lost_lines_reason()),
            optional_settings={name for name in self._defaults if not is_typed(name)},
            listener=reporter,
        )

    def _recover_images(self) -> list[str]:
        """Recognize images of an earlier run if the ledger lacks lines. Return the notes; write nothing."""
        reason = self.ledger.lost_lines_reason()
        if not reason or not os.path.isdir(self._folder):  # noqa: PTH112 - Path.is_dir raises for long names
            return []
        recovery = find_images(self.plan, self.ledger)
        self._recovered = recovery.records
        self.ledger.records |= self._recovered
        return recovery.notes(reason)

    def _pending_job(self, job: PlannedJob) -> PendingJob:
        width, height = job.template.size
        record = {**to_record(job.request), "width": width, "height": height}
        results = {*options_of(OutputSettings), *options_of(FramesSettings)}
        settings = {
            "task": job.request.task,
            **non_default_settings(job.request),
            "width": width,
            "height": height,
            **{name: value for name, value in self._defaults.items() if name in results},
        }
        choose_name = partial(job.template.destination.preview, record, index=job.number)
        return PendingJob(job.location, record, settings, choose_name)

    def _check_jobs(self, reporter: Reporter) -> None:
        """Run the checks of the engine that need no weights on all jobs without an image.

        Raises:
            typer.Exit: a job cannot run; each error is printed.
        """
        completed = self.ledger.completed_keys()
        pending = [job for job in self.plan.jobs if job.fingerprint not in completed]
        if not pending:  # then the engine is not needed
            return
        # A real run reports truncated prompts when it generates the images.
        checker = engine_checks.create_checker(reporter if self._is_dry_run else no_op)
        errors: dict[int, LineError] = {}
        for job in pending:
            try:
                checker.check(job.request, job.template.model)
            except ArtgenError as error:
                errors[job.number] = LineError(job.source, job.line, error)
        if errors:
            self.plan.jobs = [job for job in self.plan.jobs if job.number not in errors]
            self.plan.line_errors += errors.values()
            failed = BatchPlan(self._folder, self.plan.jobs, list(errors.values()))
            report_line_errors(failed, keep_going=self._run_settings.keep_going)

    def _generate(self, state: RunState, reporter: Reporter, on_outcome: OnOutcome) -> None:
        changed = changed_failures(self.plan, self.ledger)
        if state.pending or changed or self._recovered:
            self.ledger.write_all(self._recovered)  # before the start of the run, from which the speed is computed
            num_invalid = len(self.plan.line_errors) if self._filter.shard[0] == 0 else 0
            self.ledger.record_run_start(len(state.jobs) + num_invalid, state.num_completed)
            self.ledger.write_all(changed)
            self.ledger.close()
        if not state.pending:
            return
        try:
            self._run_pending(state, reporter, on_outcome)
        finally:
            self.ledger.restore()
            self.ledger.close()
        for record in missing_images(state.jobs, self.ledger):
            on_outcome(_failed_outcome(record.where, record.error, record))

    def _run_pending(self, state: RunState, reporter: Reporter, on_outcome: OnOutcome) -> None:
        timings = Timings()
        policy = self._batch_size_policy
        if isinstance(policy, AutoTuneBatchSize):
            policy.best_sizes.update(timings.batch_sizes(state.pending))
        num_left = len(state.pending)

        def on_result(job: PlannedJob, result: JobResult) -> None:
            nonlocal num_left
            record = result.record
            if record is None:
                return
            num_left -= 1
            self.ledger.records[job.fingerprint] = record
            reporter.advance()
            if record.state == "failed":
                on_outcome(_failed_outcome(job.location, result.message or record.error, record))
                return
            timings.update(job, record.seconds)
            image_record = dict(result.image_record or {})
            frames = image_record.pop("frames", None)
            path = self._folder / record.file
            on_outcome(JobOutcome(job.location, path, Path(frames) if frames else None, image_record, record.seconds))

        reporter.start(len(state.pending))
        load_times = LoadTimes(state.pending[0].request)
        try:
            job_queue.run_jobs(state, self._create_runner(), policy, on_result, reporter)
        except KeyboardInterrupt:
            reporter.close()
            print_note("Completed images are saved. Run the same command again to continue.")
            raise
        except ArtgenError:
            reporter.close()
            print_note(f"{counted(num_left, 'image was', 'images were')} not generated.")
            raise
        finally:
            if isinstance(policy, AutoTuneBatchSize):
                timings.update_batch_sizes(state.pending, policy.best_sizes)
            timings.save()
            if reporter.loading_seconds is not None:
                load_times.save(reporter.loading_seconds)

    def _create_runner(self) -> Runner:
        if self._run_settings.ray is not None:
            from artgen.queue.ray_pool import ray_runner

            return ray_runner(self._folder, self._run_settings.ray, self._suffix)
        if self._run_settings.workers > 1:
            from artgen.queue.process_pool import worker_pool_runner

            return worker_pool_runner(self._folder, self._run_settings.workers, self._suffix)
        return in_process_runner(self._folder, self._suffix)


def _failed_outcome(location: str, message: str, record: JobRecord) -> JobOutcome:
    first_line, _, hint = message.partition("\n")
    error = ArtgenError(first_line, hint)
    error.exit_code = record.exit_code
    return JobOutcome(location, error=error)


def _reject_selected_gpu(plan: BatchPlan, run_settings: RunSettings) -> None:
    """Reject `--device cuda:N` for several processes: each process sees only its own GPU.

    Raises:
        UsageError: a job selects a GPU by its number.
    """
    devices = [job.request.device for job in plan.jobs if job.request.device.startswith("cuda:")]
    if (run_settings.workers > 1 or run_settings.ray is not None) and devices:
        option = "--workers" if run_settings.ray is None else "--ray"
        raise UsageError(
            f"Cannot combine {option} with --device {devices[0]}: {option} assigns a different GPU to each process.",
            "Omit --device. Select GPUs with CUDA_VISIBLE_DEVICES=0,2.",
        )
