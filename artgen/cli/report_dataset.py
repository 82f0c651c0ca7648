"""What `train` found in a folder, for people: what is learnt from, what is left out, and why."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence

from artgen.cli.console import print_error, print_note
from artgen.dataset.types import Dataset, DatasetError
from artgen.errors import ArtgenError

MAX_LISTED_ITEMS = 12
"""So many lines of one kind are printed; the rest are counted."""

Sizes = Sequence[tuple[int, int]]


def print_dataset_report(dataset: Dataset, sizes: Sizes) -> None:
    """Prints a summary on stderr.

    Args:
        dataset: the folder, read.
        sizes: the width and height that each example is trained at.
    """
    for line in report_lines(dataset, sizes):
        print_note(line)


@contextlib.contextmanager
def print_dataset_errors() -> Iterator[None]:
    """Prints every mistake in captions and tables on stderr, a line each, before it leaves with the error."""
    try:
        yield
    except DatasetError as error:
        for mistake in error.errors:
            print_error(ArtgenError(mistake))
        raise


def report_lines(dataset: Dataset, sizes: Sizes) -> Iterator[str]:
    """The summary, line by line."""
    total = len(dataset.images) + len(dataset.rejected)
    yield f"{dataset.folder}: {len(dataset.images):,} of {total:,} pictures are learnt from"
    yield from _count_lines("folder", Counter(each.folder or "(top)" for each in dataset.images))
    yield from _count_lines("shape", Counter(f"{width}x{height}" for width, height in sizes))
    said = (each.provenance.license if each.provenance else None for each in dataset.images)
    yield from _count_lines("licence", Counter(licence or "not said" for licence in said))
    for kind in sorted({each.kind for each in dataset.rejected}):
        some = [(each.name, each.reason) for each in dataset.rejected if each.kind == kind]
        yield f"left out, {kind}: {len(some):,}"
        yield from _item_lines(some)
    noted = [(each.name, "; ".join(each.notes)) for each in dataset.images if each.notes]
    if noted:
        yield f"learnt from, to be known: {len(noted):,}"
        yield from _item_lines(noted)
    yield from dataset.notes


def _count_lines(category: str, counts: Counter[str]) -> Iterator[str]:
    """Nothing where there is one answer that says nothing: all at the top, of no licence."""
    if set(counts) <= {"(top)"}:
        return
    parts = [f"{name} {count:,}" for name, count in counts.most_common(MAX_LISTED_ITEMS)]
    more = f" and {len(counts) - len(parts):,} more" if len(counts) > len(parts) else ""
    yield f"  by {category}: {', '.join(parts)}{more}"


def _item_lines(items: Sequence[tuple[str, str]]) -> Iterator[str]:
    wide = min(40, max(len(name) for name, _ in items[:MAX_LISTED_ITEMS]))
    yield from (f"  {name:<{wide}}  {words}" for name, words in items[:MAX_LISTED_ITEMS])
    if len(items) > MAX_LISTED_ITEMS:
        yield f"  and {len(items) - MAX_LISTED_ITEMS:,} more; --dry-run --json lists them"
