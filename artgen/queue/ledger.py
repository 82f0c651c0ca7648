"""Record the finished jobs of a batch in append-only files, one line per job, in the folder of the images.

A line is written before an image gets its final name, so each image has a line. A job is done if its line has the state
`done` *and* the file exists. Each line is written with one call to a file in append mode and is flushed to the disk.
Damaged lines, such as a line that a crash truncated, are skipped. If the file is removed or replaced while a
batch runs, all known lines are written again.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.errors import ArtgenError
from artgen.queue import ledger_lines
from artgen.queue.ledger_files import LedgerReader, LedgerWriter
from artgen.queue.ledger_lines import DONE, FAILED, MISSING, JobRecord, RunStart

LEDGER_FOLDER_NAME = "artgen-ledger"
"""Name of the folder of the ledger files in the folder of the images."""


def failure_record(location: str, error: ArtgenError) -> JobRecord:
    """Return the record of a job that fails now."""
    return JobRecord(FAILED, where=location, error=error.message, exit_code=error.exit_code, time=now())


def now() -> float:
    """Return the seconds since 1970, rounded to milliseconds."""
    return round(time.time(), 3)


class Ledger:
    """Read all ledger files of a folder and write one of them.

    Attributes:
        folder: folder of the images.
        path: the written file.
        records: newest record of each job, by the key of the job.
        run_starts: newest start of a run, by the name of its ledger file.
    """

    def __init__(self, folder: Path, suffix: str = "") -> None:
        """Store the paths without opening a file.

        Args:
            folder: folder of the images.
            suffix: suffix of the written file, so that machines without shared file locks write different files.
        """
        self.folder = folder
        self.path = folder / LEDGER_FOLDER_NAME / f"jobs{suffix}.jsonl"
        self.records: dict[str, JobRecord] = {}
        self.run_starts: dict[str, RunStart] = {}
        self._readers: dict[Path, LedgerReader] = {}
        self._writer = LedgerWriter(self.path)
        self._lock = threading.RLock()

    def refresh(self) -> None:
        """Read the lines that this process or other processes have added since the last call.

        Raises:
            InputFileError: a ledger file cannot be read, or a newer version of artgen wrote it.
        """
        with self._lock:
            for path in sorted(self.path.parent.glob("jobs*.jsonl")):
                reader = self._readers.setdefault(path, LedgerReader(path))
                for line in reader.new_lines():
                    self._apply(line, reader)

    def damage_notes(self) -> list[str]:
        """Return a note for each file with damaged lines that `refresh` skipped."""
        return [note for reader in self._readers.values() if (note := reader.damage_note())]

    def lost_lines_reason(self) -> str:
        """Return why the ledger lacks lines, `missing` or `damaged`; empty if it does not. Call `refresh` before."""
        return "damaged" if self.damage_notes() else "" if self.records else "missing"

    def recent_times(self) -> list[list[float]]:
        """Return the times of the newest images of the newest run of each ledger file, in the order of the lines."""
        return [list(reader.times) for reader in self._readers.values()]

    def completed(self, key: str) -> JobRecord | None:
        """Return the record of a job if it is done and its image exists, else None."""
        record = self.records.get(key)
        if record is None or record.state not in (DONE, MISSING):
            return None
        # Path.is_file raises an error for a name that is too long.
        return record if os.path.isfile(self.folder / record.file) else None  # noqa: PTH113

    def completed_keys(self) -> set[str]:
        """Return the keys of all jobs that are done. Folders are listed once instead of testing each file."""
        done = {key: record.file for key, record in self.records.items() if record.state in (DONE, MISSING)}
        existing_files = {
            name for parent in {_folder_prefix(file) for file in done.values()} for name in self._list_files(parent)
        }
        return {key for key, file in done.items() if file in existing_files}

    def completed_files(self) -> set[Path]:
        """Return the paths of all finished images, including images of jobs that are no longer in the plan."""
        return {self.folder / record.file for record in self.records.values() if record.state in (DONE, MISSING)}

    def _list_files(self, parent: str) -> Iterator[str]:
        try:
            with os.scandir(self.folder / parent) as entries:
                for entry in entries:
                    if entry.is_file():
                        yield f"{parent}{entry.name}"
        except OSError:
            return

    def failed(self, key: str) -> JobRecord | None:
        """Return the record of a job if its newest state is `failed`, else None."""
        record = self.records.get(key)
        return record if record is not None and record.state == FAILED else None

    def record_run_start(self, num_jobs: int, num_completed: int) -> None:
        """Record the start of a run with the number of jobs and the number of finished jobs.

        Raises:
            OutputError: the line cannot be written.
        """
        start = RunStart(num_jobs, num_completed, self.path.stem, now())
        self._append(ledger_lines.run_start_line(start))
        self.run_starts[start.shard] = start

    def write(self, key: str, record: JobRecord) -> None:
        """Append the result of a job.

        Raises:
            OutputError: the line cannot be written.
        """
        self.write_all({key: record})

    def write_all(self, records: Mapping[str, JobRecord]) -> None:
        """Append the results of jobs.

        Raises:
            OutputError: the lines cannot be written.
        """
        if records:
            self._append(ledger_lines.job_lines(records))
            self.records.update(records)

    def restore(self) -> None:
        """Write the known lines again that the files do not contain: a file was removed or replaced.

        Raises:
            InputFileError: a ledger file cannot be read.
            OutputError: the lines cannot be written.
        """
        if lines := self._lost_lines():
            self._append(lines)

    def close(self) -> None:
        """Close the written file."""
        with self._lock:
            self._writer.close()

    def _apply(self, line: bytes, reader: LedgerReader) -> None:
        try:
            parsed = ledger_lines.parse_line(line, str(reader.path))
        except ValueError:
            reader.mark_damaged()
            return
        if isinstance(parsed, RunStart):
            self.run_starts[parsed.shard] = parsed
            reader.times.clear()
        elif parsed is not None:
            key, record = parsed
            self.records[key] = record
            if record.state == DONE:
                reader.times.append(record.time)

    def _append(self, lines: bytes) -> None:
        with self._lock:
            self._writer.append(lines, self._is_known_file, self._lost_lines)

    def _is_known_file(self, descriptor: int) -> bool:
        """Return whether an open file is the file that `refresh` read. True if `refresh` did not read a file."""
        reader = self._readers.get(self.path)
        return reader is None or reader.is_current(descriptor)

    def _lost_lines(self) -> bytes:
        """Read all files again. Return the known lines that they do not contain."""
        with self._lock:
            known, run_start = self.records, self.run_starts.get(self.path.stem)
            self.records, self.run_starts, self._readers = {}, {}, {}
            self.refresh()
            lost = {key: record for key, record in known.items() if key not in self.records}
            self.records = {**known, **self.records}
            lines = ledger_lines.job_lines(lost)
            if run_start is not None and self.path.stem not in self.run_starts:
                self.run_starts[self.path.stem] = run_start
                lines = ledger_lines.run_start_line(run_start) + lines
            return lines


def _folder_prefix(file: str) -> str:
    """Return `sub/dir/` for `sub/dir/fox.png`, and an empty string for `fox.png`."""
    return file[: file.rfind("/") + 1]


@dataclass(frozen=True, slots=True)
class JobResult:
    """Represent the end of a job. Processes send this object to each other.

    Attributes:
        fingerprint: fingerprint of the job.
        record: record in the ledger; None if another process runs the job.
        image_record: record in the image and the path of its frames, for `--json`; None if no image was generated.
        message: error message, with the hint on a second line.
        note: note about the history; at most one per process.
    """

    fingerprint: str
    record: JobRecord | None
    image_record: dict[str, Any] | None = None
    message: str = ""
    note: str = ""
