"""Test the locks of files and of bytes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from artgen.system.file_locks import locked, try_lock, unlock_byte

WINDOWS = """
import fcntl, os, sys, types
def locking(descriptor, mode, count):
    assert count == 1 and os.lseek(descriptor, 0, os.SEEK_CUR) < 1 << 31
    os.set_inheritable(descriptor, False)
    fcntl.lockf(descriptor, mode, 1, os.lseek(descriptor, 0, os.SEEK_CUR))
sys.modules["msvcrt"] = types.SimpleNamespace(
    locking=locking, LK_UNLCK=fcntl.LOCK_UN, LK_NBLCK=fcntl.LOCK_EX | fcntl.LOCK_NB
)
sys.modules["fcntl"] = None
"""
"""Replaces `fcntl` by the interface that Windows has instead, with the same locks of the system."""

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


HOLDER = """
import os, sys
from artgen.system.file_locks import try_lock, unlock_byte
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.write(descriptor, b"data")
assert all(try_lock(descriptor, byte) for byte in (None, 0, 5, 1 << 55))
unlock_byte(descriptor, 5)
assert os.write(descriptor, b"more") and os.lseek(descriptor, 0, os.SEEK_CUR) == 8
print("locked", flush=True)
sys.stdin.read()
"""


def test_windows_has_locks(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    command = [sys.executable, "-c", WINDOWS + HOLDER, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        other = [sys.executable, "-c", WINDOWS + OTHER_PROCESS, path, "0", "5", str(1 << 55)]
        assert subprocess.run(other, capture_output=True, text=True, check=True).stdout == "False True False\n"
        holder.kill()
    assert subprocess.run(other, capture_output=True, text=True, check=True).stdout == "True True True\n"
