"""Check and write the files of `artgen rank`: the table and the contact sheet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from artgen.api import rank_tables
from artgen.api.rank import ImageScore, create_rank_sheet
from artgen.cli.console import print_note
from artgen.cli.display import Display
from artgen.errors import ArtgenError, UsageError
from artgen.queue.job_queue import parse_shard
from artgen.spec.settings import ReportSettings


@dataclass(frozen=True)
class RankFiles:
    """Store the files of a run of `artgen rank`.

    Attributes:
        csv: the table; None without --csv.
        sheet: the contact sheet; None without --sheet.
        shard: index of the part, and number of parts.
    """

    csv: Path | None
    sheet: Path | None
    shard: tuple[int, int]

    @property
    def num_parts(self) -> int:
        """Return the number of parts."""
        return self.shard[1]

    @property
    def is_csv_printed(self) -> bool:
        """Return whether the table goes to stdout."""
        from artgen.outputs import STDOUT, find_stream

        return self.csv is not None and find_stream(str(self.csv)) == STDOUT

    @property
    def parts_table(self) -> Path | None:
        """Return the table that the parts share; None without --shard, or if the table is a stream."""
        from artgen.outputs import find_stream

        is_file = self.csv is not None and find_stream(str(self.csv)) is None
        return self.csv if is_file and self.num_parts > 1 else None

    def write(
        self,
        ranked: Sequence[ImageScore],
        failures: Mapping[Path, ArtgenError],
        report: ReportSettings,
        *,
        overwrite: bool,
    ) -> None:
        """Write the table and the contact sheet. The last finished part writes the files of all parts."""
        table = self.parts_table
        shown: Sequence[ImageScore] | None = ranked
        if table is not None:
            part = rank_tables.part_path(table, self.shard)
            rank_tables.write_scores(part, ranked, failures, overwrite=overwrite)
            shown = rank_tables.combine_parts(table, self.num_parts, overwrite=overwrite)
            if not report.quiet:
                print_note(f"'{part}' is written. The last part writes '{table}'." if shown is None else str(table))
        elif self.csv is not None:
            rank_tables.write_scores(self.csv, ranked, failures, overwrite=overwrite)
        if self.sheet is not None and shown:
            _write_sheet(self.sheet, shown, report, overwrite=overwrite)


def rank_files(csv_file: str | None, sheet_file: str | None, shard: str | None, *, overwrite: bool) -> RankFiles:
    """Return the files of the run, before images are read.

    Raises:
        UsageError: a name is empty or has a wrong suffix, or the shard is invalid.
        OutputError: a file exists already, or cannot be written.
    """
    from artgen.cli.usage_errors import is_image_name
    from artgen.outputs import check_sheet_path, find_stream, path_of_file_option

    csv_path = None if csv_file is None else path_of_file_option(csv_file, "scores.csv", "--csv")
    sheet_path = None if sheet_file is None else path_of_file_option(sheet_file, "sheet.png", "--sheet")
    files = RankFiles(csv_path, sheet_path, (0, 1) if shard is None else parse_shard(shard))
    if sheet_path is not None:
        check_sheet_path(sheet_path, overwrite, "--sheet")
        if files.num_parts > 1 and files.parts_table is None:
            raise UsageError(
                "Cannot use --sheet and --shard without a table: the sheet shows the images of all parts.",
                "Add --csv scores.csv.",
            )
    if csv_path is not None and is_image_name(str(csv_path)):
        raise UsageError(f"A table is a .csv file, not '{csv_path}'.", "--csv scores.csv")
    if csv_path is not None and find_stream(str(csv_path)) is None:
        _check_table(csv_path, overwrite=overwrite)
        if files.num_parts > 1:
            _check_table(rank_tables.part_path(csv_path, files.shard), overwrite=overwrite)
    return files


def _check_table(path: Path, *, overwrite: bool) -> None:
    """Check that a table can be written.

    Raises:
        OutputError: the path is a folder, or exists already.
    """
    from artgen.errors import OutputError

    if path.is_dir():
        raise OutputError(f"Cannot write to '{path}': it is a folder.", "Use the name of a file.")
    if path.exists() and not overwrite:
        raise OutputError(f"'{path}' exists already.", rank_tables.OVERWRITE_HINT)


def _write_sheet(path: Path, ranked: Sequence[ImageScore], report: ReportSettings, *, overwrite: bool) -> None:
    written: list[Path] = create_rank_sheet(ranked).write(path, overwrite=overwrite)
    display = Display(report)
    for page in written:
        if not report.quiet:
            print_note(str(page))
        display.show_file(page)
    display.open(written[0])
