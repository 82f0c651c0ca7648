"""Test the file of the history: entries, migrations, journal modes, failures, killed processes, moved files."""

import contextlib
import hashlib
import io
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from artgen.errors import InputFileError, OutputError, UsageError
from artgen.image_history import connection, recording, schema
from artgen.image_history.connection import HistoryDamagedError, HistoryLockedError, history_path
from artgen.image_history.database import History, open_existing_history, open_history
from artgen.image_history.entry import HistoryEntry, create_entry
from artgen.image_history.query import HistoryQuery
from artgen.image_history.recording import SavedFile
from artgen.images.thumbnails import encode_thumbnail, thumbnail_type
from artgen.system.file_systems import is_local_file_system

RECORD = {
    "task": "img2img",
    "prompt": "a red fox \ud800 in snow",
    "negative_prompt": "blurry",
    "model": "tiny",
    "model_hash": "ab" * 32,
    "seed": 2**64 - 1,
    "lora": ["Style.safetensors:0.8", 7],
    "image_sha256": "cd" * 32,
    "steps": 2,
}


def save_file(name: str, text: str = "x") -> tuple[Path, str]:
    path = Path(name).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path, hashlib.sha256(text.encode()).hexdigest()


def add(history: History, name: str, **changes: object) -> HistoryEntry:
    path, sha256 = save_file(name, name)
    entry = create_entry(path, sha256, {**RECORD, **changes}, (8, 6), 1.5)
    number = history.add(entry, path.stat().st_size, b"thumbnail")
    found = history.get(number)
    assert found is not None
    return found


def saved_file(name: str = "a.png") -> SavedFile:
    path, _ = save_file(name, name)
    return SavedFile(path, name.encode(), Image.new("RGB", (8, 6)), {"task": "txt2img", "prompt": "a fox"}, 0.5)


def take_note() -> str:
    note = recording.take_note()
    recording._writer.reset()
    return note


def test_entry_has_all_values_and_private_files() -> None:
    assert open_existing_history() is None
    assert not history_path().parent.exists()
    with open_history() as history:
        entry = add(history, "a.png")
        path = Path("a.png").absolute()
        sha256 = hashlib.sha256(b"a.png").hexdigest()
        created = create_entry(path, sha256, RECORD, (8, 6), 1.5)
        assert entry == replace(created, id=1, prompt="a red fox ? in snow")
        assert (entry.record, entry.seed, entry.parent) == (RECORD, 2**64 - 1, "cd" * 32)
        assert (entry.path, entry.sha256, entry.width, entry.height, entry.seconds) == (path, sha256, 8, 6, 1.5)
        assert history.thumbnail(1) == b"thumbnail"
        assert (history.get(2), history.thumbnail(2)) == (None, None)
        assert history._fetch("SELECT loras FROM image") == [("\nstyle.safetensors\n7\n",)]
        modes = {each.name: each.stat().st_mode & 0o777 for each in history_path().parent.iterdir()}
    assert modes == {"history.db": 0o600, "history.db-wal": 0o600, "history.db-shm": 0o600}
    assert history_path().parent.stat().st_mode & 0o777 == 0o700


def test_same_content_keeps_id_rating_and_tags() -> None:
    with open_history() as history:
        first, other = add(history, "a.png"), add(history, "b.png")
        history.set_rating([1, 2], 3)
        history.set_rating([1, 99], 5)
        history.set_rating([2], None)
        history.add_tags([1, 99], ["best", "fox 2"])
        history.remove_tags([1], ["best", "unknown"])
        moved = Path("moved.png").absolute()
        Path("a.png").rename(moved)
        assert history.add(create_entry(moved, first.sha256, {**RECORD, "prompt": "new"}, (9, 9)), 5) == 1
        changed = history.get(1)
        assert changed is not None
        expected = (moved, "new", 9, 1.5, 5, ("fox 2",))
        assert (
            changed.path, changed.prompt, changed.width, changed.seconds, changed.rating, changed.tags,
        ) == expected  # fmt: skip
        assert (history.thumbnail(1), history.get(2), history.list_tags()) == (b"thumbnail", other, [("fox 2", 1)])
        assert history.import_marks(other.sha256, 2, ["x"])
        assert not history.import_marks("00", 2, ["x"])
        assert [each.rating for each in history.all()] == [5, 2]
        for rating in (0, 6, True):
            with pytest.raises(UsageError, match="1 to 5"):
                history.set_rating([1], rating)


def test_entries_are_found_and_forgotten() -> None:
    with open_history() as history:
        first = add(history, "a.png", prompt="a cat")
        child = add(history, "b.png", image_sha256=first.sha256)
        history.add_tags([2], ["winter"])
        child = replace(child, tags=("winter",))
        assert history.children(first.sha256) == [child]
        assert history.find_sha256(first.sha256[:6].upper()) == [first]
        assert history.find_sha256("*") == history.find_sha256("") == []
        for text, expected in (("cat", [first]), ("winter", [child]), ("snow", [child]), ('fox "x', []), ("tiny", 2)):
            found = history.search(HistoryQuery(text=text))
            assert found == expected or len(found) == expected, text
        assert history.forget([1, 1, 99]) == 1
        assert history.search(HistoryQuery(text="cat")) == []
        assert (history.count(), history.thumbnail(1), history.list_tags()) == (1, None, [("winter", 1)])
        assert add(history, "c.png").id == 3  # a number is never used twice


def test_moved_file_is_found_by_its_hash() -> None:
    with open_history() as history:
        entry = add(history, "out/a.png")
        other = add(history, "kept/b.png")
        assert history.find_file(entry) == entry.path
        entry.path.rename("kept/renamed.png")
        save_file("out/a.png", "other")  # another image has the old name
        assert history.find_file(entry) == Path("kept/renamed.png").absolute()
        assert history.get(1) == replace(entry, path=Path("kept/renamed.png").absolute())
        other.path.unlink()
        assert history.find_file(other) is None


@pytest.mark.parametrize("folder_type", ["nfs4", "ext4", "unknown"])
def test_journal_mode_depends_on_the_file_system(folder_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = Path("mountinfo")
    here = str(Path.cwd()).replace(" ", "\\040")
    lines = ["21 1 0:1 / / rw - ext4 /dev/x rw", f"22 21 0:2 / {here} rw shared:1 - {folder_type} server:/x rw", "bad"]
    mounts.write_text("\n".join(lines))
    assert is_local_file_system(Path.cwd(), mounts) == (folder_type == "ext4")
    assert is_local_file_system(Path("/"), mounts)
    assert not is_local_file_system(Path.cwd(), Path("missing"))
    monkeypatch.setattr(connection, "is_local_file_system", lambda folder: is_local_file_system(folder, mounts))
    path = Path("history.db").absolute()
    with open_history(path) as history:
        add(history, "a.png")
        mode = "wal" if folder_type == "ext4" else "delete"
        assert history._fetch("PRAGMA journal_mode") == [(mode,)]
        assert Path("history.db-wal").exists() == (mode == "wal")


def test_database_of_a_newer_version_or_another_program_is_refused() -> None:
    open_history(Path("new.db").absolute()).close()
    with sqlite3.connect("new.db") as newer:
        newer.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    with sqlite3.connect("other.db") as other:
        other.execute("CREATE TABLE image (id)")
    for name, message in (("new.db", "newer version of artgen"), ("other.db", "another program")):
        content = Path(name).read_bytes()
        with pytest.raises(InputFileError, match=message):
            open_history(Path(name).absolute())
        assert Path(name).read_bytes() == content


def break_file(case: str) -> sqlite3.Connection | None:
    """Prepare a history that cannot be written. Return an open connection that locks it."""
    path = history_path()
    if case != "folder is a file":
        with open_history() as history:
            add(history, "old.png")
    if case == "locked":
        locking = sqlite3.connect(path, isolation_level=None)
        locking.execute("BEGIN IMMEDIATE")
        return locking
    if case == "damaged":
        path.write_bytes(b"not a database " * 1000)
    elif case == "damaged pages":
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (size - 4096))
    elif case == "newer":
        with sqlite3.connect(path) as newer:
            newer.execute("PRAGMA user_version = 99")
    elif case == "folder is a file":
        path.parent.parent.mkdir(parents=True)
        path.parent.write_text("x")
    elif case == "is a folder":
        path.unlink()
        path.mkdir()
    elif case == "read-only":
        # The superuser can write to read-only files, so the device refuses to write.
        path.unlink()
        path.symlink_to("/proc/version")
    return None


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("locked", "is locked by another process"),
        ("damaged", "is damaged"),
        ("damaged pages", "is damaged"),
        ("newer", "newer version"),
        ("folder is a file", "cannot be read or written"),
        ("is a folder", "cannot be read or written"),
        ("read-only", "cannot be read or written"),
    ],
)
def test_entry_is_skipped_with_one_note(case: str, reason: str) -> None:
    recording._writer.reset()
    locking = break_file(case)
    start_time = time.monotonic()
    for name in ("a.png", "b.png"):
        recording.enter_image(saved_file(name))
    assert time.monotonic() - start_time < 5
    note, second = recording.take_note(), recording.take_note()
    assert note.startswith("Images are saved, but not entered in the history. ")
    assert reason in note
    assert "artgen history scan FOLDER" in note
    recording.enter_image(saved_file("c.png"))
    assert (second, recording.take_note()) == ("", "")  # one note per command
    if locking is not None:
        locking.execute("ROLLBACK")
        recording.enter_image(saved_file("d.png"))
        with open_history() as history:
            assert [each.path.name for each in history.all()] == ["old.png", "d.png"]
    recording._writer.reset()


def test_full_disk_leaves_a_valid_history() -> None:
    recording._writer.reset()
    recording.enter_image(saved_file("a.png"))
    opened = recording._writer._history
    assert opened is not None
    opened._connection.execute("PRAGMA max_page_count = 1")  # SQLite keeps the present size and refuses to grow
    names = [f"{number}.png" for number in range(50)]
    for name in names:
        recording.enter_image(replace(saved_file(name), record={"prompt": "fox " * 1000}))
    assert "full" in take_note()
    with open_history() as history:
        history.check()
        entries = list(history.all())
        assert 1 <= len(entries) < 50
        assert len(history.search(HistoryQuery(text="fox"))) == len(entries)
    assert all(Path(name).exists() for name in names)


def test_commands_get_an_error_for_a_damaged_or_locked_history() -> None:
    locking = break_file("locked")
    assert locking is not None
    with open_history(busy_seconds=0.01) as history, pytest.raises(HistoryLockedError):
        history.set_rating([1], 3)
    locking.close()
    break_file("damaged")
    with pytest.raises(HistoryDamagedError) as caught:
        open_history()
    assert caught.value.hint == "Run: artgen history scan FOLDER"
    assert issubclass(HistoryLockedError, OutputError)


def test_history_is_off_by_setting_variable_or_file(monkeypatch: pytest.MonkeyPatch) -> None:
    recording._writer.reset()
    recording.enter_image(saved_file(), enabled=False)
    monkeypatch.setenv("ARTGEN_HISTORY", "off")
    recording.enter_image(saved_file())
    monkeypatch.delenv("ARTGEN_HISTORY")
    Path("artgen.toml").write_text("history = false\n")
    recording.enter_image(saved_file())
    assert open_existing_history() is None
    Path("artgen.toml").write_text("history = \n")  # an error of the file does not fail the command
    recording.enter_image(saved_file())
    assert "artgen.toml" in take_note()
    Path("artgen.toml").unlink()
    monkeypatch.setenv("ARTGEN_HISTORY_FILE", str(Path("my.db").absolute()))
    recording.enter_image(saved_file())
    with open_history(Path("my.db").absolute()) as history:
        assert history.count() == 1
    assert take_note() == ""


def test_thumbnail_is_a_small_file_without_metadata() -> None:
    for mode, size, expected in (
        ("RGB", (1000, 500), (256, 128)),
        ("RGBA", (40, 30), (40, 30)),
        ("L", (2000, 2), (256, 1)),
        ("P", (300, 300), (256, 256)),
    ):
        image = Image.new(mode, size)
        image.info |= {"exif": b"Exif\0\0secret", "comment": b"secret", "xmp": b"secret"}
        for is_file in (False, True):
            data = encode_thumbnail(image, is_file=is_file)
            file_format = "WEBP" if is_file or mode == "RGBA" else "JPEG"
            with Image.open(io.BytesIO(data)) as loaded:
                assert (loaded.format, loaded.size) == (file_format, expected)
                assert loaded.mode == ("RGBA" if mode == "RGBA" else "RGB")
                assert loaded.get_format_mimetype() == thumbnail_type(data)
            assert b"secret" not in data


def test_thumbnails_of_the_first_version_are_kept() -> None:
    with contextlib.closing(sqlite3.connect("old.db")) as old:
        for statement in schema._MIGRATIONS[0]:
            old.execute(statement)
        old.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        old.execute("PRAGMA user_version = 1")
        old.execute("INSERT INTO image VALUES (1, 'a', 'a.png', 1, '', '', '', '', '', '', '', '', 8, 8, 1, '', NULL)")
        old.execute("INSERT INTO thumbnail VALUES (1, x'00')")
        old.commit()
    with open_history(Path("old.db").absolute()) as history:
        assert history.thumbnail(1) == b"\0"


WRITE_ENTRIES = """
import sys
from pathlib import Path
from PIL import Image
from artgen.image_history import connection, recording
connection.ENTRY_BUSY_SECONDS = 60  # a slow machine must not skip an entry
for number in range(int(sys.argv[2])):
    path = Path(f"{sys.argv[1]}-{number}.png")
    path.write_bytes(data := str(path).encode())
    recording.enter_image(recording.SavedFile(path, data, Image.new("RGB", (64, 64)), {"prompt": "a fox"}, 0.1))
    if note := recording.take_note():
        print(note, flush=True)
    print(path, flush=True)
"""


def start_writer(name: str, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITE_ENTRIES, name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_processes_write_at_the_same_time() -> None:
    writers = [start_writer(name, 200) for name in ("a", "b")]
    outputs = [writer.communicate(timeout=300) for writer in writers]
    assert [(writer.returncode, error) for writer, (_, error) in zip(writers, outputs, strict=True)] == [(0, "")] * 2
    notes = sum("not entered" in line for out, _ in outputs for line in out.splitlines())
    with open_history() as history:
        history.check()
        assert notes == 0
        assert history.count() == 400


@pytest.mark.slow
def test_history_survives_killed_writers() -> None:
    written: list[str] = []
    for attempt in range(6):
        writer = start_writer(f"k{attempt}", 100_000)
        assert writer.stdout is not None
        lines = [writer.stdout.readline().strip() for _ in range(1 + 17 * attempt)]
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read()  # `communicate` would lose the lines in the buffer
        writer.communicate(timeout=60)
        written += [line for line in (*lines, *rest.splitlines()) if line.endswith(".png")]
        with open_history() as history:
            history.check()
            names = {each.path.name for each in history.all()}
            assert set(written) <= names  # an entry that was reported is never lost
            assert len(names) <= len(written) + attempt + 1
            assert len(history.search(HistoryQuery(text="fox"))) == len(names)
