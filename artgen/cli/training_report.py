"""What `train` found in a folder, for people: what is learnt from, what is left out, and why."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from artgen.cli.reporting import complain, note
from artgen.errors import ArtgenError
from artgen.training.findings import Collection, MistakesError

SHOWN = 12
"""So many lines of one kind are printed; the rest are counted."""

Shapes = Mapping[tuple[int, int], int]


def tell(found: Collection, shapes: Shapes, *, verbose: bool = False) -> None:
    """Prints a summary on stderr; all of it with `verbose`.

    Args:
        found: the folder, read.
        shapes: (width, height) that is trained at -> how many pictures have it.
        verbose: without it, long lists are cut.
    """
    for line in lines(found, shapes, None if verbose else SHOWN):
        note(line)


def tell_mistakes(error: MistakesError) -> None:
    """Prints every mistake on stderr, a line each."""
    for mistake in error.mistakes:
        complain(ArtgenError(mistake))


def lines(found: Collection, shapes: Shapes, shown: int | None) -> Iterator[str]:
    """The summary, line by line, at most `shown` of a kind."""
    total = len(found.examples) + len(found.rejected)
    yield f"{found.folder}: {len(found.examples):,} of {total:,} pictures are learnt from"
    yield from _rows("folder", Counter(each.folder or "(top)" for each in found.examples), shown)
    sizes = Counter({f"{width}x{height}": count for (width, height), count in shapes.items()})
    yield from _rows("shape", sizes, shown)
    said = (each.provenance.licence if each.provenance else None for each in found.examples)
    yield from _rows("licence", Counter(licence or "not said" for licence in said), shown)
    for kind in sorted({each.kind for each in found.rejected}):
        some = [(each.name, each.reason) for each in found.rejected if each.kind == kind]
        yield f"left out, {kind}: {len(some):,}"
        yield from _pairs(some, shown)
    noted = [(each.name, "; ".join(each.notes)) for each in found.examples if each.notes]
    if noted:
        yield f"learnt from, to be known: {len(noted):,}"
        yield from _pairs(noted, shown)
    yield from found.notes


def _rows(what: str, counts: Counter[str], shown: int | None) -> Iterator[str]:
    """Nothing where there is one answer that says nothing: all at the top, of no licence."""
    if set(counts) <= {"(top)"}:
        return
    parts = [f"{name} {count:,}" for name, count in counts.most_common(shown)]
    more = f" and {len(counts) - len(parts):,} more" if len(counts) > len(parts) else ""
    yield f"  by {what}: {', '.join(parts)}{more}"


def _pairs(some: Sequence[tuple[str, str]], shown: int | None) -> Iterator[str]:
    wide = min(40, max(len(name) for name, _ in some[:shown]))
    yield from (f"  {name:<{wide}}  {words}" for name, words in some[:shown])
    if shown is not None and len(some) > shown:
        yield f"  and {len(some) - shown:,} more; --verbose lists them"
