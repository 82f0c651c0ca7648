"""`artgen batch`."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from artgen.cli.batch_progress import rate, span
from artgen.cli.explaining import App, Group
from artgen.cli.options import AliasCommand, flattened
from artgen.cli.reporting import emit, emit_json, note
from artgen.errors import InputFileError, RefusedError, UsageError
from artgen.settings import (
    Blend,
    Canvas,
    Compute,
    Expansion,
    Frames,
    Mask,
    Model,
    Noise,
    Output,
    Prompt,
    Report,
    Run,
    Sampling,
    Series,
    Size,
    Source,
)

if TYPE_CHECKING:
    from artgen.batch.entries import Entry, Mistake


class _RunsByDefault(Group):
    """`artgen batch FILE` is `artgen batch run FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args.insert(0, "run")
        ctx.default_map = {"run": ctx.default_map or {}}
        return super().parse_args(ctx, args)


app = App("Draw files of prompts and folders of pictures; run it again to go on where it stopped.", _RunsByDefault)

Folder = Annotated[Path, typer.Argument(help="The folder that a batch wrote into.", metavar="FOLDER")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(cls=AliasCommand)
@flattened
def run(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Prompt files (.txt .jsonl .csv .yaml), pictures or folders of them; - is stdin.", metavar="FILE..."
        ),
    ],
    run: Run,
    prompt: Prompt,
    series: Series,
    sampling: Sampling,
    canvas: Canvas,
    size: Size,
    source: Source,
    mask: Mask,
    blend: Blend,
    expansion: Expansion,
    noise: Noise,
    model: Model,
    compute: Compute,
    output: Output,
    frames: Frames,
    report: Report,
) -> None:
    """Draw what FILE says, one picture a line; what is done already is not drawn again. `run` may be left out.

    artgen batch prompts.txt -o pictures/
    """
    from artgen.batch import prompt_files
    from artgen.cli.as_batch import picture_entries
    from artgen.cli.batching import draw_entries, given, place_of

    if source.image is not None:
        raise UsageError("A batch takes its pictures from FILE.", f"artgen batch {source.image} --task img2img")
    first = files[0]
    folder, named = place_of(output, "stdin" if str(first) == prompt_files.STDIN else first.resolve().stem)
    shared = (prompt, series, sampling, canvas, size, source, mask, blend, expansion, noise, model, compute, frames)
    defaults = given(*shared) | named
    defaults.pop("batch_size", None)
    if run.task:
        defaults["task"] = run.task
    entries: list[Entry | Mistake] = []
    for file in files:
        if file.suffix.lower() in prompt_files.SUFFIXES or str(file) == prompt_files.STDIN:
            entries += prompt_files.read(file)
        else:
            entries += picture_entries([file], defaults, output)
    draw_entries(entries, folder, defaults, run, report, batch_size=series.batch_size)


@app.command()
def status(folder: Folder, as_json: AsJson = False) -> None:
    """Tell how far a batch is: done, failed, left, pictures a minute, time left."""
    from artgen.batch.ledger import Ledger
    from artgen.batch.overview import overview

    found = overview(_opened(Ledger(folder), folder))
    if as_json:
        emit_json(found.as_dict())
        return
    emit(f"{found.done:,} done, {found.failed:,} failed, {found.left:,} left of {found.total:,}")
    if found.pictures_a_minute:
        left = f", {span(60 * found.left / found.pictures_a_minute)} left" if found.left else ""
        emit(f"{rate(found.pictures_a_minute, 60)}{left}")


@app.command()
def verify(folder: Folder, as_json: AsJson = False) -> None:
    """Check every picture of a batch against its hash in the ledger."""
    from artgen.batch.ledger import Ledger
    from artgen.batch.overview import check_files

    ledger = _opened(Ledger(folder), folder)
    counts: Counter[str] = Counter()
    for file, state in check_files(ledger):
        counts[state] += 1
        if as_json:
            emit_json({"file": str(folder / file), "state": state})
        elif state != "sound":
            emit(f"{state}: {folder / file}")
    note(", ".join(f"{counts[state]:,} {state}" for state in ("sound", "changed", "missing")))
    if counts["changed"]:
        raise RefusedError(
            f"{counts['changed']:,} pictures are not what was drawn.", "Remove them and run the batch again."
        )
    if counts["missing"]:
        raise InputFileError(f"{counts['missing']:,} pictures are missing.", "Run the batch again to draw them.")


def _opened(ledger: Any, folder: Path) -> Any:
    ledger.refresh()
    if not ledger.records and not ledger.plans:
        raise InputFileError(f"'{folder}' holds no batch.", "Name the folder that `artgen batch` wrote into.")
    return ledger
