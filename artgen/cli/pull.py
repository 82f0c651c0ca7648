"""Define the command `artgen models pull`."""

from functools import partial
from typing import Annotated

import typer

from artgen.api import models
from artgen.cli.console import Reporter, print_note, print_path
from artgen.events import Event, Notice

Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Do not show progress.")]


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
) -> None:
    """Download models and other files, and print their paths. An interrupted download is resumed.

    artgen models pull sd15
    artgen models pull runwayml/stable-diffusion-v1-5 civitai:4384
    """
    sources = list(map(models.parse_pull_source, names))
    for source in sources:
        with Reporter(quiet) as report:
            pulled = models.pull_source(source, force, partial(_show_event, report))
        if pulled is not None:
            print_path(pulled.path)


def _show_event(report: Reporter, event: Event) -> None:
    """Print notes also with `--quiet`, which hides only the progress."""
    if isinstance(event, Notice):
        print_note(event.text)
    else:
        report(event)
