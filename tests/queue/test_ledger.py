"""Test the ledger of a batch, and the locks of jobs."""

import os
import signal
import time
from pathlib import Path

import batches
import pytest

from artgen.queue.ledger import JobRecord, Ledger
from artgen.queue.locks import JobLocks


def test_truncated_line_is_ignored_and_the_next_starts_on_a_new_line() -> None:
    ledger = Ledger(Path("out"))
    ledger.write("aa", JobRecord("failed", error="x"))
    ledger.close()
    with ledger.path.open("ab") as file:
        file.write(b'{"job": "bb", "sta')
    second = Ledger(Path("out"))
    second.write("cc", JobRecord("failed", error="ünïcode \ud800"))
    second.close()
    third = Ledger(Path("out"))
    third.refresh()
    assert set(third.records) == {"aa", "cc"}


def test_job_without_its_file_is_not_done() -> None:
    ledger = Ledger(Path("out"))
    ledger.write("aa", JobRecord("done", "a.png", "00"))
    assert ledger.completed("aa") is None
    assert ledger.completed_keys() == set()
    Path("out/a.png").write_bytes(b"")
    assert ledger.completed("aa") is not None
    assert ledger.completed_keys() == {"aa"}


def test_refresh_reads_lines_of_other_ledgers() -> None:
    one, other = Ledger(Path("out")), Ledger(Path("out"), "-1of2")
    one.write("aa", JobRecord("failed"))
    other.refresh()
    other.write("bb", JobRecord("failed"))
    third = Ledger(Path("out"))
    third.refresh()
    assert set(other.records) == set(third.records) == {"aa", "bb"}
    one.write("cc", JobRecord("failed"))
    third.refresh()
    assert "cc" in third.records


@pytest.mark.slow
def test_locks_are_exclusive_and_released_on_kill() -> None:
    key = "0" * 63 + "1"
    other = "f" * 64

    def hold_lock() -> None:
        assert JobLocks(Path("out")).acquire(key)
        time.sleep(60)

    holder = batches.fork(hold_lock)
    locks = JobLocks(Path("out"))
    for _ in range(500):
        if not locks.acquire(key):
            break
        locks.release(key)
        time.sleep(0.01)
    assert not locks.acquire(key)
    assert locks.acquire(other)
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    assert locks.acquire(key)
