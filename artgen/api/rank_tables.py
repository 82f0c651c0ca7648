"""Write the scores of a ranking as CSV, and combine the tables of the parts of `--shard`."""

import contextlib
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from artgen.api.rank import ImageScore, sort_scores
from artgen.errors import ArtgenError, InputFileError
from artgen.outputs import write_table

OVERWRITE_HINT = "Choose another name, or add --overwrite."
_HEADER = ("rank", "file", "score", "prompt", "error")


def write_scores(
    path: Path, ranked: Sequence[ImageScore], failures: Mapping[Path, ArtgenError], *, overwrite: bool
) -> None:
    """Write a table of ranked images and of the images without a score.

    Args:
        path: the CSV file.
        ranked: scores, the best image first.
        failures: error of each image that has no score.
        overwrite: replace an existing file.

    Raises:
        OutputError: the file exists, or cannot be written.
    """
    rows: list[list[object]] = [
        [number, str(each.path), float(f"{each.score:.6g}"), each.prompt, ""] for number, each in enumerate(ranked, 1)
    ]
    rows += [["", str(file), "", "", error.message] for file, error in failures.items()]
    write_table(path, _HEADER, rows, overwrite=overwrite, hint=OVERWRITE_HINT)


def part_path(table: Path, shard: tuple[int, int]) -> Path:
    """Return the table of a part: `scores-0of4.csv` for `scores.csv`."""
    return table.with_name(f"{table.stem}-{shard[0]}of{shard[1]}{table.suffix}")


def combine_parts(table: Path, num_parts: int, *, overwrite: bool) -> list[ImageScore] | None:
    """Write the table of all images and remove the tables of the parts, if all parts are finished.

    Machines that share a folder need no lock: each machine first writes its part, and the last one finds all parts.

    Args:
        table: the CSV file of all images.
        num_parts: number of parts.
        overwrite: replace an existing file.

    Returns:
        The scores of all images, the best image first; None if a part is missing.

    Raises:
        InputFileError: a part is not a table of `artgen rank`.
        OutputError: the file exists, or cannot be written.
    """
    paths = [part_path(table, (index, num_parts)) for index in range(num_parts)]
    scores: list[ImageScore] = []
    failures: dict[Path, ArtgenError] = {}
    try:
        for path in paths:
            _read_part(path, scores, failures)
    except FileNotFoundError:
        return None
    ranked = sort_scores(scores)
    write_scores(table, ranked, failures, overwrite=overwrite)
    for path in paths:
        with contextlib.suppress(OSError):  # another machine has removed it
            path.unlink()
    return ranked


def _read_part(path: Path, scores: list[ImageScore], failures: dict[Path, ArtgenError]) -> None:
    """Add the rows of a table.

    Raises:
        InputFileError: the file is not a table of `artgen rank`.
        FileNotFoundError: the file does not exist.
    """
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            for row in csv.DictReader(file):
                if row["error"]:
                    failures[Path(row["file"])] = ArtgenError(row["error"])
                else:
                    scores.append(ImageScore(Path(row["file"]), row["prompt"], float(row["score"])))
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputFileError(
            f"Cannot read '{path}': it is not a table of `artgen rank`.", "Remove the file, and rank its part again."
        ) from error
