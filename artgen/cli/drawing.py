"""The story that txt2img, img2img, inpaint, outpaint and replay share: settings in, requests made, engine called."""

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from artgen.cli.reporting import SOME_FAILED, Reporter, complain, emit, emit_json, note
from artgen.errors import ArtgenError, InputFileError, OutputError, UsageError
from artgen.files import not_there
from artgen.settings import Canvas, Frames, Output, Prompt, Report, Series, Size, Source, Sweep

if TYPE_CHECKING:
    from artgen.engine.generate import Picture
    from artgen.engine.sizes import BatchSize
    from artgen.outputs import Destination, Reel
    from artgen.prepare import Prepared
    from artgen.requests import Request


def draw(
    task: "type[Request]",
    groups: Sequence[Any],
    series: Series,
    sweep: Sweep,
    output: Output,
    report: Report,
    *,
    frames: Frames,
    pictures: Sequence[Path] = (),
) -> None:
    """Makes one request for each seed and draws them all; a folder, several pictures or a sweep become a batch.

    Args:
        task: the class of the requests.
        groups: of settings that they take.
        series: how many, and their seeds.
        sweep: settings to try out.
        output: where to.
        report: what is printed.
        frames: what to show of the making, and where.
        pictures: to start from.

    Raises:
        ArtgenError: whatever can be refused, before a model loads; a single picture's own failure.
    """
    for path in pictures:
        if not os.path.lexists(path):  # said before anything that it takes to read one is imported
            raise not_there(path)
    from artgen.seeds import seeds

    if sweep.sweep or len(pictures) > 1 or any(path.is_dir() for path in pictures):
        from artgen.cli.as_batch import draw_as_batch

        draw_as_batch(task.task, (*groups, frames), pictures, series, sweep, output, report)
        return
    more = {"image": pictures[0]} if pictures else {}
    requests = [task.of(*groups, **more, seed=seed) for seed in seeds(series)]
    draw_requests(requests, output, report, batch_size=series.batch_size, frames=frames)


def draw_requests(
    requests: "Sequence[Request]",
    output: Output,
    report: Report,
    *,
    frames: Frames,
    batch_size: str = "1",
    check: "Callable[[Prepared], None] | None" = None,
    finished: "Callable[[Picture, Path], dict[str, Any]] | None" = None,
) -> None:
    """Checks, draws, saves and reports requests; leaves with exit code 7 when some of several failed.

    Args:
        frames: what to show of the making, and where.
        check: raises for a prepared job that must not be drawn.
        finished: is called with each picture and its file, and gives what `--json` says of it beside its record.
    """
    # Imported here: `--help` and mistyped options need none of it.
    from artgen import fitting, outputs
    from artgen.engine.sizes import parse_batch_size
    from artgen.prepare import prepare

    sizes = parse_batch_size(batch_size)
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
        failures = _draw(jobs, destination, report, reporter, sizes, finished, reel)
    _leave(failures, len(jobs))


def preview(job: "Prepared") -> dict[str, Any]:
    """The record as far as it is known before drawing."""
    from artgen.records import to_record

    return to_record(job.request, job.facts)


def _draw(
    jobs: "Sequence[Prepared]",
    destination: "Destination",
    report: Report,
    reporter: Reporter,
    sizes: "BatchSize",
    finished: "Callable[[Picture, Path], dict[str, Any]] | None",
    reel: "Reel | None",
) -> list[ArtgenError]:
    from artgen.engine import starting

    starting.start(loras=any(job.loras for job in jobs))
    from artgen.engine import generate

    failures: list[ArtgenError] = []
    began = time.monotonic()
    outcomes = generate.draw(jobs, batch_size=sizes, frames=reel.frames if reel else None, listener=reporter)
    for outcome in outcomes:
        if isinstance(outcome, generate.Failure):
            failures.append(outcome.error)
            if len(jobs) > 1 and not report.quiet:
                note(f"seed {outcome.request.seed}: {outcome.error.message}")
            continue
        reporter.saving()
        path = destination.save(outcome.image, outcome.record, low=outcome.low)
        try:
            shown = [reel.save(outcome.frames, outcome.record, path)] if reel else []
        except OutputError as error:  # the picture is there, and is told of
            failures.append(error)
            shown = []
        reporter.close()
        if not report.quiet:
            said = [f"seed {outcome.request.seed}"] if outcome.request.seed is not None else []
            said += [f"{time.monotonic() - began:.1f} s"] if report.verbose else []
            if said:
                note(", ".join(said))
        if report.json:
            more = ({"frames": str(shown[0])} if shown else {}) | (finished(outcome, path) if finished else {})
            emit_json({"file": str(path), **outcome.record, **more})
        else:
            for file in (path, *shown):
                emit(str(file))
            if finished:
                finished(outcome, path)
        began = time.monotonic()
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


def sized(canvas: Canvas, size: Size) -> Canvas:
    """`--size` and `--width --height` brought together.

    Raises:
        UsageError: both are given.
    """
    if size.size is None:
        return canvas
    if canvas.width is not None or canvas.height is not None:
        raise UsageError("--size and --width/--height were both given.", "Leave one out.")
    from artgen import images

    width, height = images.parse_size(size.size)
    return Canvas(width=width, height=height)


Words = Annotated[
    list[str] | None,
    typer.Argument(
        help="Pictures or folders of them, then what to draw; `-` reads it from stdin.",
        metavar="[PICTURE]... [PROMPT]",
        show_default=False,
    ),
]


def told(words: Sequence[str] | None, source: Source, prompt: Prompt) -> tuple[list[Path], Prompt]:
    """Which of a command's words are pictures, and which is the prompt.

    The first word is a picture unless --image gave one; so is every other that exists or is called like one. A single
    other word is the prompt.

    Raises:
        UsageError: words that are neither.
    """
    from artgen.images import SUFFIXES

    pictures = [source.image] if source.image else []
    others: list[str] = []
    for word in words or []:
        if not pictures or Path(word).suffix.lower() in SUFFIXES or os.path.lexists(word):
            pictures.append(Path(word))
        else:
            others.append(word)
    if prompt.prompt:
        others.insert(0, prompt.prompt)
    if len(others) > 1:
        raise UsageError(f"Unexpected {others[1]!r}: the prompt is given already.", "Quote a prompt of many words.")
    return pictures, read_prompt(dataclasses.replace(prompt, prompt=others[0] if others else ""))


def read_prompt(prompt: Prompt) -> Prompt:
    """The prompt itself, read from stdin when it is `-`.

    Raises:
        UsageError: stdin is not UTF-8 text.
    """
    if prompt.prompt != "-":
        return prompt
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UsageError(f"The prompt on stdin is not UTF-8 text (byte {error.start}).") from error
    return dataclasses.replace(prompt, prompt=text)
