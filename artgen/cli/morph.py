"""Define the command `artgen morph`."""

from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from artgen.cli.arguments import reject_nan
from artgen.cli.console import print_note, print_result
from artgen.cli.display import Display
from artgen.cli.json_output import JsonOutput
from artgen.cli.options import flatten_settings
from artgen.cli.remote_server import find_server
from artgen.cli.reporter import Reporter
from artgen.cli.run_requests import OutputOptions, summary_line
from artgen.cli.set_option import SetOption, parse_changes, unrecorded_settings
from artgen.cli.stdout_image import print_saved_path
from artgen.cli.user_defaults import is_typed
from artgen.errors import UsageError
from artgen.spec.settings import FilterSettings, RemoteSettings, ReportSettings, RunSettings

if TYPE_CHECKING:
    from artgen.jobs.image_variations.morph import MorphPlan, MorphSource
    from artgen.outputs.morph_output import MorphOutput
    from artgen.remote.connection import Server

DEFAULT_OUTPUT = "morph.webp"
REPLAY_OPTIONS = ("output", "quality", "sign", "overwrite")
"""Settings of files that `artgen replay` uses for an animation."""


@dataclass(frozen=True, kw_only=True)
class MorphReport:
    """Describe an animation for `--json`.

    Attributes:
        file: path of the animation. With `--dry-run`, the path that the animation would have.
        task: name of the command.
        images: names of the images.
        frames: number of frames.
        loop: whether the last image changes back to the first.
    """

    file: Path
    task: Literal["morph"] = "morph"
    images: tuple[str, ...]
    frames: int
    loop: bool


OUTPUT = JsonOutput(lambda: MorphReport, is_list=False)


@OUTPUT
@flatten_settings
def morph(
    run: RunSettings,
    filtering: FilterSettings,
    remote: RemoteSettings,
    report: ReportSettings,
    images: Annotated[list[Path], typer.Argument(help="Images that txt2img generated, two or more.", metavar="IMAGE")],
    frames: Annotated[int, typer.Option("--frames", min=2, max=10_000, help="Number of frames.")] = 24,
    loop: Annotated[bool, typer.Option("--loop", help="Change back to the first image at the end.")] = False,
    fps: Annotated[
        float | None,
        typer.Option(
            "--fps",
            min=0.1,
            max=60,
            callback=reject_nan,
            help="Frames per second.  [default: total duration of 4 seconds]",
        ),
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", help="A .webp, .gif or .mp4 file, or a folder/ of single images.", metavar="FILE|FOLDER/"
        ),
    ] = DEFAULT_OUTPUT,
    quality: Annotated[
        int | None,
        typer.Option("--quality", min=1, max=100, help="WebP quality. 100 is lossless.  [default: 90]"),
    ] = None,
    set_: SetOption = None,
    sign: Annotated[
        bool | None,
        typer.Option("--sign/--no-sign", help="Sign the file with a C2PA manifest.", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
) -> None:
    """Generate an animation that changes one image into another.

    The images must be results of `artgen txt2img` with the same model and size. The embeddings of their prompts and
    their noise are interpolated. With --workers, --shard or --ray, the frames are also saved, in a folder beside the
    animation.

    artgen morph a.png b.png -o morph.webp
    artgen morph a.png b.png c.png --frames 48 --loop -o morph.mp4
    artgen morph a.png b.png --frames 24 -o frames/
    """
    from artgen.jobs.image_variations.morph import MorphSource
    from artgen.outputs.morph_output import parse_morph_output

    if len(images) < 2:
        raise UsageError("A morph needs two images or more.", "artgen morph a.png b.png -o morph.webp")
    target = parse_morph_output(output, overwrite=overwrite, fps=fps, quality=quality, loop=loop, sign=sign)
    source = MorphSource([each.name for each in images], images, frames, loop, fps, quality)
    is_remote = find_server(remote) is not None
    settings = unrecorded_settings(filtering, offline=offline)
    plan = _plan(source, parse_changes(set_), settings, is_remote=is_remote)
    if target is None and overwrite:
        raise UsageError(
            "Cannot use --overwrite for a folder of frames: existing frames are not generated again.",
            "Omit --overwrite, or choose another --output.",
        )
    if target is not None and run == RunSettings():
        run_morph(source, plan, target, report, remote)
    else:
        _run_batch(source, plan, target, _BatchOptions(run, remote, report, output))


def _plan(source: "MorphSource", changes: dict[str, str], settings: dict[str, Any], *, is_remote: bool) -> "MorphPlan":
    from artgen.jobs.image_variations.morph import plan_morph

    plan = plan_morph(source, changes, is_remote=is_remote)
    return replace(plan, requests=[each.replace(**settings) for each in plan.requests]) if settings else plan


def run_morph(
    source: "MorphSource", plan: "MorphPlan", target: "MorphOutput", report: ReportSettings, remote: RemoteSettings
) -> None:
    """Generate the frames of a morph in this process or on a server, and write the animation."""
    if (server := find_server(remote)) is not None:
        _run_remotely(source, plan, target, report, server)
        return
    from artgen.api import engine_checks
    from artgen.api.morph_frames import frame_notes, generate_frames, prepare_frames

    record = plan.record([], source.fps, source.quality)
    with Reporter(report.quiet, report.verbose) as reporter:
        jobs = prepare_frames(plan, reporter, download=not report.dry_run)
        target.check(record)
        for text in () if report.quiet else (*plan.notes, *frame_notes(jobs), *target.notes(jobs[0].size)):
            print_note(text)
        if report.dry_run:
            engine_checks.check_jobs(jobs, reporter)
            _print_plan(_report(source, target.destination.preview(record, stem="morph")), report)
            return
        frames = generate_frames(plan, jobs, reporter).frames
        record = plan.record([frames[index].record for index in plan.key_frames], source.fps, source.quality)
        path = target.save([each.image for each in frames], record)
    _print_animation(source, path, report)


def _run_remotely(
    source: "MorphSource", plan: "MorphPlan", target: "MorphOutput", report: ReportSettings, server: "Server"
) -> None:
    """Generate the frames of a morph on a server, and write the animation."""
    from artgen.remote.frames import generate_frames

    record = plan.record([], source.fps, source.quality)
    target.check(record)
    size = plan.requests[0].width or 0, plan.requests[0].height or 0
    with Reporter(report.quiet, report.verbose) as reporter:
        for text in () if report.quiet else (*plan.notes, *target.notes(size)):
            print_note(text)
        if report.dry_run:
            _print_plan(_report(source, target.destination.preview(record, stem="morph")), report)
            return
        frames = generate_frames(plan, server, reporter)
        record = plan.record([frames[index].record for index in plan.key_frames], source.fps, source.quality)
        path = target.save([each.image for each in frames], record)
    _print_animation(source, path, report)


@dataclass(frozen=True)
class _BatchOptions:
    """Store the options of a morph that runs as a batch."""

    run: RunSettings
    remote: RemoteSettings
    report: ReportSettings
    output: str


def _run_batch(source: "MorphSource", plan: "MorphPlan", target: "MorphOutput | None", options: _BatchOptions) -> None:
    """Generate the frames as a batch with a ledger. The run that completes the frames writes the animation.

    Raises:
        UsageError: `--json` is set.
    """
    from artgen.cli.ledger_jobs import LedgerJobs
    from artgen.cli.run_requests import run_requests
    from artgen.jobs.image_variations.plan import entry_values
    from artgen.queue.entries import Entry

    report, output = options.report, options.output
    if report.json:
        raise UsageError("Cannot use --json for a folder of frames.", "`artgen info FOLDER --json` prints the records.")
    folder = Path(output) if target is None else Path(output).with_name(f"{PurePath(output).stem}-frames")
    record = plan.record([], source.fps, source.quality)
    if target is not None:
        target.check(record)
    for text in () if report.quiet else plan.notes:
        print_note(text)
    entries = [Entry(f"frame {i}", 0, entry_values(each)) for i, each in enumerate(plan.requests, 1)]
    file_names = {"output": "{index:05}"}
    jobs = LedgerJobs(entries, folder, file_names, options.run, batch_size="1", remote=options.remote)

    def write_animation() -> Path:
        files = _completed_files(jobs)
        if target is None or len(files) < len(plan.requests):
            return files[-1] if files else folder
        path = target.save(*_read_frames(files, plan, source))
        _print_animation(source, path, report)
        return path

    run_requests(jobs, report, on_finished=write_animation)


def _completed_files(jobs: Any) -> list[Path]:
    """Return the files of the completed frames, in order."""
    jobs.ledger.refresh()
    found = [jobs.ledger.completed(job.fingerprint) for job in jobs.plan.jobs]
    return [jobs.ledger.folder / each.file for each in found if each is not None]


def _read_frames(files: list[Path], plan: "MorphPlan", source: "MorphSource") -> tuple[list[Any], dict[str, Any]]:
    """Return the frames that a batch saved, and the record of the animation."""
    from artgen import images, metadata

    records = [metadata.read_metadata(files[index]).record or {} for index in plan.key_frames]
    return [images.load_image(file).image for file in files], plan.record(records, source.fps, source.quality)


def replay_morph(
    file: Path, source: "MorphSource", changes: dict[str, str], options: OutputOptions, settings: dict[str, Any]
) -> None:
    """Generate an animation again from its record.

    `--set frames=N` changes the number of frames; other changes are settings of all images.

    Raises:
        UsageError: a value is invalid, an option has no effect on an animation, or the output is not an animation.
    """
    from artgen.jobs.image_variations.morph import MAX_FRAMES
    from artgen.outputs.morph_output import parse_morph_output
    from artgen.spec.settings import FramesSettings, OutputSettings, options_of, parse_whole_number

    names = [name for name in (*options_of(OutputSettings), *options_of(FramesSettings)) if is_typed(name)]
    if unused := next((name for name in names if name not in REPLAY_OPTIONS), None):
        option = f"--{unused.replace('_', '-')}"
        raise UsageError(f"Cannot use {option} to replay a morph: it is an animation.", f"Remove {option}.")
    changes = dict(changes)
    if "frames" in changes:
        number = parse_whole_number(changes.pop("frames"))
        if number is None or not 2 <= number <= MAX_FRAMES:
            raise UsageError(f"Invalid --set: frames must be 2 to {MAX_FRAMES:,}.", "--set frames=24")
        source = replace(source, frames=number)
    saved = options.output
    output = saved.output or f"outputs/{file.stem.partition('.')[0]}-replay.webp"
    source = replace(source, quality=saved.quality or source.quality)
    target = parse_morph_output(
        output, overwrite=saved.overwrite, fps=source.fps, quality=source.quality, loop=source.loop, sign=saved.sign
    )
    if target is None:
        raise UsageError("Cannot replay a morph to a folder: it is an animation.", "-o morph.webp")
    is_remote = find_server(options.remote) is not None
    plan = _plan(source, changes, settings, is_remote=is_remote)
    run_morph(source, plan, target, options.report, options.remote)


def _report(source: "MorphSource", path: Path) -> MorphReport:
    return MorphReport(file=path, images=tuple(source.names), frames=source.frames, loop=source.loop)


def _print_plan(morph: MorphReport, report: ReportSettings) -> None:
    """Print the animation that would be generated."""
    if report.json:
        OUTPUT.print(morph)
    else:
        values = {"task": morph.task, "images": morph.images, "frames": morph.frames, "loop": morph.loop}
        print_result(summary_line({**values, "output": morph.file}))
    if not report.quiet:
        print_note(f"Dry run: 1 animation with {morph.frames} frames would be generated.")


def _print_animation(source: "MorphSource", path: Path, report: ReportSettings) -> None:
    if report.json:
        OUTPUT.print(_report(source, path))
    else:
        print_saved_path(path)
    display = Display(report)
    display.show_file(path)
    display.open(path)
