"""Write tables of results as CSV."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from artgen.outputs.writing import write_user_file


def write_table(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], *, overwrite: bool, hint: str
) -> None:
    """Write a CSV file with a header.

    Args:
        path: the file.
        header: names of the columns.
        rows: values. A text that spreadsheets would interpret as a formula gets the prefix `./`.
        overwrite: replace an existing file.
        hint: hint of the error if the file exists.

    Raises:
        OutputError: the file exists, or cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows([_escape_formula(each) if isinstance(each, str) else each for each in row] for row in rows)
    write_user_file(path, text.getvalue().encode("utf-8", "surrogateescape"), overwrite=overwrite, hint=hint)


def _escape_formula(name: str) -> str:
    """Return a text that spreadsheets do not interpret as a formula."""
    return f"./{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name
