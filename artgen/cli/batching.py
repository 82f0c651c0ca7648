"""The story of every batch: entries in, all of them checked, the rest drawn, failures told at the end."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import typer

from artgen.batch import running
from artgen.batch.entries import Entry, Mistake
from artgen.batch.history import History
from artgen.batch.ledger import Ledger, Record
from artgen.batch.plan import Job, Plan, Planner
from artgen.batch.results import Result
from artgen.batch.running import Runner, Selection, Tally, parse_shard, run_here, tally
from artgen.cli.batch_progress import BatchReporter, span
from artgen.cli.drawing import listed
from artgen.cli.reporting import SOME_FAILED, complain, emit, emit_json, note
from artgen.engine.sizes import BatchSize, Growing, parse_batch_size
from artgen.errors import ArtgenError, UsageError
from artgen.outputs import SUFFIXES
from artgen.records import to_record
from artgen.settings import Output, Report, Run, settings_of

SHOWN = 50
"""So many mistakes, or failures, are printed; the rest are counted."""


def draw_entries(
    entries: Iterable[Entry | Mistake],
    folder: Path,
    defaults: Mapping[str, Any],
    run: Run,
    report: Report,
    *,
    batch_size: str | None = None,
    afterwards: Callable[[Plan, Ledger], None] | None = None,
) -> None:
    """Checks every entry, draws what is not done yet, and leaves with exit code 7 when something failed.

    Args:
        entries: jobs as files and folders word them, and lines that are none.
        folder: takes the pictures and the ledger.
        defaults: settings that hold where an entry says nothing.
        run: which jobs, and by whom.
        report: what is printed.
        batch_size: `auto` or how many at a time; None is what suits model and device.
        afterwards: is called when all was tried, before failures are told.

    Raises:
        UsageError: mistakes, which are told one by one; or nothing to draw.
        OutputError: something could not be written.
    """
    sizes = parse_batch_size(batch_size)
    selection = Selection(parse_shard(run.shard) if run.shard else (0, 1), run.shuffle, run.limit, run.retry_failed)
    # Shards may run on machines that share a folder without locks: each writes a ledger of its own.
    suffix = f"-{run.shard.replace('/', 'of')}" if run.shard else ""
    ledger = Ledger(folder, suffix)
    ledger.refresh()
    with BatchReporter(0, report.quiet, report.verbose) as reporter:
        plan = Planner(folder, defaults, drawn=ledger.files(), listener=reporter).plan(entries)
    _tell_mistakes(plan, run)
    _refuse_named_gpu(plan, run)
    counted = tally(plan.jobs, ledger, selection)
    if not report.quiet:
        for text in plan.notes:
            note(text)
        note(_summary(counted, folder))
    if report.dry_run:
        _list(counted, report)
        return
    failed = list(counted.failed)
    if counted.todo:
        failed += _draw(counted, ledger, _runner(folder, run, suffix), sizes, report)
    if afterwards is not None:
        afterwards(plan, ledger)
    _leave(failed, len(counted.jobs))


def _draw(counted: Tally, ledger: Ledger, runner: Runner, sizes: BatchSize, report: Report) -> list[tuple[Job, Record]]:
    history = History()
    if isinstance(sizes, Growing):
        sizes.settled.update(history.batch_sizes(counted.todo))
    failed: list[tuple[Job, Record]] = []
    ledger.plan(len(counted.jobs), counted.done)
    ledger.close()
    with BatchReporter(len(counted.todo), report.quiet, report.verbose) as reporter:

        def tell(job: Job, result: Result) -> None:
            record = result.record
            if record is None:
                return
            reporter.advance()
            if record.state == "failed":
                failed.append((job, record))
                if not report.quiet:
                    said, *hints = (result.message or record.error).splitlines() or [""]
                    note(f"{job.where}: {said}")
                    for hint in hints:
                        note(f"  {hint}")
                return
            history.learn(job, record.seconds)
            path = ledger.folder / record.file
            if report.json:
                emit_json({"file": str(path), **(result.picture or {})})
            else:
                emit(str(path))

        try:
            running.run(counted, runner, sizes, tell, reporter)
        except KeyboardInterrupt:
            reporter.close()
            note("what is done is kept; the same command goes on from here")
            raise
        finally:
            if isinstance(sizes, Growing):
                history.learn_batch_sizes(counted.todo, sizes.settled)
            history.save()
    return failed


def _runner(folder: Path, run: Run, suffix: str) -> Runner:
    if run.ray is not None:
        from artgen.batch.on_ray import run_on_ray

        return run_on_ray(folder, run.ray, suffix)
    if run.workers > 1:
        from artgen.batch.workers import run_on_workers

        return run_on_workers(folder, run.workers, suffix)
    return run_here(folder, suffix)


def _refuse_named_gpu(plan: Plan, run: Run) -> None:
    """Refuses one GPU for all of several processes, each of which sees but its own."""
    named = next((job for job in plan.jobs if job.request.device.startswith("cuda:")), None)
    if (run.workers > 1 or run.ray is not None) and named is not None:
        given = "--workers" if run.ray is None else "--ray"
        raise UsageError(
            f"{given} gives each process a GPU of its own, and --device {named.request.device} names one for all.",
            "Leave --device out; CUDA_VISIBLE_DEVICES=0,2 chooses among GPUs.",
        )


def _tell_mistakes(plan: Plan, run: Run) -> None:
    for mistake in plan.mistakes[:SHOWN]:
        complain(ArtgenError(f"{mistake.where}: {mistake.error.message}", mistake.error.hint))
    if len(plan.mistakes) > SHOWN:
        note(f"and {len(plan.mistakes) - SHOWN:,} more")
    if plan.mistakes and not (run.keep_going and plan.jobs):
        codes = {mistake.error.exit_code for mistake in plan.mistakes}
        complain(
            ArtgenError(
                f"{len(plan.mistakes):,} of {len(plan.mistakes) + len(plan.jobs):,} jobs are wrong; nothing was drawn.",
                "Mend them, or add --keep-going to draw the others." if plan.jobs else "",
            )
        )
        raise typer.Exit(codes.pop() if len(codes) == 1 else UsageError.exit_code)
    if not plan.jobs:
        raise UsageError("There is nothing to draw.", "A prompt file has a prompt a line.")


def _summary(counted: Tally, folder: Path) -> str:
    total = len(counted.jobs)
    parts = [f"{total:,} picture{'s' if total != 1 else ''} in {folder}"]
    if counted.done:
        parts.append(f"{counted.done:,} done")
    if counted.failed:
        parts.append(f"{len(counted.failed):,} failed before (--retry-failed)")
    if counted.done or counted.failed:
        parts.append(f"{len(counted.todo):,} to draw")
    if counted.todo and (seconds := History().estimate(counted.todo)) is not None:
        parts.append(f"about {span(seconds)} on this machine")
    return ", ".join(parts)


def _list(counted: Tally, report: Report) -> None:
    for job in counted.todo:
        record = to_record(job.request)
        width, height = job.shape.size
        if report.json:
            emit_json({"where": job.where, **record, "width": width, "height": height})
        else:
            emit(f"{job.where}  {listed({**record, 'width': width, 'height': height})}")
    note(f"dry run: {len(counted.todo):,} pictures would be drawn, nothing was")


def _leave(failed: Sequence[tuple[Job, Record]], total: int) -> None:
    if not failed:
        return
    for job, record in failed[:SHOWN]:
        note(f"{job.where}: {record.error}")
    if len(failed) > SHOWN:
        note(f"and {len(failed) - SHOWN:,} more")
    complain(ArtgenError(f"{len(failed):,} of {total:,} pictures failed.", "Add --retry-failed to try them again."))
    raise typer.Exit(SOME_FAILED)


def given(*groups: Any) -> dict[str, Any]:
    """The settings of some groups that differ from what holds when nothing is said."""
    found: dict[str, Any] = {}
    for group in groups:
        for name, field in settings_of(type(group)).items():
            if (value := getattr(group, name)) != field.default:
                found[name] = value
    return found


def place_of(output: Output, name: str) -> tuple[Path, dict[str, Any]]:
    """The folder of a batch and, from a template, what its pictures are called.

    Args:
        output: `--output`: a folder, a template that begins with one, or None for `outputs/NAME`.
        name: of the batch.

    Raises:
        UsageError: a single file, or --overwrite, which a batch has no use for.
    """
    if output.overwrite:
        raise UsageError("A batch replaces no picture.", "Leave --overwrite out, or choose another --output.")
    rest = given(dataclasses.replace(output, output=None, overwrite=False))
    if output.output is None:
        return Path("outputs", name), rest
    parts = PurePath(output.output).parts
    literal = next((i for i, part in enumerate(parts) if "{" in part), len(parts))
    if literal == len(parts) and PurePath(output.output).suffix.lower() in SUFFIXES:
        raise UsageError(f"{output.output!r} is one file; a batch needs a folder.", "-o pictures/")
    if literal < len(parts):
        tail = "/".join(parts[literal:]) + ("/" if output.output.endswith("/") else "")
        rest["output"] = tail
    return Path(*parts[:literal]) if literal else Path(), rest
