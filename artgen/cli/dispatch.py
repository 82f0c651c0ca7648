"""The story that txt2img, img2img, inpaint, outpaint and replay share: settings in, requests made, engine called."""

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from artgen.cli.console import (
    EXIT_SOME_FAILED,
    Reporter,
    print_error,
    print_json,
    print_note,
    print_result,
    summary_line,
)
from artgen.cli.run_requests import batch_folder, non_default_settings, run_entries
from artgen.cli.run_sweep import run_sweep
from artgen.errors import ArtgenError, InputFileError, OutputError
from artgen.queue import image_folders
from artgen.queue.entries import Entry
from artgen.spec.settings import (
    BatchRunSettings,
    FramesSettings,
    OutputSettings,
    ReportSettings,
    SeriesSettings,
    SweepSettings,
)
from artgen.system.files import missing_file_error

if TYPE_CHECKING:
    from artgen.engine.generate import GeneratedImage
    from artgen.jobs.batch_size import BatchSizePolicy
    from artgen.jobs.prepare import Job
    from artgen.outputs import AnimationOutput, Destination
    from artgen.spec.requests import Request


@dataclass(frozen=True)
class OutputOptions:
    """What becomes of pictures.

    Attributes:
        output: where to.
        frames: what to show of the making, and where.
        report: what is printed.
    """

    output: OutputSettings
    frames: FramesSettings
    report: ReportSettings


def dispatch(
    request_type: "type[Request]",
    groups: Sequence[Any],
    series: SeriesSettings,
    sweep: SweepSettings,
    output_options: OutputOptions,
    *,
    image_paths: Sequence[Path] = (),
) -> None:
    """Makes one request for each seed and draws them all; a folder, several pictures or a sweep become a batch.

    Args:
        request_type: the class of the requests.
        groups: of settings that they take.
        series: how many, and their seeds.
        sweep: settings to try out.
        output_options: what becomes of the pictures.
        image_paths: to start from.

    Raises:
        ArtgenError: whatever can be refused, before a model loads; a single picture's own failure.
    """
    for path in image_paths:
        if not os.path.lexists(path):  # said before anything that it takes to read one is imported
            raise missing_file_error(path)
    from artgen.jobs.batch_size import parse_batch_size
    from artgen.spec.seeds import expand_seeds

    if sweep.sweep or len(image_paths) > 1 or any(path.is_dir() for path in image_paths):
        from artgen.cli.dispatch import dispatch_batch

        dispatch_batch(request_type.task, groups, image_paths, series, sweep, output_options)
        return
    more = {"image": image_paths[0]} if image_paths else {}
    requests = [request_type.from_settings(*groups, **more, seed=seed) for seed in expand_seeds(series)]
    run_requests(requests, output_options, batch_size=parse_batch_size(series.batch_size))


def run_requests(
    requests: "Sequence[Request]",
    output_options: OutputOptions,
    *,
    batch_size: "int | BatchSizePolicy" = 1,
    check_job: "Callable[[Job], None] | None" = None,
    on_saved: "Callable[[GeneratedImage, Path], dict[str, Any]] | None" = None,
) -> None:
    """Checks, draws, saves and reports requests; leaves with exit code 7 when some of several failed.

    Args:
        requests: one for each picture, of one task.
        output_options: what becomes of the pictures.
        batch_size: how many at a time.
        check_job: raises for a prepared job that must not be drawn.
        on_saved: is called with each picture and its file, and gives what `--json` says of it beside its record.
    """
    # Imported here: `--help` and mistyped options need none of it.
    from artgen import outputs
    from artgen.jobs import checks
    from artgen.jobs.prepare import prepare_jobs

    output, frames, report = output_options.output, output_options.frames, output_options.report
    destination = outputs.destination_for_requests(requests, output)
    reel = outputs.parse_frames_option(frames, multiple_images=len(requests) > 1, overwrite=output.overwrite)
    with Reporter(report.quiet, report.verbose) as reporter:
        jobs = prepare_jobs(requests, reporter)
        for job in jobs:
            if check_job is not None:
                check_job(job)
            destination.check(job.width, job.height, preview_record(job))
            if reel is not None:
                checks.check_frames(frames, job.request, job.model_or_none)
                reel.check(preview_record(job))
        if not report.quiet:
            _print_notes(jobs)
            if reel is not None and (text := reel.scaling_note(jobs[0].size)):
                print_note(text)
        if report.dry_run:
            _list_requests(jobs, report)
            return
        failures = _generate(jobs, batch_size, _ResultWriter(destination, reel, report, reporter, on_saved))
    _exit(failures, len(jobs))


def preview_record(job: "Job") -> dict[str, Any]:
    """The record as far as it is known before drawing."""
    from artgen.spec.records import to_record

    return to_record(job.request, job.provenance)


def _generate(jobs: "Sequence[Job]", batch_size: "int | BatchSizePolicy", writer: "_ResultWriter") -> list[ArtgenError]:
    from artgen.engine import fast_import

    fast_import.import_engine(needs_peft=any(job.loras for job in jobs))
    from artgen.engine import generate

    failures: list[ArtgenError] = []
    began = time.monotonic()
    shown = writer.animation.settings if writer.animation else None
    for outcome in generate.generate_jobs(jobs, batch_size=batch_size, frames=shown, listener=writer.reporter):
        if isinstance(outcome, generate.FailedImage):
            failures.append(outcome.error)
            if len(jobs) > 1 and not writer.report.quiet:
                print_note(f"seed {outcome.request.seed}: {outcome.error.message}")
            continue
        failures += writer.save_result(outcome, began)
        began = time.monotonic()
    return failures


@dataclass(frozen=True)
class _ResultWriter:
    """Saves finished pictures and tells of them."""

    destination: "Destination"
    animation: "AnimationOutput | None"
    report: ReportSettings
    reporter: Reporter
    on_saved: "Callable[[GeneratedImage, Path], dict[str, Any]] | None"

    def save_result(self, result: "GeneratedImage", start_time: float) -> list[OutputError]:
        """Saves a picture, begun at a time of `time.monotonic`, and its frames; returns why these could not be saved.

        Raises:
            OutputError: the picture could not be saved.
        """
        self.reporter.show_saving()
        path = self.destination.save(result.image, result.record, low_bytes=result.low_bytes)
        shown, failures = [], []
        try:
            if self.animation is not None:
                shown.append(self.animation.save(result.frames, result.record, path))
        except OutputError as error:  # the picture is there, and is told of
            failures.append(error)
        self.reporter.close()
        if not self.report.quiet:
            said = [f"seed {result.request.seed}"] if result.request.seed is not None else []
            said += [f"{time.monotonic() - start_time:.1f} s"] if self.report.verbose else []
            if said:
                print_note(", ".join(said))
        if self.report.json:
            more = {"frames": str(shown[0])} if shown else {}
            more |= self.on_saved(result, path) if self.on_saved else {}
            print_json({"file": str(path), **result.record, **more})
            return failures
        for file in (path, *shown):
            print_result(str(file))
        if self.on_saved:
            self.on_saved(result, path)
        return failures


def _exit(failures: Sequence[ArtgenError], total: int) -> None:
    """A single picture's error is the command's; of several, exit 8 when all were filtered, else 7."""
    if not failures:
        return
    if len(failures) == total and len({failure.exit_code for failure in failures}) == 1:
        raise failures[0]
    print_error(ArtgenError(f"{len(failures)} of {total} pictures failed."))
    raise typer.Exit(EXIT_SOME_FAILED)


def _print_notes(jobs: "Sequence[Job]") -> None:
    from artgen import metadata
    from artgen.jobs.prepare import source_seed_warning
    from artgen.spec.requests import ImageRequest

    @cache
    def recorded(path: Path) -> dict[str, Any] | None:
        try:
            return metadata.read_metadata(path).record
        except InputFileError:
            return None

    said = set()
    for job in jobs:
        notes = list(job.notes)
        if isinstance(job.request, ImageRequest) and job.request.image:
            notes.append(source_seed_warning(job.request, recorded(job.request.image)) or "")
        for text in notes:
            if text and text not in said:
                said.add(text)
                print_note(text)


def _list_requests(jobs: "Sequence[Job]", report: ReportSettings) -> None:
    for job in jobs:
        record = preview_record(job)
        if report.json:
            print_json(record)
        else:
            print_result(summary_line(record))
    print_note(f"dry run: {len(jobs)} picture{'s' if len(jobs) != 1 else ''} would be drawn, nothing was")


def dispatch_batch(
    task: str,
    groups: Sequence[Any],
    image_paths: Sequence[Path],
    series: SeriesSettings,
    sweep: SweepSettings,
    output_options: OutputOptions,
) -> None:
    """Draws a folder, several pictures or a sweep; see `artgen.cli.dispatch.draw`."""
    output, report = output_options.output, output_options.report
    values = {**non_default_settings(*groups, output_options.frames, series), "task": task}
    values.pop("batch_size", None)
    values.pop("image", None)
    if sweep.sweep:
        run_sweep(image_paths, values, series, sweep, output, report)
        return
    folder, named = batch_folder(output, image_paths[0].resolve().stem)
    entries = image_entries(image_paths, values, output)
    run_entries(entries, folder, values | named, BatchRunSettings(), report, batch_size=series.batch_size)


def image_entries(image_paths: Sequence[Path], values: dict[str, Any], output: OutputSettings) -> list[Entry]:
    """An entry for each picture; takes a folder of masks out of `values`."""
    mask = values.get("mask")
    masks = values.pop("mask") if mask is not None and mask.is_dir() else None
    seeds = values.get("count", 1) > 1 or not re.fullmatch(r"-?\d*", values.get("seed") or "")
    captions = values.get("task") != "denoise"
    return image_folders.read_image_folders(
        image_paths, mask_folder=masks, format=output.format or "png", several_seeds=seeds, use_captions=captions
    )
