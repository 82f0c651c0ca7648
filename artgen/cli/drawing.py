"""The story that txt2img, img2img, inpaint, outpaint and replay share: settings in, requests made, engine called."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from artgen.cli.reporting import SOME_FAILED, Reporter, complain, emit, emit_json, note
from artgen.errors import ArtgenError, InputFileError, OutputError
from artgen.files import not_there
from artgen.settings import Frames, Output, Report, Series, Sweep

if TYPE_CHECKING:
    from artgen.engine.generate import Picture
    from artgen.engine.sizes import BatchSize
    from artgen.outputs import Destination, Reel
    from artgen.prepare import Prepared
    from artgen.requests import Request


@dataclass(frozen=True)
class Delivery:
    """What becomes of pictures.

    Attributes:
        output: where to.
        frames: what to show of the making, and where.
        report: what is printed.
    """

    output: Output
    frames: Frames
    report: Report


def draw(
    task: "type[Request]",
    groups: Sequence[Any],
    series: Series,
    sweep: Sweep,
    delivery: Delivery,
    *,
    pictures: Sequence[Path] = (),
) -> None:
    """Makes one request for each seed and draws them all; a folder, several pictures or a sweep become a batch.

    Args:
        task: the class of the requests.
        groups: of settings that they take.
        series: how many, and their seeds.
        sweep: settings to try out.
        delivery: what becomes of the pictures.
        pictures: to start from.

    Raises:
        ArtgenError: whatever can be refused, before a model loads; a single picture's own failure.
    """
    for path in pictures:
        if not os.path.lexists(path):  # said before anything that it takes to read one is imported
            raise not_there(path)
    from artgen.engine.sizes import parse_batch_size
    from artgen.seeds import seeds

    if sweep.sweep or len(pictures) > 1 or any(path.is_dir() for path in pictures):
        from artgen.cli.as_batch import draw_as_batch

        draw_as_batch(task.task, groups, pictures, series, sweep, delivery)
        return
    more = {"image": pictures[0]} if pictures else {}
    requests = [task.of(*groups, **more, seed=seed) for seed in seeds(series)]
    draw_requests(requests, delivery, batch_size=parse_batch_size(series.batch_size))


def draw_requests(
    requests: "Sequence[Request]",
    delivery: Delivery,
    *,
    batch_size: "int | BatchSize" = 1,
    check: "Callable[[Prepared], None] | None" = None,
    finished: "Callable[[Picture, Path], dict[str, Any]] | None" = None,
) -> None:
    """Checks, draws, saves and reports requests; leaves with exit code 7 when some of several failed.

    Args:
        requests: one for each picture, of one task.
        delivery: what becomes of the pictures.
        batch_size: how many at a time.
        check: raises for a prepared job that must not be drawn.
        finished: is called with each picture and its file, and gives what `--json` says of it beside its record.
    """
    # Imported here: `--help` and mistyped options need none of it.
    from artgen import fitting, outputs
    from artgen.prepare import prepare

    output, frames, report = delivery.output, delivery.frames, delivery.report
    destination = outputs.destination_for(requests, output)
    reel = outputs.reel_for(frames, several=len(requests) > 1, overwrite=output.overwrite)
    with Reporter(report.quiet, report.verbose) as reporter:
        jobs = prepare(requests, reporter)
        for job in jobs:
            if check is not None:
                check(job)
            destination.check(job.width, job.height, preview(job))
            if reel is not None:
                fitting.check_frames(frames, job.request, job.found)
                reel.check(preview(job))
        if not report.quiet:
            _say_notes(jobs)
            if reel is not None and (text := reel.note(jobs[0].size)):
                note(text)
        if report.dry_run:
            _list(jobs, report)
            return
        failures = _draw(jobs, batch_size, _Desk(destination, reel, report, reporter, finished))
    _leave(failures, len(jobs))


def preview(job: "Prepared") -> dict[str, Any]:
    """The record as far as it is known before drawing."""
    from artgen.records import to_record

    return to_record(job.request, job.facts)


def _draw(jobs: "Sequence[Prepared]", sizes: "int | BatchSize", desk: "_Desk") -> list[ArtgenError]:
    from artgen.engine import starting

    starting.start(loras=any(job.loras for job in jobs))
    from artgen.engine import generate

    failures: list[ArtgenError] = []
    began = time.monotonic()
    shown = desk.reel.frames if desk.reel else None
    for outcome in generate.draw(jobs, batch_size=sizes, frames=shown, listener=desk.reporter):
        if isinstance(outcome, generate.Failure):
            failures.append(outcome.error)
            if len(jobs) > 1 and not desk.report.quiet:
                note(f"seed {outcome.request.seed}: {outcome.error.message}")
            continue
        failures += desk.take(outcome, began)
        began = time.monotonic()
    return failures


@dataclass(frozen=True)
class _Desk:
    """Saves finished pictures and tells of them."""

    destination: "Destination"
    reel: "Reel | None"
    report: Report
    reporter: Reporter
    finished: "Callable[[Picture, Path], dict[str, Any]] | None"

    def take(self, picture: "Picture", began: float) -> list[OutputError]:
        """Saves a picture, begun at a time of `time.monotonic`, and its frames; returns why these could not be saved.

        Raises:
            OutputError: the picture could not be saved.
        """
        self.reporter.saving()
        path = self.destination.save(picture.image, picture.record, low=picture.low)
        shown, failures = [], []
        try:
            if self.reel is not None:
                shown.append(self.reel.save(picture.frames, picture.record, path))
        except OutputError as error:  # the picture is there, and is told of
            failures.append(error)
        self.reporter.close()
        if not self.report.quiet:
            said = [f"seed {picture.request.seed}"] if picture.request.seed is not None else []
            said += [f"{time.monotonic() - began:.1f} s"] if self.report.verbose else []
            if said:
                note(", ".join(said))
        if self.report.json:
            more = {"frames": str(shown[0])} if shown else {}
            more |= self.finished(picture, path) if self.finished else {}
            emit_json({"file": str(path), **picture.record, **more})
            return failures
        for file in (path, *shown):
            emit(str(file))
        if self.finished:
            self.finished(picture, path)
        return failures


def _leave(failures: Sequence[ArtgenError], total: int) -> None:
    """A single picture's error is the command's; of several, exit 8 when all were filtered, else 7."""
    if not failures:
        return
    if len(failures) == total and len({failure.exit_code for failure in failures}) == 1:
        raise failures[0]
    complain(ArtgenError(f"{len(failures)} of {total} pictures failed."))
    raise typer.Exit(SOME_FAILED)


def _say_notes(jobs: "Sequence[Prepared]") -> None:
    from artgen import metadata
    from artgen.prepare import check_source_seed
    from artgen.requests import FromImage

    @cache
    def recorded(path: Path) -> dict[str, Any] | None:
        try:
            return metadata.read(path).record
        except InputFileError:
            return None

    said = set()
    for job in jobs:
        notes = list(job.notes)
        if isinstance(job.request, FromImage) and job.request.image:
            notes.append(check_source_seed(job.request, recorded(job.request.image)) or "")
        for text in notes:
            if text and text not in said:
                said.add(text)
                note(text)


def _list(jobs: "Sequence[Prepared]", report: Report) -> None:
    for job in jobs:
        record = preview(job)
        if report.json:
            emit_json(record)
        else:
            emit(listed(record))
    note(f"dry run: {len(jobs)} picture{'s' if len(jobs) != 1 else ''} would be drawn, nothing was")


def listed(record: Mapping[str, Any]) -> str:
    """A record in one line, for `--dry-run`."""
    names = ("task", "prompt", "image", "method", "sigma", "seed", "steps", "guidance_scale", "scheduler")
    shown = (name for name in (*names, "width", "height", "model") if record.get(name) not in (None, ""))
    loras = [f"lora={text}" for text in record.get("lora") or ()]
    return "  ".join([*(f"{name}={record[name]}" for name in shown), *loras])
