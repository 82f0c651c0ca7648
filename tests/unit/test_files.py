"""Test atomic writing of files and folders, and the removal of temporary files."""

import fcntl
import os
import signal
import time
from pathlib import Path

import pytest
from batches import fork

from artgen.errors import OutputError
from artgen.system.files import atomic_create, atomic_folder, wrap_write_errors, write_atomically
from artgen.system.temporary import TEMPORARY_PREFIX, clean_stale, temp_folder


def names(folder: Path | str = ".") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def make_old(path: Path) -> None:
    os.utime(path, (time.time() - 3600,) * 2)


def test_write_atomically_creates_parents_and_replaces_files() -> None:
    write_atomically(Path("new/deep/file.txt"), "first")
    write_atomically(Path("new/deep/file.txt"), b"second")
    assert Path("new/deep/file.txt").read_bytes() == b"second"
    assert names("new/deep") == ["file.txt"]
    with pytest.raises(OutputError, match=r"Cannot write 'new/deep/file\.txt/x'") as caught:
        write_atomically(Path("new/deep/file.txt/x"), b"", "Use another folder.")
    assert caught.value.hint == "Use another folder."


def test_symbolic_link_is_replaced_and_its_target_is_unchanged() -> None:
    Path("target").write_text("unchanged")
    Path("link").symlink_to("target")
    assert not atomic_create(Path("link"), b"new")
    write_atomically(Path("link"), b"new")
    assert not Path("link").is_symlink()
    assert Path("target").read_text() == "unchanged"


def test_written_files_and_folders_have_the_permissions_of_the_umask() -> None:
    previous = os.umask(0o027)
    try:
        write_atomically(Path("file"), b"")
        with atomic_folder(Path("folder"), overwrite=False):
            pass
    finally:
        os.umask(previous)
    assert Path("file").stat().st_mode & 0o777 == 0o640
    assert Path("folder").stat().st_mode & 0o777 == 0o750


def test_atomic_folder_replaces_only_an_empty_folder_without_overwrite() -> None:
    Path("empty").mkdir()
    for name in ("empty", "new"):
        with atomic_folder(Path(name), overwrite=False) as folder:
            (folder / "file").write_text("new")
    Path("used").mkdir()
    Path("used/old").touch()
    Path("file").touch()
    for name in ("used", "file"):
        with pytest.raises(FileExistsError), atomic_folder(Path(name), overwrite=False):
            pass
    with atomic_folder(Path("used"), overwrite=True) as folder:
        (folder / "file").write_text("new")
    assert names() == ["empty", "file", "new", "used"]
    assert names("empty") == names("new") == names("used") == ["file"]


def test_failed_folder_leaves_the_existing_folder_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("folder").mkdir()
    Path("folder/old").touch()

    def interrupt() -> None:
        with atomic_folder(Path("folder"), overwrite=True) as folder:
            (folder / "new").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", fail)
    with (
        pytest.raises(OutputError, match="No space left"),
        wrap_write_errors(Path("folder")),
        atomic_folder(Path("folder"), overwrite=True),
    ):
        pass
    assert names() == ["folder"]
    assert names("folder") == ["old"]


@pytest.mark.slow
def test_temporary_files_of_killed_processes_are_removed_after_five_minutes() -> None:
    def write_and_die() -> None:
        with temp_folder(Path()) as folder:
            (folder / "file").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    assert os.waitstatus_to_exitcode(os.waitpid(fork(write_and_die), 0)[1]) == -signal.SIGKILL
    (temporary,) = Path().glob(f"{TEMPORARY_PREFIX}*")
    clean_stale(Path())
    assert temporary.exists(), "a recent folder can belong to a running process"
    make_old(temporary)
    handle = os.open(temporary, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    clean_stale(Path())
    assert temporary.exists(), "another process has locked the folder"
    os.close(handle)
    clean_stale(Path())
    assert names() == []


@pytest.mark.parametrize("age_seconds", [3600, -3600, -(10**9)])
def test_temporary_file_is_removed_after_the_clock_was_set_back(age_seconds: float) -> None:
    path = Path(f"{TEMPORARY_PREFIX}1-2.tmp")
    path.touch()
    os.utime(path, (time.time() - age_seconds,) * 2)
    clean_stale(Path())
    assert names() == []


def test_clean_stale_does_not_follow_symbolic_links() -> None:
    Path("folder").mkdir()
    Path("folder/file").touch()
    Path(f"{TEMPORARY_PREFIX}1-2.tmp").symlink_to("folder")
    clean_stale(Path())
    assert names("folder") == ["file"]
