"""Read files and JSON that artgen did not write, in bounded time and memory.

Each function rejects what later code must not meet: numbers that are not finite, deep nesting, integers with thousands
of digits, endless devices and pipes that nobody writes to.
"""

import codecs
import io
import json
import math
import os
import select
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError
from artgen.system.files import wrap_read_errors

MAX_JSON_DEPTH = 64
MAX_INTEGER_DIGITS = 40
PIPE_IDLE_SECONDS = 60.0
"""Longest time that a pipe may send nothing."""
PIPE_TOTAL_SECONDS = 600.0
"""Longest time that reading a pipe may take."""

_CHUNK_BYTES = 1 << 20
_NONBLOCKING_READ = (
    os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)


def parse_json(
    data: str | bytes, *, unique_keys: bool = False, allow_infinity: bool = False, unset_non_finite: bool = False
) -> Any:
    """Return the value of a JSON text. Bytes are decoded as UTF-8, with or without a byte order mark.

    Args:
        data: JSON text.
        allow_infinity: accept Infinity and -Infinity, which Python's encoder writes.
        unique_keys: reject an object that contains a key twice. Otherwise the last value of the key is returned.
        unset_non_finite: return None for NaN, Infinity and other numbers that are not finite.

    Raises:
        ValueError: the text is not JSON, or contains a number that is not finite, an integer of more than
            `MAX_INTEGER_DIGITS` digits, or values nested deeper than `MAX_JSON_DEPTH`. The message is one readable
            reason without a full stop.
    """
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data.removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is not UTF-8") from None
    try:
        value = json.loads(
            text,
            parse_constant=_unset if unset_non_finite else _parse_infinity if allow_infinity else _reject_constant,
            parse_float=_parse_finite_or_unset if unset_non_finite else _parse_finite,
            parse_int=_parse_integer,
            object_pairs_hook=_unique_object if unique_keys else None,
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON ({error.msg}, line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    _check_depth(value)
    return value


def _unset(text: str) -> None:
    """Return None for a constant that is not finite."""


def _parse_finite_or_unset(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _parse_infinity(text: str) -> float:
    return _reject_constant(text) if text == "NaN" else float(text)


def decode_text(data: bytes) -> str:
    """Return a text in UTF-8, with or without a byte order mark.

    Raises:
        ValueError: the data is not UTF-8 text. The message is one readable reason without a full stop.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("the encoding is UTF-16, not UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8 text: byte 0x{data[error.start]:02x}") from None
    if "\0" in text:
        raise ValueError(f"line {text.count(chr(10), 0, text.index(chr(0))) + 1} contains a NUL character")
    return text


def read_limited(path: Path, max_bytes: int) -> bytes:
    """Return the content of a file or pipe that the user named.

    Args:
        path: regular file, pipe, or device such as `/dev/stdin`.
        max_bytes: largest content.

    Raises:
        InputFileError: the path is missing, unreadable, a folder or a socket, has more than `max_bytes`, or is a pipe
            that sends nothing for `PIPE_IDLE_SECONDS` or does not end within `PIPE_TOTAL_SECONDS`.
    """
    with wrap_read_errors(path):
        descriptor = os.open(path, _NONBLOCKING_READ)
        try:
            return read_descriptor(descriptor, str(path), max_bytes)
        finally:
            os.close(descriptor)


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Return the content of a regular file in a folder of the user.

    Raises:
        InputFileError: the path is missing, unreadable or not a regular file, or has more than `max_bytes`.
    """
    with wrap_read_errors(path):
        descriptor = open_regular(path)
        try:
            return read_descriptor(descriptor, str(path), max_bytes)
        finally:
            os.close(descriptor)


def read_descriptor(descriptor: int, name: str, max_bytes: int) -> bytes:
    """Return the remaining content of an open file, pipe or device.

    Args:
        descriptor: open file descriptor. It stays open.
        name: name of the file in messages.
        max_bytes: largest content.

    Raises:
        InputFileError: as `read_limited`.
        OSError: the descriptor cannot be read.
    """
    status = os.fstat(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise InputFileError(f"Cannot read '{name}': it is a folder.", "Name a file.")
    is_regular = stat.S_ISREG(status.st_mode)
    if is_regular and status.st_size > max_bytes:
        raise _too_large_error(name, max_bytes)
    wait = _wait_for_nothing if is_regular else pipe_waiter(descriptor, name)
    content = io.BytesIO()  # its `getvalue` does not copy the content
    while wait():
        try:
            chunk = os.read(descriptor, min(_CHUNK_BYTES, max_bytes + 1 - content.tell()))
        except BlockingIOError:
            if is_regular:  # a file such as /proc/kmsg that waits for data
                raise
            continue  # another process read the data first
        if not chunk:
            break
        content.write(chunk)
        if content.tell() > max_bytes:
            raise _too_large_error(name, max_bytes)
    return content.getvalue()


def open_regular(path: Path | str, flags: int = os.O_RDONLY) -> int:
    """Open a regular file and return its descriptor. Do not wait for the other end of a pipe.

    Args:
        path: the file.
        flags: flags of `os.open`.

    Raises:
        OSError: the file cannot be opened, or is not a regular file.
    """
    descriptor = os.open(path, flags | _NONBLOCKING_READ, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is not a regular file")
    return descriptor


def read_optional(path: Path, max_bytes: int) -> bytes | None:
    """Return the content of a state file that artgen can do without.

    Returns:
        The content; None if the path is missing, unreadable for any reason, not a regular file, or has more than
        `max_bytes`.
    """
    try:
        descriptor = open_regular(path)
    except (OSError, ValueError):  # An unsupported file name raises ValueError.
        return None
    try:
        return read_descriptor(descriptor, str(path), max_bytes)
    except (OSError, InputFileError):
        return None
    finally:
        os.close(descriptor)


_TOO_DEEP = f"its values are nested deeper than {MAX_JSON_DEPTH} levels"


def _reject_constant(text: str) -> float:
    raise ValueError(f"{text} is not a finite number")


def _parse_finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:MAX_INTEGER_DIGITS]} is not a finite number")
    return value


def _parse_integer(text: str) -> int:
    if len(text) > MAX_INTEGER_DIGITS:
        raise ValueError(f"a number has {len(text)} digits (at most {MAX_INTEGER_DIGITS})")
    return int(text)


def _unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key {key[:MAX_INTEGER_DIGITS]!r} occurs twice")
        values[key] = value
    return values


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_JSON_DEPTH + 1):
        containers = [item for item in level if isinstance(item, (dict, list))]
        if not containers:
            return
        level = [item for each in containers for item in (each.values() if isinstance(each, dict) else each)]
    raise ValueError(_TOO_DEEP)


def _wait_for_nothing() -> bool:
    return True


def pipe_waiter(descriptor: int, name: str) -> Callable[[], bool]:
    """Return a function that waits until the pipe has data or is closed.

    The function raises an InputFileError if the pipe sends nothing for `PIPE_IDLE_SECONDS`, or does not end within
    `PIPE_TOTAL_SECONDS`.
    """
    if not hasattr(select, "poll"):
        return _wait_for_nothing
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + PIPE_TOTAL_SECONDS

    def wait() -> bool:
        seconds = min(PIPE_IDLE_SECONDS, deadline - time.monotonic())
        if seconds <= 0 or not poller.poll(seconds * 1000):
            raise InputFileError(
                f"Cannot read '{name}': the pipe sent no data for {PIPE_IDLE_SECONDS:g} seconds, or did not end "
                f"within {PIPE_TOTAL_SECONDS:g} seconds.",
                "Write to the pipe and close it, or name a file.",
            )
        return True

    return wait


def _too_large_error(name: str, max_bytes: int) -> InputFileError:
    size = f"{max_bytes / 2**20:g} MiB" if max_bytes >= 2**20 else f"{max_bytes:,} bytes"
    return InputFileError(f"'{name}' is too large: artgen reads at most {size}.", "Check that it is the right file.")
