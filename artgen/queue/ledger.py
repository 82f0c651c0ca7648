"""Record the finished jobs of a batch in append-only files, one line per job, in the folder of the images.

A line is written before an image gets its final name, so each image has a line. A job is done if its line has the state
`done` *and* the file exists. Each line is written with one call to a file in append mode and is flushed to the disk.
Lines that a crash truncated are ignored.
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
"""Name of the folder of the ledger files in the folder of the images."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """Store the newest result of a job. The field names are the keys of the ledger file.

    Attributes:
        state: `done` or `failed`.
        file: path relative to the folder, with `/`; empty for a failed job.
        sha256: SHA-256 of the image file, 64 hex digits.
        seconds: generation time of the image.
        where: location of the job in the prompt file.
        error: error message; empty for a finished job.
        exit_code: exit code of the error; 0 for a finished job.
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
    """Return the record of a job that fails now."""
    return JobRecord("failed", where=location, error=error.message, exit_code=error.exit_code, time=now())


def now() -> float:
    """Return the seconds since 1970, rounded to milliseconds."""
    return round(time.time(), 3)


class Ledger:
    """Read all ledger files of a folder and write one of them."""

    def __init__(self, folder: Path, suffix: str = "") -> None:
        """Store the paths without opening a file.

        Args:
            folder: folder of the images.
            suffix: suffix of the written file, so that machines without shared file locks write different files.
        """
        self.folder = folder
        self.path = folder / LEDGER_FOLDER_NAME / f"jobs{suffix}.jsonl"
        self.records: dict[str, JobRecord] = {}
        self.run_starts: list[dict[str, Any]] = []
        self._read_offsets: dict[Path, int] = {}
        self._fd: int | None = None
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Read the lines that this process or other processes have added since the last call.

        Raises:
            InputFileError: a ledger file cannot be read.
        """
        for path in sorted(self.path.parent.glob("jobs*.jsonl")):
            for line in self._read_new_lines(path):
                self._apply(line)

    def completed(self, key: str) -> JobRecord | None:
        """Return the record of a job if it is done and its image exists, else None."""
        record = self.records.get(key)
        if record is None or record.state != "done" or not (self.folder / record.file).is_file():
            return None
        return record

    def completed_keys(self) -> set[str]:
        """Return the keys of all jobs that are done. Folders are listed once instead of testing each file."""
        done = {key: record.file for key, record in self.records.items() if record.state == "done"}
        existing_files = {
            name for parent in {_folder_prefix(file) for file in done.values()} for name in self._list_files(parent)
        }
        return {key for key, file in done.items() if file in existing_files}

    def completed_files(self) -> set[Path]:
        """Return the paths of all finished images, including images of jobs that are no longer in the plan."""
        return {self.folder / record.file for record in self.records.values() if record.state == "done"}

    def _list_files(self, parent: str) -> Iterator[str]:
        try:
            with os.scandir(self.folder / parent) as entries:
                for entry in entries:
                    yield f"{parent}{entry.name}"
        except OSError:
            return

    def failed(self, key: str) -> JobRecord | None:
        """Return the record of a job if its newest state is `failed`, else None."""
        record = self.records.get(key)
        return record if record is not None and record.state == "failed" else None

    def record_run_start(self, num_jobs: int, num_completed: int) -> None:
        """Record the start of a run with the number of jobs and the number of finished jobs."""
        self._append_line({"plan": num_jobs, "done": num_completed, "shard": self.path.stem, "time": now()})

    def write(self, key: str, record: JobRecord) -> None:
        """Append the result of a job.

        Raises:
            OutputError: the line cannot be written.
        """
        fields = {name: value for name in JobRecord.__slots__ if (value := getattr(record, name)) not in ("", 0)}
        self._append_line({"job": key, **fields})
        self.records[key] = record

    def close(self) -> None:
        """Close the written file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _read_new_lines(self, path: Path) -> Iterator[bytes]:
        try:
            with path.open("rb") as file:
                file.seek(self._read_offsets.get(path, 0))
                data = file.read()
        except OSError as error:
            raise InputFileError(
                f"Cannot read '{path}': {error.strerror or error}.", "Check the permissions of the file."
            ) from error
        complete_bytes = data.rfind(b"\n") + 1
        self._read_offsets[path] = self._read_offsets.get(path, 0) + complete_bytes
        yield from data[:complete_bytes].split(b"\n")

    def _apply(self, line: bytes) -> None:
        try:
            value = json.loads(line)
        except ValueError:
            return  # an empty or truncated line
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
                self.close()  # the next write starts with a line feed
                raise self._write_error("the disk is full")

    def _newline_if_truncated(self) -> bytes:
        """Return a line feed if a crash truncated the last line."""
        size = self.path.stat().st_size
        if not size:
            return b""
        with self.path.open("rb") as file:
            file.seek(size - 1)
            return b"" if file.read(1) == b"\n" else b"\n"

    def _write_error(self, reason: str) -> OutputError:
        return OutputError(f"Cannot write '{self.path}': {reason}.", "Free disk space, then run the same command.")


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
    """

    fingerprint: str
    record: JobRecord | None
    image_record: dict[str, Any] | None = None
    message: str = ""
