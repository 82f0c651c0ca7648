"""Test how the client of the worker passes stdin on."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from artgen.errors import InputFileError
from artgen.system import input_files
from artgen.worker_process.client import stdin


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("txt2img -", True),
        ("txt2img -p -", True),
        ("txt2img -p- -o x.png", True),
        ("txt2img --prompt=-", True),
        ("img2img - fox", True),
        ("img2img -i - fox -o -", True),
        ("img2img /dev/stdin fox", True),
        ("inpaint a.png fox --mask -", True),
        ("inpaint a.png fox -M /dev/fd/0", True),
        ("batch - -o out/", True),
        ("txt2img fox", False),
        ("txt2img fox -o -", False),
        ("txt2img fox -o-", False),
        ("txt2img fox -qo -", False),
        ("txt2img fox --output - --seed 1", False),
        ("txt2img fox --output=-", False),
        ("txt2img a-b --seed -1", False),
    ],
)
def test_commands_that_read_stdin(line: str, expected: bool) -> None:
    assert stdin.is_read(line.split()) == expected


@contextlib.contextmanager
def _stdin(descriptor: int) -> Iterator[None]:
    own = os.dup(0)
    os.dup2(descriptor, 0)
    try:
        yield
    finally:
        os.dup2(own, 0)
        os.close(own)


@pytest.mark.parametrize("size", [0, 10, 3 << 20])
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_data_of_a_pipe_can_be_read_twice(kind: str, size: int) -> None:
    data = os.urandom(size)
    if kind == "pipe":
        reader, writer = os.pipe()
    else:
        reader, writer = (each.detach() for each in socket.socketpair())

    def write() -> None:
        with os.fdopen(writer, "wb") as file:
            file.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    with _stdin(reader):
        assert stdin.store()
        position = stdin.position()
        with os.fdopen(os.dup(0), "rb") as file:
            assert file.read() == data
        stdin.rewind(position)
        with os.fdopen(os.dup(0), "rb") as file:
            assert file.read() == data
    thread.join()
    os.close(reader)


def test_silent_pipe_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_files, "STDIN_SECONDS", 0.05)
    monkeypatch.setattr(input_files, "_stdin_error", None)
    reader, writer = os.pipe()
    with _stdin(reader):
        assert not stdin.store()
    with pytest.raises(InputFileError, match="sent no data"):
        input_files.read_stdin(10)
    os.close(reader)
    os.close(writer)


def test_position_in_a_file_is_restored(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"first\nsecond\n")
    with path.open("rb") as file:
        os.lseek(file.fileno(), 6, os.SEEK_SET)
        with _stdin(file.fileno()):
            assert stdin.store()
            position = stdin.position()
            assert os.read(0, 100) == b"second\n"
            stdin.rewind(position)
            assert os.read(0, 100) == b"second\n"


def test_named_pipe_is_recognized(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert stdin.is_pipe(str(tmp_path / "pipe"))
    assert not any(map(stdin.is_pipe, ["a fox", "", "\0", str(tmp_path), "x" * 5000]))
