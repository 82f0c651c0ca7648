"""Test what the client of the worker removes and restores after a crash."""

import io
import os
from pathlib import Path

import pytest

from artgen.system import attempt, temporary
from artgen.system.files import atomic_create
from artgen.worker_process.client.progress import Progress, remaining_stdout


@pytest.fixture
def progress(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Progress:
    """Return the progress of an attempt in this process, and change to an empty folder."""
    monkeypatch.chdir(tmp_path / "work")
    progress = Progress(entropy=1)
    monkeypatch.setattr(attempt, "_send", lambda kind, **values: progress.update({"type": kind, **values}))
    return progress


def _names() -> set[str]:
    return {path.name for path in Path().iterdir()}


def test_incomplete_result_is_removed(progress: Progress) -> None:
    Path("own.txt").write_text("of the user")
    attempt.report("saving", number=0)
    atomic_create(Path("fox.png"), b"image")
    attempt.report("result", number=0, path="fox.png", frames=None, model="tiny", error=None)
    attempt.report("saving", number=1)
    atomic_create(Path("fox-1.json"), b"sidecar")
    atomic_create(Path("fox-1.png"), b"image")
    assert not atomic_create(Path("own.txt"), b"another file has the name")
    progress.remove_incomplete()
    assert _names() == {"own.txt", "fox.png"}
    assert list(progress.first.results) == [0]


def test_file_that_the_user_replaced_is_kept(progress: Progress) -> None:
    attempt.report("saving", number=0)
    atomic_create(Path("fox.png"), b"image")
    Path("other").write_text("of the user")
    Path("other").replace("fox.png")
    progress.remove_incomplete()
    assert Path("fox.png").read_text() == "of the user"


@pytest.mark.parametrize("has_image", [True, False])
def test_image_of_a_batch_is_kept_if_it_is_complete(progress: Progress, has_image: bool) -> None:
    attempt.report("saving", number=3)
    atomic_create(Path("frames.gif"), b"frames")
    attempt.report("saved", number=3, record={})
    atomic_create(Path("fox.png"), b"image")
    if not has_image:
        Path("fox.png").unlink()
    progress.remove_incomplete()
    assert _names() == ({"frames.gif", "fox.png"} if has_image else set())


def test_temporary_files_are_removed(progress: Progress) -> None:
    temporary._write_temporary(Path(), b"data")
    temporary._temporary_path(Path()).mkdir()
    progress.remove_incomplete()
    assert _names() == set()


def test_displaced_file_is_restored(progress: Progress) -> None:
    Path("fox.json").write_text("sidecar")

    context = temporary.displace(Path("fox.json"))
    context.__enter__()
    assert "fox.json" not in _names()
    progress.remove_incomplete()
    assert _names() == {"fox.json"}
    assert Path("fox.json").read_text() == "sidecar"
    context.__exit__(None, None, None)


def test_random_bits_are_repeated() -> None:
    attempt.start(lambda *_, **__: None, 5)
    first = [attempt.random_bits(32) for _ in range(3)]
    attempt.continue_from(attempt.FirstAttempt(5))
    second = [attempt.random_bits(32) for _ in range(3)]
    attempt.end()
    assert first == second
    assert attempt.random_bits(64) != attempt.random_bits(64)


@pytest.mark.parametrize("printed", [1, 4, 7, 100])
def test_printed_bytes_are_omitted(printed: int) -> None:
    reader, writer = os.pipe()
    own = os.dup(1)
    os.dup2(writer, 1)
    try:
        stream = remaining_stdout(printed)
        for line in ("one\n", "two\n", "three\n"):
            stream.write(line)
            stream.flush()
    finally:
        os.dup2(own, 1)
        os.close(own)
        os.close(writer)
    with io.FileIO(reader) as file:
        assert file.read() == b"one\ntwo\nthree\n"[printed:]
