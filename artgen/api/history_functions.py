"""Search the history, and set the ratings and tags of its entries."""

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from artgen.api.history_access import (
    change_entries,
    entry_names,
    named_entry,
    opened_history,
    run_query,
    select_entries,
)
from artgen.errors import InputFileError, UsageError
from artgen.image_history.find_entry import ENTRY_PREFIX, SCAN_EXAMPLE
from artgen.spec.fields import describe_value
from artgen.spec.python_text import for_python
from artgen.spec.python_values import path_text
from artgen.system.files import missing_file_error

if TYPE_CHECKING:
    from artgen.api.history_access import EntryName
    from artgen.image_history.database import History
    from artgen.image_history.entry import HistoryEntry
    from artgen.image_history.marks import ImageMarks, ImportedMarks
    from artgen.image_history.scan import ScanResult


@for_python()
def search_history(
    text: str = "",
    *,
    model: str | None = None,
    task: str | None = None,
    lora: str | None = None,
    size: str | None = None,
    rating: int | None = None,
    since: str | datetime | None = None,
    until: str | datetime | None = None,
    tags: str | Sequence[str] = (),
    limit: int | None = None,
) -> "list[HistoryEntry]":
    """Return the entries of the history that have all given properties, the newest first.

    Args:
        text: words in the prompt, the negative prompt, the model or the tags. A word also finds longer words that begin
            with it. Words in double quotes are a phrase. A word after `-` must not occur.
        model: alias of a model, or part of its name.
        task: task, such as "txt2img".
        lora: part of the name of a LoRA.
        size: "512x512", ">=1024" (longer side) or ">=1024x768".
        rating: smallest rating, 1 to 5. 0: images without a rating.
        since: date or time: "yesterday", "3d", "2 weeks", "2026-11-30".
        until: date or time. A day, a month or a year is included.
        tags: tags that the entry must have.
        limit: largest number of entries. None: all.

    Raises:
        UsageError: a value is not valid.
        InputFileError, OutputError: the history is damaged or locked.
    """
    from artgen.image_history.query import create_query

    query = create_query(
        text, model=model, task=task, lora=lora, size=size, rating=rating, since=since, until=until,
        tags=tags, limit=limit,
    )  # fmt: skip
    return run_query(query)


@for_python()
def history_entry(id: "EntryName") -> "HistoryEntry":  # noqa: A002
    """Return an entry of the history.

    Args:
        id: number of the entry, "history:NUMBER", "last", at least 6 digits of the SHA-256, or path of the image file.

    Raises:
        UsageError: the history has no such entry, or several.
        InputFileError, OutputError: the history is damaged or locked.
    """
    return select_entries([id])[0]


@for_python()
def history_file(id: "EntryName") -> Path:  # noqa: A002
    """Return the path of the image file of an entry. A moved file is found by its hash in the folders of the history.

    Args:
        id: see `history_entry`.

    Raises:
        UsageError: the history has no such entry, or several.
        InputFileError: the file is not found, or the history is damaged.
        OutputError: the history is locked.
    """
    with opened_history() as history:
        entry = named_entry(history, id)
        found = None if history is None else history.find_file(entry)
    if found is None:
        raise InputFileError(
            f"The image file of {ENTRY_PREFIX}{entry.id} is missing: '{entry.path}' does not exist or has changed.",
            f"If the file was moved: {SCAN_EXAMPLE}",
        )
    return found


@for_python()
def rate_history(ids: "EntryName | Iterable[EntryName]", rating: int | None) -> "list[HistoryEntry]":
    """Set the rating of entries of the history, and return the changed entries.

    Args:
        ids: one entry or several, see `history_entry`.
        rating: 1 to 5. 0 or None removes the rating.

    Raises:
        UsageError: the history has no such entry, or the rating is not valid. No rating is changed.
        InputFileError, OutputError: the history is damaged or locked.
    """
    from artgen.image_history.query import check_rating

    if rating is not None:
        check_rating(rating, minimum=0)
    return change_entries(ids, lambda history, numbers: history.set_rating(numbers, rating or None))


@for_python()
def tag_history(
    ids: "EntryName | Iterable[EntryName]", tags: str | Sequence[str], *, remove: bool = False
) -> "list[HistoryEntry]":
    """Add tags to entries of the history, or remove tags, and return the changed entries.

    Args:
        ids: one entry or several, see `history_entry`.
        tags: one tag or several. They are stored in lower case.
        remove: remove the tags.

    Raises:
        UsageError: the history has no such entry, or a tag is not valid. No tag is changed.
        InputFileError, OutputError: the history is damaged or locked.
    """
    from artgen.image_history.query import parse_tags

    names = parse_tags(tags)

    def change(history: "History", numbers: list[int]) -> None:
        (history.remove_tags if remove else history.add_tags)(numbers, names)

    return change_entries(ids, change)


@for_python()
def forget_history(ids: "EntryName | Iterable[EntryName]") -> "list[HistoryEntry]":
    """Remove entries from the history, with their ratings and tags, and return them. Image files are not deleted.

    Args:
        ids: one entry or several, see `history_entry`. A search: `forget_history(search_history("fox"))`.

    Raises:
        UsageError: the history has no such entry. No entry is removed.
        InputFileError, OutputError: the history is damaged or locked.
    """
    names = entry_names(ids)
    with opened_history() as history:
        entries = [named_entry(history, name) for name in names]
        if history is not None:
            history.forget([entry.id for entry in entries])
    return entries


def export_history() -> "list[ImageMarks]":
    """Return the ratings and tags of the history, which no image file contains.

    Raises:
        InputFileError, OutputError: the history is damaged or locked.
    """
    from artgen.image_history.marks import select_marks

    with opened_history() as history:
        return [] if history is None else list(select_marks(history.all()))


@for_python()
def import_history(marks: "str | os.PathLike[str] | Iterable[ImageMarks]") -> "ImportedMarks":
    """Set exported ratings and add exported tags. The images must be in the history: see `scan_history`.

    Args:
        marks: file that `artgen history export` wrote, or the result of `export_history`.

    Raises:
        InputFileError: the file is not valid, or the history is damaged. Nothing is changed.
        OutputError: the history is locked.
    """
    from artgen.image_history import marks as marks_files
    from artgen.system.input_files import is_stdin, read_input

    if isinstance(marks, str | os.PathLike):
        path = Path(path_text(marks, "marks", "marks.jsonl"))
        found = marks_files.parse_marks(
            read_input(path, marks_files.MAX_MARKS_BYTES), "standard input" if is_stdin(path) else f"'{path}'"
        )
    elif not isinstance(marks, Iterable):
        raise UsageError(f"marks must be a path or a list, not {describe_value(marks)}.")
    else:
        found = [each if isinstance(each, marks_files.ImageMarks) else marks_files.read_marks(each) for each in marks]
    with opened_history() as history:
        known = [history is not None and history.import_marks(each.sha256, each.rating, each.tags) for each in found]
    return marks_files.ImportedMarks(sum(known), len(known) - sum(known))


@for_python()
def scan_history(
    folders: "str | os.PathLike[str] | Iterable[str | os.PathLike[str]]",
    *,
    on_progress: Callable[[int, int], object] | None = None,
) -> "ScanResult":
    """Add the images of folders and their subfolders to the history, from their metadata, and update moved files.

    Ratings and tags of known images are kept. A damaged history is replaced, and its file is kept.

    Args:
        folders: one folder or several; also image files.
        on_progress: called after each file with the number of files that were read, and the number of all files.

    Raises:
        UsageError: the list is empty.
        InputFileError: a folder does not exist, contains no images or cannot be read.
        OutputError: the history is locked or cannot be written.
    """
    from artgen.image_history.scan import scan

    is_one = isinstance(folders, str | bytes | os.PathLike) or not isinstance(folders, Iterable)
    values: list[object] = [folders] if is_one else list(cast("Iterable[object]", folders))
    if not values:
        raise UsageError("The list of folders is empty.", SCAN_EXAMPLE)
    paths = [Path(path_text(each, "folders", "outputs")) for each in values]
    for path in paths:
        if not os.path.lexists(path):
            raise missing_file_error(path)
    return scan(paths, on_progress or (lambda _done, _total: None))
