"""Define the commands of `artgen history` that change entries: `rate`, `tag`, `forget`, `export` and `import`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from artgen.cli import history_options
from artgen.cli.console import confirm_deletion, print_note
from artgen.cli.help import reads_history
from artgen.cli.json_output import JsonOutput
from artgen.errors import UsageError
from artgen.system.counts import counted

if TYPE_CHECKING:
    from artgen.image_history.entry import HistoryEntry


@history_options.ENTRIES_OUTPUT
@reads_history
def rate(
    ids: history_options.EntryIds,
    rating: Annotated[str, typer.Argument(metavar="RATING", help="1 (worst) to 5 (best). 0 removes the rating.")],
    as_json: history_options.AsJson = False,
    quiet: history_options.Quiet = False,
) -> None:
    """Rate images of the history.

    artgen history rate 12 5
    artgen history rate 12 13 14 3
    artgen history rate last 0
    """
    from artgen.api.history_functions import rate_history

    if not (rating.isdecimal() and len(rating) == 1):
        raise UsageError(f"A rating is 0 to 5, not '{rating}'.", "artgen history rate 12 5")
    entries = rate_history(ids, int(rating))
    done = "Removed the rating of" if rating == "0" else f"Set the rating {rating} of"
    _report(entries, f"{done} {_names(entries)}.", as_json=as_json, quiet=quiet)


@history_options.ENTRIES_OUTPUT
@reads_history
def tag(
    arguments: Annotated[
        list[str], typer.Argument(metavar="ID... TAG...", help="Images, as for `history show`, and then tags.")
    ],
    remove: Annotated[bool, typer.Option("--remove", help="Remove the tags.")] = False,
    as_json: history_options.AsJson = False,
    quiet: history_options.Quiet = False,
) -> None:
    """Tag images of the history.

    Tags are stored in lower case. A tag with spaces is one argument in quotes.

    artgen history tag 12 13 winter "to print"
    artgen history tag 12 winter --remove
    """
    from artgen.api.history_access import select_entries
    from artgen.api.history_functions import tag_history
    from artgen.image_history.query import parse_tags

    ids, names = _split_ids_and_tags(arguments)
    tags = parse_tags(names)
    found = {each for entry in select_entries(ids) for each in entry.tags} if remove else set(tags)
    entries = tag_history(ids, tags, remove=remove)
    changed, absent = [each for each in tags if each in found], [each for each in tags if each not in found]
    texts = []
    if changed:
        done, preposition = ("Removed", "from") if remove else ("Added", "to")
        texts.append(f"{done} {_labels(changed)} {preposition} {_names(entries)}.")
    if absent:
        texts.append(f"Not in {_names(entries)}: {_labels(absent)}.")
    _report(entries, " ".join(texts), as_json=as_json, quiet=quiet)


def _labels(tags: Sequence[str]) -> str:
    names = ", ".join(f"'{each}'" for each in tags)
    return f"the tag{'s' if len(tags) > 1 else ''} {names}"


def _split_ids_and_tags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the arguments before the first tag, and the tags. The first argument is always an image.

    Raises:
        UsageError: the tags are missing.
    """
    from artgen.image_history.find_entry import is_number_or_hash
    from artgen.images import IMAGE_SUFFIXES

    def is_id(text: str) -> bool:
        return is_number_or_hash(text) or (Path(text).suffix.lower() in IMAGE_SUFFIXES and Path(text).is_file())

    number = 1
    while number < len(arguments) and is_id(arguments[number]):
        number += 1
    if number == len(arguments):
        raise UsageError("Cannot tag images: the tags are missing.", "artgen history tag 12 13 winter")
    return list(arguments[:number]), list(arguments[number:])


@history_options.ENTRIES_OUTPUT
@reads_history
def forget(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Images, as for `history show`.", show_default=False),
    ] = None,
    text: Annotated[str, typer.Option("--text", metavar="TEXT", help="All images that `history search` finds.")] = "",
    model: history_options.ModelFilter = None,
    task: history_options.TaskFilter = None,
    lora: history_options.LoraFilter = None,
    size: history_options.SizeFilter = None,
    rating: history_options.RatingFilter = None,
    since: history_options.SinceFilter = None,
    until: history_options.UntilFilter = None,
    tags: history_options.TagFilter = None,
    missing: Annotated[bool, typer.Option("--missing", help="Only images whose file is missing.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="All images.")] = False,
    yes: history_options.Yes = False,
    as_json: history_options.AsJson = False,
    quiet: history_options.Quiet = False,
) -> None:
    """Remove images from the history, with their ratings and tags.

    Image files are not deleted. Several images need a confirmation, or --yes if the input is not a terminal.

    artgen history forget 12
    artgen history forget --text fox --until 2025-12-31
    artgen history forget --missing --yes
    """
    from artgen.api import history_access
    from artgen.api.history_functions import forget_history
    from artgen.image_history.query import HistoryQuery, create_query

    query = create_query(
        text, model=model, task=task, lora=lora, size=size, rating=rating, since=since, until=until, tags=tags or ()
    )
    is_search = query != HistoryQuery() or missing or everything
    if bool(ids) == is_search:
        reason = "the images are missing" if not ids else "give either IDs or filters, not both"
        raise UsageError(f"Cannot remove images from the history: {reason}.", "artgen history forget 12")
    entries = history_access.select_entries(ids) if ids else history_access.run_query(query)
    if missing:
        files = history_access.find_files(entries)
        entries = [entry for entry, file in zip(entries, files, strict=True) if file is None]
    if not _is_confirmed(len(entries), yes=yes):
        return
    if entries:
        forget_history(entries)
    text = f"Removed {_names(entries)} from the history." if entries else "No image of the history matches."
    _report(entries, text, as_json=as_json, quiet=quiet)


def _is_confirmed(number: int, *, yes: bool) -> bool:
    """Return whether to remove entries.

    Raises:
        UsageError: several entries need a confirmation, and the input is not a terminal.
    """
    if number <= 1 or yes:
        return True
    question = f"Remove {counted(number, 'image')} from the history, with ratings and tags?"
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"Removing {number:,} images from the history needs a confirmation.", "Add --yes.")
    return confirm_deletion(question, yes)


def _declare_marks() -> type:
    from artgen.image_history.marks import ImageMarks

    return ImageMarks


def _declare_import() -> type:
    from artgen.image_history.marks import ImportedMarks

    return ImportedMarks


EXPORT_OUTPUT = JsonOutput(_declare_marks)
IMPORT_OUTPUT = JsonOutput(_declare_import, is_list=False)


@EXPORT_OUTPUT
@reads_history
def export(
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE", help="File to write. - is stdout. [-]")
    ] = "-",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite an existing file.")] = False,
    as_json: Annotated[  # noqa: ARG001
        bool, typer.Option("--json", help="Has no effect: the output is always JSON lines.")
    ] = False,
    quiet: history_options.Quiet = False,
) -> None:
    """Write the ratings and tags as JSON lines.

    Image files do not contain ratings and tags. `artgen history scan` restores the other data of the history.

    artgen history export -o marks.jsonl
    artgen history export | gzip > marks.jsonl.gz
    """
    from artgen.api.history_functions import export_history
    from artgen.cli.stdout_image import is_stdout
    from artgen.outputs import path_of_file_option
    from artgen.outputs.writing import write_user_file

    to_stdout = is_stdout(output)
    path = path_of_file_option(output, "history.jsonl", "-o")
    marks = export_history()
    if to_stdout:
        for each in marks:
            EXPORT_OUTPUT.print(each)
    else:
        data = "".join(f"{json.dumps(EXPORT_OUTPUT.json_object(each))}\n" for each in marks).encode()
        write_user_file(path, data, overwrite=overwrite, hint="Add --overwrite.")
    if not quiet:
        print_note(f"Exported the ratings and tags of {counted(len(marks), 'image')}.")


@IMPORT_OUTPUT
@reads_history
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File of `artgen history export`. - reads stdin.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: history_options.Quiet = False,
) -> None:
    """Set exported ratings and add exported tags.

    Images are identified by their SHA-256. Images that are not in the history are ignored.

    artgen history import marks.jsonl
    """
    from artgen.api.history_functions import import_history
    from artgen.image_history.find_entry import SCAN_EXAMPLE

    result = import_history(file)
    if as_json:
        IMPORT_OUTPUT.print(result)
    if not quiet:
        print_note(f"Imported the ratings and tags of {counted(result.imported, 'image')}.")
        if result.unknown:
            ignored = counted(result.unknown, "image is", "images are")
            print_note(f"{ignored} not in the history. To add the images first: {SCAN_EXAMPLE}")


def _report(entries: "Sequence[HistoryEntry]", text: str, *, as_json: bool, quiet: bool) -> None:
    """Print the changed entries as JSON, if requested, and a note."""
    if as_json:
        for entry in entries:
            history_options.ENTRIES_OUTPUT.print(entry)
    if not quiet:
        print_note(text)


def _names(entries: "Sequence[HistoryEntry]") -> str:
    """Return `history:12`, or the number of images."""
    return f"history:{entries[0].id}" if len(entries) == 1 else counted(len(entries), "image")
