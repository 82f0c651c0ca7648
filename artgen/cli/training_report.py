"""What `train` found in a folder, for people: what is learnt from, what is left out, and why."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence

from artgen.cli.reporting import complain, note
from artgen.errors import ArtgenError
from artgen.training.findings import Collection, MistakesError

SHOWN = 12
"""So many lines of one kind are printed; the rest are counted."""

Sizes = Sequence[tuple[int, int]]


def tell(found: Collection, sizes: Sizes) -> None:
    """Prints a summary on stderr.

    Args:
        found: the folder, read.
        sizes: the width and height that each example is trained at.
    """
    for line in lines(found, sizes):
        note(line)


@contextlib.contextmanager
def mistakes_told() -> Iterator[None]:
    """Prints every mistake in captions and tables on stderr, a line each, before it leaves with the error."""
    try:
        yield
    except MistakesError as error:
        for mistake in error.mistakes:
            complain(ArtgenError(mistake))
        raise


def lines(found: Collection, sizes: Sizes) -> Iterator[str]:
    """The summary, line by line."""
    total = len(found.examples) + len(found.rejected)
    yield f"{found.folder}: {len(found.examples):,} of {total:,} pictures are learnt from"
    yield from _rows("folder", Counter(each.folder or "(top)" for each in found.examples))
    yield from _rows("shape", Counter(f"{width}x{height}" for width, height in sizes))
    said = (each.provenance.licence if each.provenance else None for each in found.examples)
    yield from _rows("licence", Counter(licence or "not said" for licence in said))
    for kind in sorted({each.kind for each in found.rejected}):
        some = [(each.name, each.reason) for each in found.rejected if each.kind == kind]
        yield f"left out, {kind}: {len(some):,}"
        yield from _pairs(some)
    noted = [(each.name, "; ".join(each.notes)) for each in found.examples if each.notes]
    if noted:
        yield f"learnt from, to be known: {len(noted):,}"
        yield from _pairs(noted)
    yield from found.notes


def _rows(what: str, counts: Counter[str]) -> Iterator[str]:
    """Nothing where there is one answer that says nothing: all at the top, of no licence."""
    if set(counts) <= {"(top)"}:
        return
    parts = [f"{name} {count:,}" for name, count in counts.most_common(SHOWN)]
    more = f" and {len(counts) - len(parts):,} more" if len(counts) > len(parts) else ""
    yield f"  by {what}: {', '.join(parts)}{more}"


def _pairs(some: Sequence[tuple[str, str]]) -> Iterator[str]:
    wide = min(40, max(len(name) for name, _ in some[:SHOWN]))
    yield from (f"  {name:<{wide}}  {words}" for name, words in some[:SHOWN])
    if len(some) > SHOWN:
        yield f"  and {len(some) - SHOWN:,} more; --dry-run --json lists them"
