"""Test the locks of files and of bytes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from artgen.system.file_locks import locked, try_lock, unlock_byte

OTHER_PROCESS = """
import os, sys
from artgen.system.file_locks import try_lock
descriptor = os.open(sys.argv[1], os.O_RDWR)
print(*(try_lock(descriptor, int(byte)) for byte in sys.argv[2:]))
"""


def open_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def test_file_is_locked_until_it_is_closed(tmp_path: Path) -> None:
    first, second = open_file(tmp_path / "a"), open_file(tmp_path / "a")
    assert [try_lock(first), try_lock(second)] == [True, False]
    os.close(first)
    assert try_lock(second)
    os.close(second)


def test_waiting_for_a_lock_ends(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with (
        locked(open_file(path), path, 0.1),
        pytest.raises(TimeoutError, match="is locked"),
        locked(open_file(path), path, 0.1),
    ):
        pass
    with locked(open_file(path), path, 0.1):
        pass


def test_bytes_are_locked_against_other_processes(tmp_path: Path) -> None:
    descriptor = open_file(tmp_path / "a")
    bytes_ = (0, 5, 1 << 55)
    assert all(try_lock(descriptor, byte) for byte in bytes_)
    unlock_byte(descriptor, 5)
    command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path / "a"), *map(str, bytes_)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False True False\n"
    os.close(descriptor)
