"""Parse and format the lines of a ledger file. A line is untrusted: each value has a type and limits."""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from artgen._version import __version__
from artgen.errors import InputFileError
from artgen.system.external_data import parse_json

SCHEMA = 1
"""Version of the format of ledger files. Files without a schema number have this format, too."""

DONE, FAILED, MISSING, DROPPED = "done", "failed", "missing", "dropped"

_KEY = re.compile(r"[0-9a-f]{1,64}")
_MAX_JOBS = 10**9
_MAX_VERSION_CHARS = 40


@dataclass(frozen=True, slots=True)
class JobRecord:
    """Store the newest result of a job. The field names are the keys of the ledger file.

    Attributes:
        state: `done`, `failed`, `missing` (its image was removed during a run) or `dropped` (a failed job whose line
            was changed or removed).
        file: path relative to the folder, with `/`; empty for a job without an image.
        sha256: SHA-256 of the image file, 64 hex digits.
        seconds: generation time of the image.
        where: location of the job in the prompt file.
        error: error message; empty for a finished job.
        exit_code: exit code of the error; 0 for a finished job.
        time: seconds since 1970. Only the speed of a batch is computed from it.
    """

    state: str
    file: str = ""
    sha256: str = ""
    seconds: float = 0.0
    where: str = ""
    error: str = ""
    exit_code: int = 0
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class RunStart:
    """Store the start of a run.

    Attributes:
        plan: number of jobs of the run, including finished jobs.
        done: number of finished jobs.
        shard: name of the ledger file without its suffix.
        time: seconds since 1970.
    """

    plan: int
    done: int = 0
    shard: str = ""
    time: float = 0.0


class NewerLedgerError(InputFileError):
    """Report a ledger that a newer version of artgen wrote."""


def header_line() -> bytes:
    """Return the first line of a ledger file. Its random number shows whether a file was replaced."""
    return _encode({"schema": SCHEMA, "artgen": __version__, "id": secrets.token_hex(8)})


def run_start_line(start: RunStart) -> bytes:
    """Return the line of the start of a run."""
    return _encode({name: getattr(start, name) for name in RunStart.__slots__})


def job_lines(records: Mapping[str, JobRecord]) -> bytes:
    """Return a line for each record, by the key of its job."""
    return b"".join(
        _encode(
            {
                "job": key,
                **{name: value for name in JobRecord.__slots__ if (value := getattr(record, name)) not in ("", 0)},
            }
        )
        for key, record in records.items()
    )


def _encode(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def parse_line(line: bytes, file_name: str) -> tuple[str, JobRecord] | RunStart | None:
    """Return the job and its record, the start of a run, or None for a header.

    Args:
        line: a line with or without its line feed.
        file_name: name of the ledger file, for the error.

    Raises:
        ValueError: the line is damaged.
        NewerLedgerError: a newer version of artgen wrote the file.
    """
    value = parse_json(line)
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    if "schema" in value:
        _check_schema(value, file_name)
        return None
    if "plan" in value:
        return RunStart(
            _integer(value, "plan", _MAX_JOBS), _integer(value, "done", _MAX_JOBS),
            _text(value, "shard"), _number(value, "time"),
        )  # fmt: skip
    key = _text(value, "job")
    if not _KEY.fullmatch(key):
        raise ValueError("its job is not a hexadecimal number")
    return key, _parse_record(value)


def _check_schema(value: Mapping[str, Any], file_name: str) -> None:
    if _integer(value, "schema", None) > SCHEMA:
        version = str(value.get("artgen", ""))[:_MAX_VERSION_CHARS] or "a newer version"
        raise NewerLedgerError(
            f"Cannot read '{file_name}': artgen {version} wrote it with schema {value['schema']}, and artgen "
            f"{__version__} reads schemas up to {SCHEMA}.",
            "Update artgen, or use another --output folder.",
        )


def _parse_record(value: Mapping[str, Any]) -> JobRecord:
    state, file = _text(value, "state"), _text(value, "file")
    if state not in (DONE, FAILED, MISSING, DROPPED):
        raise ValueError(f"its state is {state!r}")
    if state in (DONE, MISSING) and not file:
        raise ValueError("its file is missing")
    if PurePath(file).is_absolute() or ".." in PurePath(file).parts or "\0" in file:
        raise ValueError("its file is outside the folder of the batch")
    return JobRecord(
        state, file, _text(value, "sha256"), _number(value, "seconds"), _text(value, "where"), _text(value, "error"),
        _integer(value, "exit_code", 255), _number(value, "time"),
    )  # fmt: skip


def _text(value: Mapping[str, Any], name: str) -> str:
    text = value.get(name, "")
    if not isinstance(text, str):
        raise ValueError(f"its {name} is not a text")
    return text


def _number(value: Mapping[str, Any], name: str) -> float:
    number = value.get(name, 0)
    if not isinstance(number, int | float) or isinstance(number, bool) or number < 0:
        raise ValueError(f"its {name} is not a number of seconds")
    return float(number)


def _integer(value: Mapping[str, Any], name: str, maximum: int | None) -> int:
    number = value.get(name, 0)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0 or (maximum and number > maximum):
        raise ValueError(f"its {name} is not a whole number in its limits")
    return number
