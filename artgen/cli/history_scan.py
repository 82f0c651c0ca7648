"""Define the command `artgen history scan`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from artgen.cli.console import print_note
from artgen.cli.help import reads_history
from artgen.cli.history_options import Quiet
from artgen.cli.json_output import JsonOutput
from artgen.system.counts import counted

if TYPE_CHECKING:
    from artgen.image_history.scan import ScanResult

MAX_SHOWN_FILES = 5
"""Limit of the skipped files that are named. `--json` names all."""


def _declare_result() -> type:
    from artgen.image_history.scan import ScanResult

    return ScanResult


OUTPUT = JsonOutput(_declare_result, is_list=False)


@OUTPUT
@reads_history
def scan(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Folders; subfolders are included.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Quiet = False,
) -> None:
    """Add the images of folders to the history, and find moved images.

    The entries are created from the metadata of the images. Ratings and tags of known images do not change. A damaged
    history is replaced, and its file is kept.

    artgen history scan outputs/
    """
    from artgen.api.history_functions import scan_history
    from artgen.cli.reporter import Reporter
    from artgen.events import CheckingImages

    with Reporter(quiet) as report:
        result = scan_history(folders, on_progress=lambda done, total: report(CheckingImages(done, total)))
    if as_json:
        OUTPUT.print(result)
    for line in () if quiet else _lines(result):
        print_note(line)


def _lines(result: "ScanResult") -> Iterator[str]:
    """Yield the notes about a scan."""
    if result.damaged is not None:
        yield f"The history was damaged. It was moved to '{result.damaged}'."
        yield f"Ratings and tags that were read from it: {result.num_marks:,}."
    yield from result.notes
    for file in result.skipped[:MAX_SHOWN_FILES]:
        yield f"Skipped: {file.reason}"
    others = {
        "moved": result.moved,
        "updated": result.updated,
        "unchanged": result.unchanged,
        "identical to a newer file": result.copies,
        "without metadata": result.without_metadata,
        "skipped": len(result.skipped),
    }
    counts = [f"{number:,} {name}" for name, number in {"added": result.added, **others}.items() if number]
    yield f"Read {counted(result.num_files, 'image')}: {', '.join(counts) or 'none added'}."
