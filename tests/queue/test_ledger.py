"""Test the ledger of a batch, and the locks of jobs."""

import json
import os
import signal
import time
from dataclasses import asdict
from pathlib import Path

import batches
import pytest
from command_line import run
from hypothesis import given
from hypothesis import strategies as st

from artgen.errors import OutputError
from artgen.queue.ledger import Ledger, now
from artgen.queue.ledger_lines import JobRecord
from artgen.queue.locks import JobLocks
from artgen.queue.status import batch_status, verify_files


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


GOOD_LINE = json.dumps({"job": "ab", "state": "failed", "error": "x"}).encode()

DAMAGED_LINES = {
    "scalar": b"7",
    "text": b'"done"',
    "null": b"null",
    "array": b"[]",
    "nested array": b"[" * 100_000 + b"]" * 100_000,
    "nested object": b'{"job": ' * 5_000 + b"1" + b"}" * 5_000,
    "not JSON": b"{job: ab}",
    "truncated": b'{"job": "aa", "state": "do',
    "two objects": b'{"job": "aa", "state": "failed"}{"job": "ac", "state": "failed"}',
    "infinity": b'{"job": "aa", "state": "failed", "time": Infinity}',
    "overflow": b'{"job": "aa", "state": "failed", "time": 1e999}',
    "digits": b'{"job": "aa", "state": "failed", "time": ' + b"9" * 5_000 + b"}",
    "plan digits": b'{"plan": ' + b"9" * 5_000 + b"}",
    "NUL": b'{"job": "aa\\u0000", "state": "failed"}',
    "NUL bytes": b"\0" * 100,
    "not UTF-8": b'{"job": "aa", "state": "failed", "error": "\xff"}',
    "UTF-16": '{"job": "aa", "state": "failed"}'.encode("utf-16"),
    "1 MiB": b'{"job": "aa", "state": "failed", "error": "' + b"x" * (1 << 20) + b'"}',
    "no job": b'{"state": "failed"}',
    "no state": b'{"job": "aa"}',
    "unknown state": b'{"job": "aa", "state": "cancelled"}',
    "number as job": b'{"job": 5, "state": "failed"}',
    "job that is not a hash": b'{"job": "../x", "state": "failed"}',
    "list as state": b'{"job": "aa", "state": ["done"]}',
    "done without file": b'{"job": "aa", "state": "done"}',
    "absolute file": b'{"job": "aa", "state": "done", "file": "/etc/passwd"}',
    "file outside": b'{"job": "aa", "state": "done", "file": "../a.png"}',
    "NUL in file": b'{"job": "aa", "state": "done", "file": "a\\u0000.png"}',
    "number as file": b'{"job": "aa", "state": "done", "file": 1}',
    "negative time": b'{"job": "aa", "state": "failed", "time": -1}',
    "boolean time": b'{"job": "aa", "state": "failed", "time": true}',
    "text as exit code": b'{"job": "aa", "state": "failed", "exit_code": "7"}',
    "large exit code": b'{"job": "aa", "state": "failed", "exit_code": 1000}',
    "float plan": b'{"plan": 1.5}',
    "negative plan": b'{"plan": -1}',
    "list as plan": b'{"plan": [1]}',
    "text as schema": b'{"schema": "1"}',
    "negative schema": b'{"schema": -1}',
}


@pytest.mark.parametrize("line", DAMAGED_LINES.values(), ids=DAMAGED_LINES.keys())
def test_damaged_line_is_skipped_with_one_note(line: bytes) -> None:
    ledger = Ledger(Path("out"))
    ledger.path.parent.mkdir(parents=True)
    ledger.path.write_bytes(GOOD_LINE + b"\n" + line + b"\n" + GOOD_LINE.replace(b"ab", b"cd") + b"\n")
    ledger.refresh()
    assert set(ledger.records) == {"ab", "cd"}
    assert ledger.damage_notes() == [f"Skipped 1 damaged line of '{ledger.path}': line 2."]
    status = batch_status(ledger)
    assert (status.done, status.failed) == (0, 2)
    assert list(verify_files(ledger)) == []
    ledger.write("ef", JobRecord("failed"))
    ledger.refresh()
    assert len(ledger.damage_notes()) == 1


def test_note_lists_the_numbers_of_damaged_lines() -> None:
    ledger = Ledger(Path("out"))
    ledger.path.parent.mkdir(parents=True)
    ledger.path.write_bytes(b"\n\n" + b"x\n" * 20 + b"{")
    ledger.refresh()
    assert ledger.damage_notes() == [
        f"Skipped 21 damaged lines of '{ledger.path}': lines 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 and others."
    ]


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_any_bytes_are_read(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("out"))
    ledger.path.parent.mkdir(parents=True)
    ledger.path.write_bytes(b"\n".join(lines))
    ledger.refresh()
    ledger.write("ab", JobRecord("failed"))
    ledger.refresh()
    ledger.close()
    again = Ledger(ledger.folder)
    again.refresh()
    assert "ab" in again.records
    batch_status(again)


def test_newest_of_duplicate_records_counts() -> None:
    ledger = Ledger(Path("out"))
    Path("out").mkdir()
    Path("out/a.png").write_bytes(b"")
    for record in (JobRecord("failed"), JobRecord("done", "a.png"), JobRecord("done", "a.png")):
        ledger.write("ab", record)
    again = Ledger(Path("out"))
    again.refresh()
    assert asdict(batch_status(again)) | {"images_per_minute": None} == {
        "total": 1, "done": 1, "failed": 0, "left": 0, "images_per_minute": None
    }  # fmt: skip


@pytest.mark.parametrize(
    "command", [("batch", "p.txt", "-o", "out/"), ("batch", "status", "out"), ("batch", "verify", "out")]
)
@pytest.mark.parametrize("schema", [2, 99, 10**30])
def test_ledger_of_a_newer_version_is_refused(command: tuple[str, ...], schema: int) -> None:
    Path("p.txt").write_text("a fox\n")
    ledger = Ledger(Path("out"))
    ledger.write("ab", JobRecord("failed"))
    ledger.close()
    header, line = ledger.path.read_text().splitlines()
    ledger.path.write_text(json.dumps({**json.loads(header), "schema": schema, "artgen": "9.1.0"}) + f"\n{line}\n")
    before = ledger.path.read_bytes()
    result = run(*command, code=3)
    assert f"artgen 9.1.0 wrote it with schema {schema}" in result.stderr
    assert result.stderr.count("error: ") == 1
    assert ledger.path.read_bytes() == before


@pytest.mark.parametrize("kind", ["fifo", "folder", "loop", "device"])
def test_ledger_that_is_not_a_file_is_refused(kind: str) -> None:
    path = Ledger(Path("out")).path
    path.parent.mkdir(parents=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.name if kind == "loop" else "/dev/zero")
    assert "jobs.jsonl" in run("batch", "status", "out", code=3).stderr
    with pytest.raises(OutputError, match=r"jobs\.jsonl"):
        Ledger(Path("out")).write("ab", JobRecord("failed"))


def test_clock_that_is_set_back_does_not_change_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([5_000_000.0, 1_000.0, 1_002.0, 900.0, 901.0, 0.0])
    monkeypatch.setattr("time.time", lambda: next(clock))
    Path("out").mkdir()
    ledger = Ledger(Path("out"))
    ledger.record_run_start(6, 0)
    for key in ("aa", "bb", "cc", "dd", "ee"):
        Path(f"out/{key}.png").write_bytes(b"")
        ledger.write(key, JobRecord("done", f"{key}.png", time=now()))
    again = Ledger(Path("out"))
    again.refresh()
    status = batch_status(again)
    assert (status.done, status.left, status.total) == (5, 1, 6)
    assert status.images_per_minute == pytest.approx(60 * 2 / 3)


def test_time_of_an_earlier_run_in_the_future_does_not_change_the_speed() -> None:
    Path("out").mkdir()
    ledger = Ledger(Path("out"))
    ledger.write_all({f"{i:02x}": JobRecord("done", f"{i}.png", time=9e9 + i) for i in range(60)})
    ledger.record_run_start(100, 0)
    ledger.write_all({f"a{i}": JobRecord("done", f"a{i}.png", time=1e9 + 2 * i) for i in range(5)})
    ledger.refresh()
    assert batch_status(ledger).images_per_minute == pytest.approx(30)


def test_lock_file_that_is_removed_locks_again() -> None:
    locks = JobLocks(Path("out"))
    assert locks.acquire("ab" * 32)
    Path("out/artgen-ledger/claims").unlink()
    assert locks.acquire("cd" * 32)
    assert Path("out/artgen-ledger/claims").exists()
