"""Define the command `artgen batch`."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from artgen.cli.console import discard_note, print_note, print_result, print_text
from artgen.cli.default_command import DefaultCommandGroup
from artgen.cli.help import App
from artgen.cli.json_output import JsonOutput
from artgen.cli.options import AliasCommand, flatten_settings
from artgen.cli.record_output import image_output
from artgen.cli.status_line import status_line
from artgen.cli.user_defaults import is_typed
from artgen.errors import InputFileError, RefusedError, UsageError
from artgen.spec.settings import (
    BatchMethodSettings,
    BatchRunSettings,
    BestOfSettings,
    CanvasSettings,
    ClassSettings,
    CombinationSettings,
    ComputeSettings,
    ControlSettings,
    EditSettings,
    FilterSettings,
    FramesSettings,
    HiresSettings,
    Img2ImgInput,
    InpaintBlend,
    InpaintDetails,
    InvertSettings,
    MaskSettings,
    MaskTextSettings,
    ModelSettings,
    MorphSettings,
    OutpaintSettings,
    OutputSettings,
    PanoramaSettings,
    PresetSettings,
    PromptSettings,
    RemoteSettings,
    ReportSettings,
    SamplingSettings,
    SeamlessSettings,
    SeriesSettings,
    SizeSettings,
    UpscaleSettings,
    VariationSettings,
)
from artgen.system.counts import counted, format_duration
from artgen.system.input_files import is_stdin

if TYPE_CHECKING:
    from artgen.queue.ledger import Ledger


class _DefaultRunGroup(DefaultCommandGroup):
    """Run `artgen batch FILE` as `artgen batch run FILE`."""

    def print_page(self, ctx: Any, *, full: bool) -> None:
        """Print the page of `artgen batch run`, whose `run` is optional, with the other commands of the group."""
        from artgen.cli.help_pages import format_page

        command = self.commands["run"]
        context = command.context_class(command, info_name="run", parent=ctx)
        others = [row for row in self.command_sections(ctx)["Commands"] if row[0] != "run"]
        print_text(format_page(command, context, full=full, program=ctx.command_path, commands=others))


app = App("Generate images from prompt files and folders of images.", _DefaultRunGroup)

Folder = Annotated[Path, typer.Argument(help="The output folder of a batch.", metavar="FOLDER")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(cls=AliasCommand)
@image_output()
@partial(flatten_settings, hidden=("image",))
def run(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Prompt files (.txt .jsonl .json .csv .tsv .yaml), images, or folders of images. - reads stdin.",
            metavar="FILE...",
        ),
    ],
    run_settings: BatchRunSettings,
    prompt: PromptSettings,
    series: SeriesSettings,
    combination: CombinationSettings,
    sampling: SamplingSettings,
    variation: VariationSettings,
    morph: MorphSettings,
    class_settings: ClassSettings,
    canvas: CanvasSettings,
    size: SizeSettings,
    hires: HiresSettings,
    panorama: PanoramaSettings,
    seamless: SeamlessSettings,
    source: Img2ImgInput,
    inversion: InvertSettings,
    selection: BestOfSettings,
    mask: MaskSettings,
    mask_text: MaskTextSettings,
    blend: InpaintBlend,
    details: InpaintDetails,
    expansion: OutpaintSettings,
    editing: EditSettings,
    denoise_settings: BatchMethodSettings,
    upscaling: UpscaleSettings,
    preset: PresetSettings,
    filtering: FilterSettings,
    model: ModelSettings,
    control: ControlSettings,
    compute: ComputeSettings,
    remote: RemoteSettings,
    output: OutputSettings,
    frames: FramesSettings,
    report: ReportSettings,
) -> None:
    """Generate images from prompt files and folders of images.

    The word `run` is optional. Run the same command again to continue: images that exist already are skipped.

    artgen batch prompts.txt
    artgen batch prompts.txt --steps 30 --seed 7 -o images/
    artgen batch photos/ --task img2img --prompt "an oil painting" -o paintings/
    """
    if not report.quiet and not any(map(is_stdin, files)):
        status_line.start()
    from artgen.cli.ledger_jobs import LedgerJobs
    from artgen.cli.run_requests import run_requests
    from artgen.queue.batch_entries import batch_folder, batch_name, read_entries
    from artgen.queue.entries import defaults_of_task
    from artgen.spec.fields import non_default_settings

    if source.image is not None:
        raise UsageError(
            "Cannot combine artgen batch with --image: the images are positional arguments.",
            f"artgen batch {source.image} --task img2img",
        )
    name = "stdin" if is_stdin(files[0]) else batch_name(files[0])
    folder, output_settings = batch_folder(output, name)
    groups = (
        preset, filtering, prompt, series, combination, sampling, variation, morph, class_settings, canvas, size, hires,
        panorama, seamless, source, inversion, selection, mask, mask_text, blend, details, expansion, editing,
        denoise_settings, upscaling, model, control, compute, frames,
    )  # fmt: skip
    defaults = non_default_settings(*groups) | output_settings
    defaults.pop("batch_size", None)
    if run_settings.task:
        defaults["task"] = run_settings.task
        untyped = {name for name in defaults if not is_typed(name)}
        defaults = defaults_of_task({"task": run_settings.task}, defaults, untyped)
    on_note = discard_note if report.quiet else print_note
    entries = read_entries(files, run_settings.ignore_columns, defaults, folder, on_note)
    jobs = LedgerJobs(entries, folder, defaults, run_settings, batch_size=series.batch_size, remote=remote)
    run_requests(jobs, report)


def _declare_status() -> type:
    from artgen.queue.status import BatchStatus

    return BatchStatus


STATUS_OUTPUT = JsonOutput(_declare_status, is_list=False)


@app.command()
@STATUS_OUTPUT
def status(folder: Folder, as_json: AsJson = False) -> None:
    """Print the progress of a batch.

    The numbers are done, failed, remaining, images per minute, and the remaining time.

    artgen batch status outputs/prompts
    """
    from artgen.queue.status import batch_status

    progress = batch_status(_read_ledger(folder))
    if as_json:
        STATUS_OUTPUT.print(progress)
        return
    print_result(f"{progress.done:,} done, {progress.failed:,} failed, {progress.left:,} left of {progress.total:,}")
    if progress.images_per_minute:
        left = f", {format_duration(60 * progress.left / progress.images_per_minute)} left" if progress.left else ""
        from artgen.cli.progress_batch import format_rate

        print_result(f"{format_rate(progress.images_per_minute, 60)}{left}")


def _declare_verification() -> type:
    from artgen.queue.status import VerifiedFile

    return VerifiedFile


VERIFY_OUTPUT = JsonOutput(_declare_verification)


@app.command()
@VERIFY_OUTPUT
def verify(folder: Folder, as_json: AsJson = False) -> None:
    """Verify every image of a batch against its SHA-256 in the ledger.

    artgen batch verify outputs/prompts
    """
    from artgen.queue.status import verify_files

    ledger = _read_ledger(folder)
    counts: Counter[str] = Counter()
    for verified in verify_files(ledger):
        counts[verified.state] += 1
        if as_json:
            VERIFY_OUTPUT.print(verified)
        elif verified.state != "intact":
            print_result(f"{verified.state}: {verified.file}")
    print_note(", ".join(f"{counts[state]:,} {state}" for state in ("intact", "changed", "missing")) + ".")
    if counts["changed"]:
        raise RefusedError(
            f"Verification failed: {counted(counts['changed'], 'image differs', 'images differ')} from the ledger.",
            "Delete them and run the batch again.",
        )
    if counts["missing"]:
        raise InputFileError(
            f"Verification failed: {counted(counts['missing'], 'image is', 'images are')} missing.",
            "Run the batch again to generate them.",
        )


def _read_ledger(folder: Path) -> "Ledger":
    from artgen.api.batch_folder import read_ledger

    ledger = read_ledger(folder)
    for note in ledger.damage_notes():
        print_note(note)
    return ledger
