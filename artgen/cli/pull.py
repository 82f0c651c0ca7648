"""Define the command `artgen models pull`."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from artgen.cli.console import print_note, print_path
from artgen.cli.json_output import JsonOutput

if TYPE_CHECKING:
    from artgen.cli.reporter import Reporter
    from artgen.events import Event

Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Do not show progress.")]


@dataclass(frozen=True)
class Pulled:
    """Describe a downloaded model or file for `--json`.

    Attributes:
        name: name or address, as typed.
        path: folder of the model, or the file.
        usage: option that uses the file, such as `--lora NAME`; empty if no option takes it.
    """

    name: str
    path: Path
    usage: str


OUTPUT = JsonOutput(lambda: Pulled)


@OUTPUT
def pull(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="Aliases, hub ids OWNER/NAME[@REVISION], civitai:MODEL[@VERSION], or addresses of pages and files.",
        ),
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Verify the existing files, and replace damaged files.")
    ] = False,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each name.")] = False,
) -> None:
    """Download models and other files, and print their paths. An interrupted download is resumed.

    artgen models pull sd15
    artgen models pull runwayml/stable-diffusion-v1-5 civitai:4384
    """
    from artgen.api import model_downloads
    from artgen.cli.reporter import Reporter

    sources = list(map(model_downloads.parse_pull_source, names))
    for name, source in zip(names, sources, strict=True):
        try:
            with Reporter(quiet) as report:
                pulled = model_downloads.pull_source(source, force, partial(_show_event, report))
        except KeyboardInterrupt:
            if not quiet:
                print_note("The downloaded part is kept. Run the same command again to continue.")
            raise
        if as_json:
            found = pulled or model_downloads.local_file(name)
            OUTPUT.print(Pulled(name, found.path, found.usage))
        elif pulled is not None:
            print_path(pulled.path)


def _show_event(report: "Reporter", event: "Event") -> None:
    """Print notes also with `--quiet`, which hides only the progress."""
    from artgen.events import Notice

    if isinstance(event, Notice):
        print_note(event.text)
    else:
        report(event)
