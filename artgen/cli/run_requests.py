"""The story of every batch: entries in, all of them checked, the rest drawn, failures told at the end."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import typer

from artgen.cli.console import EXIT_SOME_FAILED, print_error, print_json, print_note, print_result, summary_line
from artgen.cli.progress_batch import BatchReporter, format_duration
from artgen.errors import ArtgenError, UsageError
from artgen.jobs.batch_size import AutoTuneBatchSize, BatchSizePolicy, parse_batch_size
from artgen.outputs import SUFFIX_FORMATS
from artgen.queue import job_queue
from artgen.queue.entries import Entry, LineError
from artgen.queue.job_queue import JobFilter, Runner, RunState, in_process_runner, parse_shard, pending_jobs
from artgen.queue.ledger import JobRecord, JobResult, Ledger
from artgen.queue.planner import BatchPlan, PlannedJob, Planner
from artgen.queue.timings import Timings
from artgen.spec.records import to_record
from artgen.spec.settings import BatchRunSettings, OutputSettings, ReportSettings, options_of

MAX_LISTED_ERRORS = 50
"""So many mistakes, or failures, are printed; the rest are counted."""


def run_entries(
    entries: Iterable[Entry | LineError],
    folder: Path,
    defaults: Mapping[str, Any],
    run_settings: BatchRunSettings,
    report: ReportSettings,
    *,
    batch_size: str | None = None,
    on_finished: Callable[[BatchPlan, Ledger], None] | None = None,
) -> None:
    """Checks every entry, draws what is not done yet, and leaves with exit code 7 when something failed.

    Args:
        entries: jobs as files and folders word them, and lines that are none.
        folder: takes the pictures and the ledger.
        defaults: settings that hold where an entry says nothing.
        run_settings: which jobs, and by whom.
        report: what is printed.
        batch_size: `auto` or how many at a time; None is what suits model and device.
        on_finished: is called when all was tried, before failures are told.

    Raises:
        UsageError: mistakes, which are told one by one; or nothing to draw.
        OutputError: something could not be written.
    """
    sizes = parse_batch_size(batch_size)
    selection = JobFilter(
        parse_shard(run_settings.shard) if run_settings.shard else (0, 1),
        run_settings.shuffle,
        run_settings.limit,
        run_settings.retry_failed,
    )
    # Shards may run on machines that share a folder without locks: each writes a ledger of its own.
    suffix = f"-{run_settings.shard.replace('/', 'of')}" if run_settings.shard else ""
    ledger = Ledger(folder, suffix)
    ledger.refresh()
    with BatchReporter(0, report.quiet, report.verbose) as reporter:
        plan = Planner(folder, defaults, existing_files=ledger.completed_files(), listener=reporter).build_plan(entries)
    _report_line_errors(plan, run_settings)
    _reject_named_gpu(plan, run_settings)
    counted = pending_jobs(plan.jobs, ledger, selection)
    if not report.quiet:
        for text in plan.notes:
            print_note(text)
        print_note(_batch_summary(counted, folder))
    if report.dry_run:
        _list_jobs(counted, report)
        return
    failed = list(counted.failed)
    if counted.pending:
        failed += _run_jobs(counted, ledger, _create_runner(folder, run_settings, suffix), sizes, report)
    if on_finished is not None:
        on_finished(plan, ledger)
    _exit_batch(failed, len(counted.jobs))


def _run_jobs(
    state: RunState, ledger: Ledger, runner: Runner, batch_size_policy: BatchSizePolicy, report: ReportSettings
) -> list[tuple[PlannedJob, JobRecord]]:
    history = Timings()
    if isinstance(batch_size_policy, AutoTuneBatchSize):
        batch_size_policy.best_sizes.update(history.batch_sizes(state.pending))
    failed: list[tuple[PlannedJob, JobRecord]] = []
    ledger.record_run_start(len(state.jobs), state.num_completed)
    ledger.close()
    with BatchReporter(len(state.pending), report.quiet, report.verbose) as reporter:

        def tell(job: PlannedJob, result: JobResult) -> None:
            record = result.record
            if record is None:
                return
            reporter.advance()
            if record.state == "failed":
                failed.append((job, record))
                if not report.quiet:
                    said, *hints = (result.message or record.error).splitlines() or [""]
                    print_note(f"{job.location}: {said}")
                    for hint in hints:
                        print_note(f"  {hint}")
                return
            history.update(job, record.seconds)
            path = ledger.folder / record.file
            if report.json:
                print_json({"file": str(path), **(result.image_record or {})})
            else:
                print_result(str(path))

        try:
            job_queue.run_jobs(state, runner, batch_size_policy, tell, reporter)
        except KeyboardInterrupt:
            reporter.close()
            print_note("what is done is kept; the same command goes on from here")
            raise
        finally:
            if isinstance(batch_size_policy, AutoTuneBatchSize):
                history.update_batch_sizes(state.pending, batch_size_policy.best_sizes)
            history.save()
    return failed


def _create_runner(folder: Path, run_settings: BatchRunSettings, suffix: str) -> Runner:
    if run_settings.ray is not None:
        from artgen.queue.ray_pool import ray_runner

        return ray_runner(folder, run_settings.ray, suffix)
    if run_settings.workers > 1:
        from artgen.queue.process_pool import worker_pool_runner

        return worker_pool_runner(folder, run_settings.workers, suffix)
    return in_process_runner(folder, suffix)


def _reject_named_gpu(plan: BatchPlan, run_settings: BatchRunSettings) -> None:
    """Refuses one GPU for all of several processes, each of which sees but its own."""
    named = next((job for job in plan.jobs if job.request.device.startswith("cuda:")), None)
    if (run_settings.workers > 1 or run_settings.ray is not None) and named is not None:
        given = "--workers" if run_settings.ray is None else "--ray"
        raise UsageError(
            f"{given} gives each process a GPU of its own, and --device {named.request.device} names one for all.",
            "Leave --device out; CUDA_VISIBLE_DEVICES=0,2 chooses among GPUs.",
        )


def _report_line_errors(plan: BatchPlan, run_settings: BatchRunSettings) -> None:
    for mistake in plan.line_errors[:MAX_LISTED_ERRORS]:
        print_error(ArtgenError(f"{mistake.location}: {mistake.error.message}", mistake.error.hint))
    if len(plan.line_errors) > MAX_LISTED_ERRORS:
        print_note(f"and {len(plan.line_errors) - MAX_LISTED_ERRORS:,} more")
    if plan.line_errors and not (run_settings.keep_going and plan.jobs):
        codes = {mistake.error.exit_code for mistake in plan.line_errors}
        print_error(
            ArtgenError(
                f"{len(plan.line_errors):,} of {len(plan.line_errors) + len(plan.jobs):,} jobs are wrong; nothing was drawn.",
                "Mend them, or add --keep-going to draw the others." if plan.jobs else "",
            )
        )
        raise typer.Exit(codes.pop() if len(codes) == 1 else UsageError.exit_code)
    if not plan.jobs:
        raise UsageError("There is nothing to draw.", "A prompt file has a prompt a line.")


def _batch_summary(state: RunState, folder: Path) -> str:
    total = len(state.jobs)
    parts = [f"{total:,} picture{'s' if total != 1 else ''} in {folder}"]
    if state.num_completed:
        parts.append(f"{state.num_completed:,} done")
    if state.failed:
        parts.append(f"{len(state.failed):,} failed before (--retry-failed)")
    if state.num_completed or state.failed:
        parts.append(f"{len(state.pending):,} to draw")
    if state.pending and (seconds := Timings().estimate_seconds(state.pending)) is not None:
        parts.append(f"about {format_duration(seconds)} on this machine")
    return ", ".join(parts)


def _list_jobs(state: RunState, report: ReportSettings) -> None:
    for job in state.pending:
        record = to_record(job.request)
        width, height = job.template.size
        if report.json:
            print_json({"where": job.location, **record, "width": width, "height": height})
        else:
            print_result(f"{job.location}  {summary_line({**record, 'width': width, 'height': height})}")
    print_note(f"dry run: {len(state.pending):,} pictures would be drawn, nothing was")


def _exit_batch(failed_jobs: Sequence[tuple[PlannedJob, JobRecord]], total: int) -> None:
    if not failed_jobs:
        return
    for job, record in failed_jobs[:MAX_LISTED_ERRORS]:
        print_note(f"{job.location}: {record.error}")
    if len(failed_jobs) > MAX_LISTED_ERRORS:
        print_note(f"and {len(failed_jobs) - MAX_LISTED_ERRORS:,} more")
    print_error(
        ArtgenError(f"{len(failed_jobs):,} of {total:,} pictures failed.", "Add --retry-failed to try them again.")
    )
    raise typer.Exit(EXIT_SOME_FAILED)


def non_default_settings(*groups: Any) -> dict[str, Any]:
    """The settings of some groups that differ from what holds when nothing is said."""
    found: dict[str, Any] = {}
    for group in groups:
        for name, field in options_of(type(group)).items():
            if (value := getattr(group, name)) != field.default:
                found[name] = value
    return found


def batch_folder(output: OutputSettings, batch_name: str) -> tuple[Path, dict[str, Any]]:
    """The folder of a batch and, from a template, what its pictures are called.

    Args:
        output: `--output`: a folder, a template that begins with one, or None for `outputs/NAME`.
        batch_name: of the batch.

    Raises:
        UsageError: a single file, or --overwrite, which a batch has no use for.
    """
    if output.overwrite:
        raise UsageError("A batch replaces no picture.", "Leave --overwrite out, or choose another --output.")
    rest = non_default_settings(dataclasses.replace(output, output=None, overwrite=False))
    if output.output is None:
        return Path("outputs", batch_name), rest
    parts = PurePath(output.output).parts
    literal = next((i for i, part in enumerate(parts) if "{" in part), len(parts))
    if literal == len(parts) and PurePath(output.output).suffix.lower() in SUFFIX_FORMATS:
        raise UsageError(f"{output.output!r} is one file; a batch needs a folder.", "-o pictures/")
    if literal < len(parts):
        tail = "/".join(parts[literal:]) + ("/" if output.output.endswith("/") else "")
        rest["output"] = tail
    return Path(*parts[:literal]) if literal else Path(), rest
