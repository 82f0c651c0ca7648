"""Parse `.csv` and `.tsv` prompt files."""

import csv
from collections.abc import Callable, Iterator
from typing import Any

from artgen.errors import UsageError
from artgen.queue.entries import Entry, LineError, parse_text_value
from artgen.queue.job_settings import entry_or_error, parse_record
from artgen.queue.keys import Keys
from artgen.queue.line_sources import decode_lines


def parse_csv(source: str, data: bytes, keys: Keys) -> Iterator[Entry | LineError]:
    """Yield the jobs of a `.csv` file. The separator can also be a semicolon or a tab."""
    header = data.lstrip(b"\n").split(b"\n", 1)[0]
    delimiter = "," if b"," in header else ";" if b";" in header else "\t" if b"\t" in header else ","
    return _parse_table(source, data, keys, delimiter)


def parse_tsv(source: str, data: bytes, keys: Keys) -> Iterator[Entry | LineError]:
    """Yield the jobs of a `.tsv` file."""
    return _parse_table(source, data, keys, "\t")


def _parse_table(source: str, data: bytes, keys: Keys, delimiter: str) -> Iterator[Entry | LineError]:
    invalid: list[LineError] = []

    def valid_lines() -> Iterator[str]:
        for line in decode_lines(source, data):
            if isinstance(line, LineError):
                invalid.append(line)
            yield "\n" if isinstance(line, LineError) else f"{line[1]}\n"

    rows = csv.reader(valid_lines(), strict=True, delimiter=delimiter)
    header: list[str | None] | None = None
    notes: list[str] = []
    is_valid = True
    while True:
        start = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            row = []
            invalid.append(LineError(source, start, _row_error(error)))
        yield from invalid
        invalid.clear()
        if row is None:
            return
        if header is None and row:
            header, header_error = _parse_header(row, keys, notes)
            if header_error is not None:
                yield LineError(source, start, header_error)
                is_valid = False
        elif header is not None and any(cell.strip() for cell in row):
            item = entry_or_error(source, start, _parse_row, header, row, keys, notes)
            notes = []
            if is_valid or isinstance(item, LineError):
                yield item


def _row_error(error: csv.Error) -> UsageError:
    return UsageError(
        f"Cannot parse the file from this row: {error}.", "Close the quotation marks, and double those inside a cell."
    )


def _parse_header(row: list[str], keys: Keys, notes: list[str]) -> tuple[list[str | None], UsageError | None]:
    """Return the key of each column, None for an ignored column, and the error about invalid columns."""
    columns = [cell.strip() for cell in row]
    is_record = "artgen" in columns
    try:
        names = keys.unique(columns, notes.append, allow_unknown=is_record)
    except UsageError as error:
        reason = UsageError(f"Cannot parse the header row: {error.message}", error.hint)
        # The rows are checked without unknown and repeated columns, so that all errors are reported together.
        names = dict(reversed(keys.split(columns)[0].items()))
        first_columns = {setting: column for column, setting in names.items()}
        header = [column if first_columns.get(names.get(column, "")) == column else None for column in columns]
        return [column if column not in header[:i] else None for i, column in enumerate(header)], reason
    return [column if column in names else None for column in columns], None


def _parse_row(
    header: list[str | None], row: list[str], keys: Keys, notes: list[str], on_note: Callable[[str], None]
) -> dict[str, Any]:
    for note in notes:
        on_note(note)
    if any(cell.strip() for cell in row[len(header) :]):
        raise UsageError(f"Cannot use {len(row)} cells: the header has {len(header)}.", "Quote cells with commas.")
    cells = {name: cell.strip() for name, cell in zip(header, row, strict=False) if name and cell.strip()}
    if "artgen" in cells:
        return parse_record(cells, parse_text_value)
    return keys.settings(cells, parse_text_value, on_note)
