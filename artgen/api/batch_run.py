"""Run the entries of a batch with a ledger, so that the same call or command continues an interrupted batch."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artgen.api import engine_checks
from artgen.api.batch_checks import check_unused_settings, reject_selected_gpu
from artgen.api.batch_outcome import BatchOutcome, OnInvalidEntries, OnOutcome, failed_outcome
from artgen.api.batch_runner import create_runner
from artgen.errors import ArtgenError, InputFileError, UsageError
from artgen.events import Listener, Notice, no_op
from artgen.jobs.batch_size import AutoTuneBatchSize, parse_batch_size
from artgen.jobs.trained_words import words_note
from artgen.queue import job_queue
from artgen.queue.entries import Entry, LineError
from artgen.queue.failures import changed_failures, missing_images
from artgen.queue.job_queue import JobFilter, RunState, parse_shard, pending_jobs
from artgen.queue.ledger import JobResult, Ledger
from artgen.queue.ledger_lines import JobRecord
from artgen.queue.plan import BatchPlan, PlannedJob
from artgen.queue.planner import Planner
from artgen.queue.recovery import find_images
from artgen.queue.timings import Timings
from artgen.registry.hashes import compute_sha256
from artgen.spec.settings import RunSettings
from artgen.system import attempt

if TYPE_CHECKING:
    from artgen.remote.connection import Server


class BatchRun:
    """Represent one run of a batch.

    Attributes:
        ledger: the ledger in the folder of the batch.
        plan: all jobs of the batch, including completed jobs; empty before `prepare`.
        notes: notes for the user; empty before `prepare`.
    """

    def __init__(
        self,
        entries: Iterable[Entry | LineError],
        folder: Path,
        defaults: Mapping[str, Any],
        run_settings: RunSettings,
        *,
        batch_size: str | None = None,
        is_typed: Callable[[str], bool] = lambda _: True,
        on_invalid_entries: OnInvalidEntries,
        server: "Server | None" = None,
    ) -> None:
        """Store the entries. Nothing is validated or written yet.

        Args:
            entries: jobs as files and folders define them, and invalid lines.
            folder: receives the images and the ledger.
            defaults: settings for entries that do not set them.
            run_settings: selection of the jobs, and the processes that run them.
            batch_size: `auto` or images per pipeline call; None selects a size for the model and the device.
            is_typed: returns whether the caller set a default explicitly. Other defaults are ignored with a note if
                no job takes them.
            on_invalid_entries: reports the errors of entries.
            server: server that generates the images; None: this machine, or the machines of `run_settings`.

        Raises:
            UsageError: `batch_size` or the shard is invalid.
        """
        self._entries = entries
        self._folder = folder
        self._defaults = defaults
        self._run_settings = run_settings
        self._is_typed = is_typed
        self._on_invalid_entries = on_invalid_entries
        self._server = server
        self._batch_size_policy = parse_batch_size(batch_size)
        shard = (0, 1) if run_settings.shard is None else parse_shard(run_settings.shard)
        self._filter = JobFilter(shard, run_settings.shuffle, run_settings.limit, run_settings.retry_failed)
        # Shards may run on machines that share a folder without locks, so each shard writes its own ledger.
        self._suffix = "" if run_settings.shard is None else f"-{shard[0]}of{shard[1]}"
        self.ledger = Ledger(folder, self._suffix)
        self.plan = BatchPlan(folder)
        self.notes: list[str] = []
        self._recovered: dict[str, JobRecord] = {}
        self._is_dry_run = False

    def prepare(self, listener: Listener, *, dry_run: bool = False) -> RunState:
        """Validate every entry, and return the jobs that are not completed.

        Args:
            listener: receives events.
            dry_run: download nothing, and report truncated prompts.

        Raises:
            UsageError: the batch contains no jobs, or a GPU is selected for several processes.
            ArtgenError: `on_invalid_entries` raises an error for invalid entries.
        """
        self._is_dry_run = dry_run
        self.ledger.refresh()
        entries = list(self._entries)
        planner = self._create_planner(listener)
        self.plan = planner.build_plan(entries)
        if planner.has_previews and not dry_run:
            if not self._run_settings.keep_going:  # else the errors are reported after the download
                self._report_invalid_entries(self.plan, keep_going=False)
                self._check_jobs(listener)
            planner.download_models(self.plan)
            self.plan = self._create_planner(listener).build_plan(entries)
        notes = self._recover_images()
        self._report_invalid_entries(self.plan, keep_going=self._run_settings.keep_going)
        notes += check_unused_settings(self.plan, self._defaults, self._is_typed)
        self._check_jobs(listener)
        reject_selected_gpu(self.plan, self._run_settings)
        state = pending_jobs(self.plan.jobs, self.ledger, self._filter)
        words = words_note((job.request, job.template.model) for job in state.pending)
        self.notes = list(filter(None, [*self.ledger.damage_notes(), *notes, *self.plan.notes, words]))
        return state

    def earlier_failures(self, state: RunState) -> list[BatchOutcome]:
        """Return the invalid entries, and the jobs that failed in an earlier run and are not retried."""
        return [
            *(BatchOutcome(line.location, None, error=line.error) for line in self.plan.line_errors),
            *(failed_outcome(job, record, record.error) for job, record in state.failed),
        ]

    def earlier_images(self, state: RunState) -> Iterator[BatchOutcome]:
        """Yield the images of earlier runs, in the order of the plan."""
        for job in state.jobs:
            if record := self.ledger.completed(job.fingerprint):
                yield BatchOutcome(job.location, job, self._folder / record.file, seconds=record.seconds)

    def _create_planner(self, listener: Listener) -> Planner:
        return Planner(
            self._folder,
            self._defaults,
            existing_files=self.ledger.completed_files(),
            known_fingerprints=self.ledger.records,
            recognizes_images=bool(self.ledger.lost_lines_reason()),
            optional_settings={name for name in self._defaults if not self._is_typed(name)},
            is_remote=self._server is not None,
            listener=listener,
        )

    def _report_invalid_entries(self, plan: BatchPlan, *, keep_going: bool) -> None:
        if plan.line_errors:
            self._on_invalid_entries(plan, keep_going=keep_going)
        elif not plan.jobs:
            raise UsageError(
                "Cannot run the batch: it contains no jobs.", "Write one prompt per line in a prompt file."
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

    def _check_jobs(self, listener: Listener) -> None:
        """Run the checks of the engine that need no weights on all jobs without an image.

        Raises:
            ArtgenError: `on_invalid_entries` raises an error for a job that cannot run.
        """
        completed = self.ledger.completed_keys()
        pending = [job for job in self.plan.jobs if job.fingerprint not in completed and job.template.model is not None]
        if not pending:  # then the engine is not needed
            return
        # A real run reports truncated prompts when it generates the images.
        checker = engine_checks.create_checker(listener if self._is_dry_run else no_op)
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
            self._on_invalid_entries(failed, keep_going=self._run_settings.keep_going)

    def run(
        self, state: RunState, on_outcome: OnOutcome, listener: Listener, *, waits_for_saves: bool = False
    ) -> Iterator[None]:
        """Generate the pending images.

        The run pauses at each item of the iterator. If the iterator is closed, the same batch can be continued later.

        Args:
            state: result of `prepare`.
            on_outcome: receives the result of each job.
            listener: receives events.
            waits_for_saves: see `in_process_runner`.

        Raises:
            OutputError: a file cannot be written.
            DeviceLostError: all GPUs are lost.
        """
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
            yield from self._run_pending(state, on_outcome, listener, waits_for_saves)
        finally:
            self.ledger.restore()
            self.ledger.close()
        for job, record in missing_images(state.jobs, self.ledger):
            on_outcome(failed_outcome(job, record, record.error))

    def _run_pending(
        self, state: RunState, on_outcome: OnOutcome, listener: Listener, waits_for_saves: bool
    ) -> Iterator[None]:
        timings = Timings()
        notes: list[str] = []
        policy = self._batch_size_policy
        if isinstance(policy, AutoTuneBatchSize):
            policy.best_sizes.update(timings.batch_sizes(state.pending))

        def on_result(job: PlannedJob, result: JobResult) -> None:
            record = result.record
            if record is None:
                return
            self.ledger.records[job.fingerprint] = record
            if record.state == "failed":
                on_outcome(failed_outcome(job, record, result.message or record.error))
                return
            if self._server is None:
                timings.update(job, record.seconds)
            if result.note and not notes:
                notes.append(result.note)
                listener(Notice(result.note))
            on_outcome(self._image_outcome(job, record, result.image_record or {}))

        try:
            runner = create_runner(
                self._folder, self._run_settings, self._server, self._suffix, waits_for_saves=waits_for_saves
            )
            yield from job_queue.run_jobs(state, runner, policy, on_result, listener)
        finally:
            if isinstance(policy, AutoTuneBatchSize):
                timings.update_batch_sizes(state.pending, policy.best_sizes)
            timings.save()

    def _image_outcome(
        self, job: PlannedJob, record: JobRecord, image_record: Mapping[str, Any], *, is_reported: bool = False
    ) -> BatchOutcome:
        values = dict(image_record)
        frames = values.pop("frames", None)
        path = self._folder / record.file
        frames_path = Path(frames) if frames else None
        return BatchOutcome(job.location, job, path, frames_path, values, record.seconds, is_reported=is_reported)

    def continue_attempt(self, state: RunState) -> tuple[RunState, list[BatchOutcome]]:
        """Return the state of a run without the jobs that the first attempt of the same command finished.

        Returns:
            The state; and the results of the finished jobs, first those that were not printed.
        """
        first = attempt.first_attempt()
        if first is None or first.plan is None:
            return state, []
        jobs = {job.number: job for job in state.jobs}
        outcomes, pending = [], []
        for number in dict.fromkeys([*first.saved, *first.plan]):
            if (job := jobs.get(number)) is None:
                continue
            result = first.results.get(number)
            record = self.ledger.completed(job.fingerprint)
            if result is None and record is not None and number in first.saved and self._is_intact(record):
                outcomes.append(self._image_outcome(job, record, first.saved[number]["record"]))
            elif result is None:
                pending.append(job)
            elif error := attempt.reported_error(result):
                outcomes.append(BatchOutcome(job.location, job, error=error, is_reported=True))
            elif record is not None:
                values = {"model": result["model"], "frames": result["frames"]}
                outcomes.append(self._image_outcome(job, record, values, is_reported=True))
        return (
            replace(
                state,
                pending=pending,
                num_completed=state.num_completed - sum(outcome.path is not None for outcome in outcomes),
                failed=[(job, record) for job, record in state.failed if job.number not in first.plan],
            ),
            outcomes,
        )

    def _is_intact(self, record: JobRecord) -> bool:
        """Return whether a file is the image of its record: with --overwrite, it can be an older image."""
        try:
            return compute_sha256(self._folder / record.file) == record.sha256
        except InputFileError:
            return False
