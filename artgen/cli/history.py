"""Define the command `artgen history`: search the generated images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer

from artgen.cli import history_marks, history_options
from artgen.cli.console import print_note, print_path, print_result
from artgen.cli.default_command import DefaultCommandGroup
from artgen.cli.display import Display
from artgen.cli.help import App, reads_history
from artgen.cli.history_scan import scan
from artgen.cli.history_table import local_time, print_entries, print_thumbnails
from artgen.cli.json_output import JsonOutput
from artgen.cli.options import flatten_settings
from artgen.errors import UsageError
from artgen.spec.settings import DisplaySettings, ShowSettings
from artgen.system.counts import counted

if TYPE_CHECKING:
    from artgen.api.history_access import EntryDetails
    from artgen.image_history.entry import HistoryEntry
    from artgen.image_history.query import HistoryQuery

DEFAULT_LIMIT = 20


class _HistoryGroup(DefaultCommandGroup):
    """Run `artgen history` as `artgen history search`."""

    default_command = "search"
    takes_arguments = False

    def resolve_unknown(self, ctx: Any, args: list[str], commands: list[str]) -> Any:
        from artgen.cli.usage_errors import shell_command, unknown_command_error

        error = unknown_command_error(args, ctx, commands)
        if error.hint.startswith("Commands:"):
            error.hint = f"To search the history: {shell_command('artgen history search', args)}"
        raise error


app = App(
    """Search, rate and tag the generated images.

    artgen history
    artgen history search "fox snow" --since yesterday
    artgen history rate 12 5

    Without a command, `artgen history` lists the latest images, as `artgen history search`. Commands that read images
    take history:ID in place of a file: `artgen replay history:12`. Every generated image is added to the history,
    except with --no-history or --metadata none.
    """,
    _HistoryGroup,
)


@app.command()
@history_options.ENTRIES_OUTPUT
@flatten_settings
@reads_history
def search(
    display_settings: ShowSettings,
    text: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT]...", help="Words in the prompt, the model or the tags.", show_default=False),
    ] = None,
    model: history_options.ModelFilter = None,
    task: history_options.TaskFilter = None,
    lora: history_options.LoraFilter = None,
    size: history_options.SizeFilter = None,
    rating: history_options.RatingFilter = None,
    since: history_options.SinceFilter = None,
    until: history_options.UntilFilter = None,
    tags: history_options.TagFilter = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=0, help="Number of images. 0: all.")
    ] = DEFAULT_LIMIT,
    paths: Annotated[bool, typer.Option("--paths", help="Print only the paths of the image files.")] = False,
    as_json: history_options.AsJson = False,
    quiet: history_options.Quiet = False,
) -> None:
    """List the images that have all given properties, the newest first.

    All words must occur. `fox` also finds `foxes`; "red fox" in quotes is a phrase; -dog excludes.

    artgen history search fox snow --model sdxl
    artgen history search '"red fox" -dog' --since "2 weeks" --rating 4
    artgen history search --tag print --paths | xargs artgen sheet
    """
    from artgen.api.history_access import run_query
    from artgen.image_history.query import MAX_LIMIT, create_query

    if paths and as_json:
        raise UsageError("Cannot combine --paths with --json.", "The objects of --json contain the paths.")
    query = create_query(
        " ".join(text or ()), model=model, task=task, lora=lora, size=size, rating=rating, since=since, until=until,
        tags=tags or (), limit=limit + 1 if 0 < limit < MAX_LIMIT else None,
    )  # fmt: skip
    found = run_query(query)
    entries = found[:limit] if limit else found
    if entries:
        print_thumbnails(entries, Display(display_settings, quiet=quiet))
    if as_json:
        for entry in entries:
            history_options.ENTRIES_OUTPUT.print(entry)
    elif paths:
        _print_paths(entries, quiet=quiet)
    elif entries:
        print_entries(entries, quiet=quiet)
    if not quiet:
        _print_count(query, entries, has_more=len(entries) < len(found))


def _print_paths(entries: "Sequence[HistoryEntry]", *, quiet: bool) -> None:
    from artgen.api.history_access import find_files
    from artgen.image_history.find_entry import SCAN_EXAMPLE

    files = find_files(entries)
    for file in files:
        if file is not None:
            print_path(file)
    if (missing := files.count(None)) and not quiet:
        print_note(
            f"{counted(missing, 'image file is', 'image files are')} missing. If they were moved: {SCAN_EXAMPLE}"
        )


def _print_count(query: "HistoryQuery", entries: "Sequence[HistoryEntry]", *, has_more: bool) -> None:
    from artgen.image_history.find_entry import EMPTY_HINT
    from artgen.image_history.query import HistoryQuery

    if has_more:
        print_note("More images match. To list all: add --limit 0.")
    elif not entries:
        is_all = query == HistoryQuery(limit=query.limit)
        print_note(f"The history is empty. {EMPTY_HINT}" if is_all else "No image of the history matches.")


class DetailFields(TypedDict):
    """Define the fields that `history show --json` has and `history search --json` does not have.

    Attributes:
        file: path of the image file now; null if the file is missing.
        parent_id: number of the entry of the input image; null if it is not in the history.
        children: numbers of the entries of the images that were made from this image.
    """

    file: Path | None
    parent_id: int | None
    children: list[int]


def _details_schema() -> dict[str, Any]:
    from artgen.spec.json_schema import object_schema

    entry, added = object_schema(history_options.declare_entry()), object_schema(DetailFields)
    return {
        "type": "object",
        "properties": entry["properties"] | added["properties"],
        "required": [*entry["required"], *added["required"]],
    }


SHOW_OUTPUT = JsonOutput(_details_schema)


@app.command()
@SHOW_OUTPUT
@flatten_settings
@reads_history
def show(
    display_settings: DisplaySettings, ids: history_options.EntryIds, as_json: history_options.AsJson = False
) -> None:
    """Print all facts about images of the history.

    The record is stored in the history: the command needs no image file.

    artgen history show 12
    artgen history show last --show
    """
    from artgen.api.history_access import entry_details
    from artgen.spec.json_schema import to_json

    display = Display(display_settings)
    for details in entry_details(ids):
        print_thumbnails([details.entry], display)
        if as_json:
            added = {"file": details.file, "parent_id": details.parent_id, "children": details.children}
            SHOW_OUTPUT.print(to_json(details.entry) | added)
        else:
            _print_details(details)
        display.open(details.file)


def _print_details(details: "EntryDetails") -> None:
    from artgen.cli.info import format_value

    entry = details.entry
    lines: dict[str, Any] = {
        "id": entry.id,
        "file": details.file or f"{entry.path} (missing)",
        "made": local_time(entry.made_utc),
        "size": f"{entry.width}x{entry.height}",
        "seconds": entry.seconds,
        "rating": entry.rating,
        "tags": entry.tags,
        "made from": details.parent_id and f"history:{details.parent_id}",
        "input of": [f"history:{number}" for number in details.children],
        "sha256": entry.sha256,
    }
    for name, value in (lines | {key: value for key, value in entry.record.items() if key not in lines}).items():
        if value not in (None, (), []):
            for line in format_value(name, value):
                print_result(line)


app.command()(history_marks.rate)
app.command()(history_marks.tag)
app.command()(history_marks.forget)
app.command()(history_marks.export)
app.command("import")(history_marks.import_)
app.command()(scan)
