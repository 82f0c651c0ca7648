"""Define the options that several commands of `artgen history` have."""

from typing import Annotated

import typer

from artgen.cli.json_output import JsonOutput


def declare_entry() -> type:
    """Return the data class of an entry."""
    from artgen.image_history.entry import HistoryEntry

    return HistoryEntry


ENTRIES_OUTPUT = JsonOutput(declare_entry)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object for each image.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print no notes.")]

EntryIds = Annotated[
    list[str],
    typer.Argument(metavar="ID...", help="Number, `last`, first digits of the SHA-256 (6 or more), or image file."),
]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask for confirmation.")]

ModelFilter = Annotated[
    str | None, typer.Option("-m", "--model", metavar="MODEL", help="Alias of a model, or part of its name.")
]
TaskFilter = Annotated[str | None, typer.Option("--task", metavar="TASK", help="Task, such as txt2img or upscale.")]
LoraFilter = Annotated[str | None, typer.Option("--lora", metavar="NAME", help="Part of the name of a LoRA.")]
SizeFilter = Annotated[
    str | None, typer.Option("--size", metavar="SIZE", help="512x512, or 1024+: the longer side is at least 1024.")
]
RatingFilter = Annotated[
    int | None,
    typer.Option("--rating", metavar="N", min=0, max=5, help="At least this rating. 0: images without a rating."),
]
SinceFilter = Annotated[
    str | None,
    typer.Option("--since", metavar="DATE", help="Not before: today, yesterday, monday, 3d, '2 weeks', 2026-11-30."),
]
UntilFilter = Annotated[str | None, typer.Option("--until", metavar="DATE", help="Not after. A day is included.")]
TagFilter = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="Images with a tag. Repeatable.")]
