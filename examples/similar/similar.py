"""Find the training images that are nearest to generated images, to check for copies.

python examples/similar/similar.py IMAGE... FOLDER prints a ranked list. Crops, mirrored and recolored copies and
copies with noise are found. The descriptors of the folder are stored in an index, which a second run uses again.
"""

import argparse
import dataclasses
import io
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from edge_descriptors import Floats
from image_index import (
    IndexedImages,
    index_path,
    load_index,
    open_index,
    store_baseline,
    stored_baseline,
    update_index,
)
from search import NUM_VERIFIED_IMAGES, Match, Query, find_similar

from artgen.dataset.decode import load_rgb_image
from artgen.errors import ArtgenError, InputFileError
from artgen.events import Event, Notice
from artgen.images.contact_sheet import Cell, ContactSheet, render_sheet
from artgen.system.files import write_atomically
from artgen.system.paths import user_cache_folder
from artgen.system.terminal import printable

COPY_SCORE = 0.97
"""Score of a near copy, from `measure.py`; see the README."""

MAX_SHEET_ROWS = 60


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="generated images")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of training images, with subfolders")
    parser.add_argument("--top", type=int, default=5, help=f"matches per image, 1 to {NUM_VERIFIED_IMAGES} [5]")
    parser.add_argument("--json", action="store_true", help="print one JSON object per image")
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="write the images and their matches to a sheet")
    parser.add_argument("--cache", type=Path, help="folder of the index [artgen's cache folder]")
    parser.add_argument(
        "--clip", nargs="?", const="clip", metavar="MODEL",
        help="also select candidates with a CLIP model: --clip at the end, or --clip=MODEL (name, hub id or folder)",
    )  # fmt: skip
    parser.add_argument(
        "--baseline", type=int, default=100, metavar="N",
        help="compare N training images with the other ones, to show which scores are usual; 0 disables this [100]",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if not 1 <= options.top <= NUM_VERIFIED_IMAGES:
        parser.error(f"--top must be 1 to {NUM_VERIFIED_IMAGES}, not {options.top}")
    if options.baseline < 0:
        parser.error(f"--baseline must be 0 or more, not {options.baseline}")
    return options


def note(text: str) -> None:
    """Print a note to stderr."""
    print(f"note: {printable(text)}", file=sys.stderr)


def show_event(event: Event) -> None:
    """Print notices of a download."""
    if isinstance(event, Notice):
        note(event.text)


def load_folder(folder: Path, cache: Path, number: int) -> tuple[IndexedImages, Floats]:
    """Update the index of a folder, and return it with the scores of the baseline.

    Args:
        folder: folder of training images.
        cache: folder of the index.
        number: number of images of the baseline.

    Raises:
        InputFileError: the folder does not exist or has no readable image.
    """
    start = time.monotonic()
    if not folder.is_dir():
        raise InputFileError(f"'{folder}' is not a folder.", "similar.py generated.png training-images/")
    database = open_index(index_path(folder, cache))

    def show_progress(done: int, total: int) -> None:
        note(f"read {done:,} of {total:,} images in {time.monotonic() - start:,.0f} s.")

    update_index(database, folder, show_progress)
    images = load_index(database, folder)
    for text in images.skipped:
        note(f"Skipped: {text}")
    if not number or len(images.names) < 2:
        return images, np.empty(0, np.float32)
    scores = stored_baseline(database, images.files_hash(), number)
    if scores is None:
        scores = measure_baseline(images, number)
        store_baseline(database, images.files_hash(), number, scores)
    return images, scores


def measure_baseline(images: IndexedImages, number: int) -> Floats:
    """Return the score of the nearest other training image of some training images, sorted."""
    selected = np.unique(np.linspace(0, len(images.names) - 1, min(number, len(images.names))).astype(int))
    queries = [read_query(images.folder / images.names[index]) for index in selected.tolist()]
    digests = np.array(images.sha256)
    found = find_similar(images, queries, 1, lambda query: digests == query.sha256)
    return np.sort(np.array([matches[0].score for matches in found if matches], np.float32))


def read_query(path: Path) -> Query:
    """Read an image.

    Raises:
        InputFileError: the file is not an image, or is damaged.
    """
    loaded = load_rgb_image(path)
    return Query(str(path), loaded.image, loaded.sha256)


def percentile(score: float, baseline: Floats) -> float | None:
    """Return the share of training images whose nearest other image has a lower score; None without a baseline."""
    return float(np.searchsorted(baseline, score) / len(baseline)) if len(baseline) else None


def describe(found: Match) -> str:
    """Return how a training image was changed to get the generated image."""
    left, top, width, height = found.crop
    parts = []
    if found.duplicate:
        parts.append({"looks like": "near-duplicate", "mirrors": "mirrored near-duplicate"}.get(
            found.duplicate, found.duplicate))  # fmt: skip
    elif found.score >= COPY_SCORE:
        parts.append("possible copy")
    if found.is_mirrored:
        parts.append("mirrored")
    if width * height < 0.95:
        parts.append(f"crop {left:.0%}-{left + width:.0%} x {top:.0%}-{top + height:.0%}")
    if found.is_recolored:
        parts.append("other colors")
    if found.clip is not None:
        parts.append(f"content {found.clip:.2f}")
    return ", ".join(parts)


def print_matches(query: Query, matches: Sequence[Match], baseline: Floats) -> None:
    """Print the ranked list of one image."""
    print(printable(query.name))
    for rank, found in enumerate(matches, 1):
        print(f"{rank:3}. {found.score:6.3f}  {printable(found.name)}  {describe(found)}".rstrip())
    share = percentile(matches[0].score, baseline) if matches else None
    if share is not None:
        print(f"     {share:.0%} of {len(baseline)} training images are less similar to their nearest other image.")


def json_object(query: Query, matches: Sequence[Match], baseline: Floats) -> dict[str, Any]:
    """Return the result of one image as JSON values."""
    return {
        "image": query.name,
        "sha256": query.sha256,
        "baseline_share": percentile(matches[0].score, baseline) if matches else None,
        "matches": [dataclasses.asdict(each) | {"possible_copy": is_copy(each)} for each in matches],
    }


def is_copy(found: Match) -> bool:
    """Return whether the score or artgen's duplicate detection indicates a copy."""
    return found.duplicate is not None or found.score >= COPY_SCORE


def write_sheet(path: Path, folder: Path, results: Sequence[tuple[Query, Sequence[Match]]]) -> None:
    """Write the images and their matches as rows of a contact sheet, most similar first."""
    ranked = sorted(results, key=lambda each: -each[1][0].score if each[1] else 0)[:MAX_SHEET_ROWS]
    if len(ranked) < len(results):
        note(f"The sheet shows the {len(ranked)} images with the highest scores.")
    columns = max(len(matches) for _, matches in ranked)
    rows = []
    for query, matches in ranked:
        cells = [Cell(None, Path(query.name).name, query.image)]
        cells += [Cell(folder / each.name, f"{each.score:.3f} {describe(each)}\n{each.name}") for each in matches]
        rows.append(cells + [Cell(None)] * (columns + 1 - len(cells)))
    labels = ["image", *(f"match {number}" for number in range(1, columns + 1))]
    sheet = render_sheet(ContactSheet(rows, column_labels=labels), cell_px=160)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def run(options: argparse.Namespace) -> int:
    """Search all images; return the exit code."""
    code = 0
    queries = []
    for path in options.images:
        try:
            queries.append(read_query(path))
        except ArtgenError as error:
            code = print_error(error)
    if not queries:
        return code
    cache = options.cache or user_cache_folder() / "similar"
    images, baseline = load_folder(options.folder, cache, options.baseline)
    contents = None
    if options.clip:
        from clip_features import compare_contents

        database = open_index(index_path(options.folder, cache))
        contents = compare_contents(database, images, queries, options.clip, show_event)
    results = []
    for query, matches in zip(queries, find_similar(images, queries, options.top, contents=contents), strict=True):
        results.append((query, matches))
        if options.json:
            print(json.dumps(json_object(query, matches, baseline)), flush=True)
        else:
            print_matches(query, matches, baseline)
    if options.sheet:
        write_sheet(options.sheet, options.folder, results)
    return code


def print_error(error: ArtgenError) -> int:
    """Print an error and its hint to stderr; return its exit code."""
    print(f"error: {printable(error.message)}", file=sys.stderr)
    if error.hint:
        print(f"  {printable(error.hint)}", file=sys.stderr)
    return error.exit_code


def main() -> None:
    try:
        code = run(parse_arguments(None))
    except ArtgenError as error:
        code = print_error(error)
    except KeyboardInterrupt:
        note("Stopped. The index is kept; run the same command again to continue.")
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
