"""Print a summary of the dataset of `train`: included images, excluded images and the reasons."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence

from artgen.cli.console import print_error, print_note
from artgen.dataset.types import Dataset, DatasetError
from artgen.errors import ArtgenError
from artgen.system.counts import counted

MAX_LISTED_ITEMS = 12
"""Maximum number of items of one kind that are printed. The rest are counted."""

Sizes = Sequence[tuple[int, int]]


def print_dataset_report(dataset: Dataset, sizes: Sizes) -> None:
    """Print a summary to stderr.

    Args:
        dataset: the dataset.
        sizes: training width and height of each image, in pixels.
    """
    for line in report_lines(dataset, sizes):
        print_note(line)


@contextlib.contextmanager
def print_dataset_errors() -> Iterator[None]:
    """Print every error in captions and metadata files to stderr, one line each, and raise the DatasetError again."""
    try:
        yield
    except DatasetError as error:
        for message in error.errors:
            print_error(ArtgenError(f"{message}."))
        raise


def report_lines(dataset: Dataset, sizes: Sizes) -> Iterator[str]:
    """Yield the summary line by line."""
    total = len(dataset.images) + len(dataset.rejected)
    yield f"'{dataset.folder}': training uses {len(dataset.images):,} of {counted(total, 'image')}."
    yield from _count_lines("folder", Counter(image.folder or "(top)" for image in dataset.images))
    yield from _count_lines("shape", Counter(f"{width}x{height}" for width, height in sizes))
    licenses = (image.provenance.license if image.provenance else None for image in dataset.images)
    yield from _count_lines("license", Counter(name or "unknown" for name in licenses))
    for kind in sorted({image.kind for image in dataset.rejected}):
        items = [(image.name, image.reason) for image in dataset.rejected if image.kind == kind]
        yield f"Excluded, {kind}: {len(items):,}"
        yield from _item_lines(items)
    noted_images = [(image.name, "; ".join(image.notes)) for image in dataset.images if image.notes]
    if noted_images:
        yield f"Included, with notes: {len(noted_images):,}"
        yield from _item_lines(noted_images)
    yield from dataset.notes


def _count_lines(category: str, counts: Counter[str]) -> Iterator[str]:
    """Yield the count of each value. Yield nothing if all images are directly in the folder."""
    if set(counts) <= {"(top)"}:
        return
    parts = [f"{name} {count:,}" for name, count in counts.most_common(MAX_LISTED_ITEMS)]
    more = f" and {len(counts) - len(parts):,} more" if len(counts) > len(parts) else ""
    yield f"  By {category}: {', '.join(parts)}{more}"


def _item_lines(items: Sequence[tuple[str, str]]) -> Iterator[str]:
    width = min(40, max(len(name) for name, _ in items[:MAX_LISTED_ITEMS]))
    yield from (f"  {name:<{width}}  {text}" for name, text in items[:MAX_LISTED_ITEMS])
    if len(items) > MAX_LISTED_ITEMS:
        yield f"  and {len(items) - MAX_LISTED_ITEMS:,} more. `--dry-run --json` lists all of them."
