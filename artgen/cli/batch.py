"""`artgen batch`."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from artgen.cli.console import print_json, print_note, print_result
from artgen.cli.help import App, Group
from artgen.cli.options import AliasCommand, flatten_settings
from artgen.cli.progress_batch import format_duration, format_rate
from artgen.errors import InputFileError, RefusedError, UsageError
from artgen.spec.settings import (
    BatchRunSettings,
    CanvasSettings,
    ComputeSettings,
    DenoiseSettings,
    FramesSettings,
    Img2ImgInput,
    InpaintBlend,
    MaskSettings,
    ModelSettings,
    OutpaintSettings,
    OutputSettings,
    PromptSettings,
    ReportSettings,
    SamplingSettings,
    SeriesSettings,
    SizeSettings,
)

if TYPE_CHECKING:
    from artgen.queue.entries import Entry, LineError


class _DefaultRunGroup(Group):
    """`artgen batch FILE` is `artgen batch run FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args.insert(0, "run")
        ctx.default_map = {"run": ctx.default_map or {}}
        return super().parse_args(ctx, args)


app = App("Draw files of prompts and folders of pictures; run it again to go on where it stopped.", _DefaultRunGroup)

Folder = Annotated[Path, typer.Argument(help="The folder that a batch wrote into.", metavar="FOLDER")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(cls=AliasCommand)
@flatten_settings
def run(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="PromptSettings files (.txt .jsonl .csv .yaml), pictures or folders of them; - is stdin.",
            metavar="FILE...",
        ),
    ],
    run_settings: BatchRunSettings,
    prompt: PromptSettings,
    series: SeriesSettings,
    sampling: SamplingSettings,
    canvas: CanvasSettings,
    size: SizeSettings,
    source: Img2ImgInput,
    mask: MaskSettings,
    blend: InpaintBlend,
    expansion: OutpaintSettings,
    denoise_settings: DenoiseSettings,
    model: ModelSettings,
    compute: ComputeSettings,
    output: OutputSettings,
    frames: FramesSettings,
    report: ReportSettings,
) -> None:
    """Draw what FILE says, one picture a line; what is done already is not drawn again. `run_settings` may be left out.

    artgen batch prompts.txt -o pictures/
    """
    from artgen.cli.dispatch import image_entries
    from artgen.cli.run_requests import batch_folder, non_default_settings, run_entries
    from artgen.queue import prompt_files

    if source.image is not None:
        raise UsageError("A batch takes its pictures from FILE.", f"artgen batch {source.image} --task img2img")
    first = files[0]
    folder, named = batch_folder(output, "stdin" if str(first) == prompt_files.STDIN else first.resolve().stem)
    shared = (
        prompt,
        series,
        sampling,
        canvas,
        size,
        source,
        mask,
        blend,
        expansion,
        denoise_settings,
        model,
        compute,
        frames,
    )
    defaults = non_default_settings(*shared) | named
    defaults.pop("batch_size", None)
    if run_settings.task:
        defaults["task"] = run_settings.task
    entries: list[Entry | LineError] = []
    for file in files:
        if file.suffix.lower() in prompt_files.PROMPT_FILE_SUFFIXES or str(file) == prompt_files.STDIN:
            entries += prompt_files.read_prompt_file(file)
        else:
            entries += image_entries([file], defaults, output)
    run_entries(entries, folder, defaults, run_settings, report, batch_size=series.batch_size)


@app.command()
def status(folder: Folder, as_json: AsJson = False) -> None:
    """Tell how far a batch is: done, failed, left, pictures a minute, time left."""
    from artgen.queue.ledger import Ledger
    from artgen.queue.status import batch_status

    found = batch_status(_refresh_ledger(Ledger(folder), folder))
    if as_json:
        print_json(found.as_dict())
        return
    print_result(f"{found.done:,} done, {found.failed:,} failed, {found.left:,} left of {found.total:,}")
    if found.pictures_a_minute:
        left = f", {format_duration(60 * found.left / found.pictures_a_minute)} left" if found.left else ""
        print_result(f"{format_rate(found.pictures_a_minute, 60)}{left}")


@app.command()
def verify(folder: Folder, as_json: AsJson = False) -> None:
    """Check every picture of a batch against its hash in the ledger."""
    from artgen.queue.ledger import Ledger
    from artgen.queue.status import verify_files

    ledger = _refresh_ledger(Ledger(folder), folder)
    counts: Counter[str] = Counter()
    for file, state in verify_files(ledger):
        counts[state] += 1
        if as_json:
            print_json({"file": str(folder / file), "state": state})
        elif state != "sound":
            print_result(f"{state}: {folder / file}")
    print_note(", ".join(f"{counts[state]:,} {state}" for state in ("sound", "changed", "missing")))
    if counts["changed"]:
        raise RefusedError(
            f"{counts['changed']:,} pictures are not what was drawn.", "Remove them and run the batch again."
        )
    if counts["missing"]:
        raise InputFileError(f"{counts['missing']:,} pictures are missing.", "Run the batch again to draw them.")


def _refresh_ledger(ledger: Any, folder: Path) -> Any:
    ledger.refresh()
    if not ledger.records and not ledger.run_starts:
        raise InputFileError(f"'{folder}' holds no batch.", "Name the folder that `artgen batch` wrote into.")
    return ledger
