"""What a batch has done: append-only files in a folder beside its pictures, a line a job, that survive any crash.

A line is written before a picture gets its final name, so that every picture has its line; a job counts as done when
its line says so *and* the file is there. Each line goes out in one write to a file opened for appending and is
flushed to the disk; one that was cut short by a crash is passed over.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.errors import ArtgenError, InputFileError, OutputError

LEDGER_FOLDER_NAME = "artgen-ledger"
"""The folder of the ledger files, inside the folder of the pictures."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """The last word on a job.

    Attributes:
        state: `done` or `failed`.
        file: relative to the folder, with `/`; empty for a failure.
        sha256: of the file's bytes.
        seconds: that drawing took.
        where: the line it came from.
        error: what went wrong, one sentence.
        exit_code: that the error alone would have had.
        time: seconds since 1970.
    """

    state: str
    file: str = ""
    sha256: str = ""
    seconds: float = 0.0
    where: str = ""
    error: str = ""
    exit_code: int = 0
    time: float = 0.0


def failure_record(location: str, error: ArtgenError) -> JobRecord:
    """The record of a job that just failed."""
    return JobRecord("failed", where=location, error=error.message, exit_code=error.exit_code, time=now())


def now() -> float:
    """Seconds since 1970, to a thousandth."""
    return round(time.time(), 3)


class Ledger:
    """The ledger files of a folder: all are read, one is written."""

    def __init__(self, folder: Path, suffix: str = "") -> None:
        """Opens nothing yet; `suffix` tells apart those who write at the same time on file systems without locks."""
        self.folder = folder
        self.path = folder / LEDGER_FOLDER_NAME / f"jobs{suffix}.jsonl"
        self.records: dict[str, JobRecord] = {}
        self.run_starts: list[dict[str, Any]] = []
        self._read_offsets: dict[Path, int] = {}
        self._fd: int | None = None
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Reads what was added since the last time, by this process or another.

        Raises:
            InputFileError: a ledger file cannot be read.
        """
        for path in sorted(self.path.parent.glob("jobs*.jsonl")):
            for line in self._read_new_lines(path):
                self._apply(line)

    def completed(self, key: str) -> JobRecord | None:
        """The record of a job that is done and whose picture is there."""
        record = self.records.get(key)
        if record is None or record.state != "done" or not (self.folder / record.file).is_file():
            return None
        return record

    def completed_keys(self) -> set[str]:
        """The keys of all jobs that are done; lists the folders of their files instead of asking for each file."""
        done = {key: record.file for key, record in self.records.items() if record.state == "done"}
        there = {
            name for parent in {_folder_prefix(file) for file in done.values()} for name in self._list_files(parent)
        }
        return {key for key, file in done.items() if file in there}

    def completed_files(self) -> set[Path]:
        """Every picture that was drawn, whether its job is still asked for or not."""
        return {self.folder / record.file for record in self.records.values() if record.state == "done"}

    def _list_files(self, parent: str) -> Iterator[str]:
        try:
            with os.scandir(self.folder / parent) as found:
                for entry in found:
                    yield f"{parent}{entry.name}"
        except OSError:
            return

    def failed(self, key: str) -> JobRecord | None:
        """The record of a job that failed and was not done since."""
        record = self.records.get(key)
        return record if record is not None and record.state == "failed" else None

    def record_run_start(self, num_jobs: int, num_completed: int) -> None:
        """Notes that a run begins: how many jobs there are, and how many of them are done already."""
        self._append_line({"plan": num_jobs, "done": num_completed, "shard": self.path.stem, "time": now()})

    def write(self, key: str, record: JobRecord) -> None:
        """Appends the last word on a job.

        Raises:
            OutputError: the line could not be written.
        """
        fields = {name: value for name in JobRecord.__slots__ if (value := getattr(record, name)) not in ("", 0)}
        self._append_line({"job": key, **fields})
        self.records[key] = record

    def close(self) -> None:
        """Closes the file that is written."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _read_new_lines(self, path: Path) -> Iterator[bytes]:
        try:
            with path.open("rb") as file:
                file.seek(self._read_offsets.get(path, 0))
                data = file.read()
        except OSError as error:
            raise InputFileError(f"'{path}' cannot be read: {error.strerror or error}.") from error
        whole = data.rfind(b"\n") + 1
        self._read_offsets[path] = self._read_offsets.get(path, 0) + whole
        yield from data[:whole].split(b"\n")

    def _apply(self, line: bytes) -> None:
        try:
            value = json.loads(line)
        except ValueError:
            return  # empty, or cut short by a crash
        if not isinstance(value, dict):
            return
        if "plan" in value:
            self.run_starts.append(value)
        elif isinstance(key := value.get("job"), str):
            self.records[key] = JobRecord(**{name: value[name] for name in JobRecord.__slots__ if name in value})

    def _append_line(self, value: dict[str, Any]) -> None:
        line = json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            try:
                if self._fd is None:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
                    line = self._newline_if_truncated() + line
                written = os.write(self._fd, line)
                os.fsync(self._fd)
            except OSError as error:
                raise self._write_error(error.strerror or str(error)) from error
            if written != len(line):
                self.close()  # what follows begins on a line of its own
                raise self._write_error("no room")

    def _newline_if_truncated(self) -> bytes:
        """A line feed when a crash left the last line without one."""
        size = self.path.stat().st_size
        if not size:
            return b""
        with self.path.open("rb") as file:
            file.seek(size - 1)
            return b"" if file.read(1) == b"\n" else b"\n"

    def _write_error(self, reason: str) -> OutputError:
        return OutputError(f"'{self.path}' could not be written: {reason}.", "Make room, then run the same command.")


def _folder_prefix(file: str) -> str:
    """`sub/dir/` of `sub/dir/fox.png`, an empty string of `fox.png`."""
    return file[: file.rfind("/") + 1]


@dataclass(frozen=True, slots=True)
class JobResult:
    """One job's end, small enough to send from process to process.

    Attributes:
        fingerprint: the job's fingerprint.
        record: what the ledger says now; None when another process has the job or has done it meanwhile.
        image_record: the record inside the picture and where its frames are, for `--json`; None where none was drawn.
        message: the error in full, with its hint on a second line.
    """

    fingerprint: str
    record: JobRecord | None
    image_record: dict[str, Any] | None = None
    message: str = ""
