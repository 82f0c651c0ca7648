"""Test the cache of converted and compiled models of OpenVINO."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from artgen.errors import OutputError
from artgen.registry import openvino_cache
from artgen.registry.openvino_cache import CachedModel

KEYS = [f"{number}" * 64 for number in range(4)]
DATA = b"weights" * 100
XML = b"<net/>"
SIZE = len(DATA) + len(XML)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "artgen" / "openvino"


def _write(key: str, data: bytes = DATA) -> Path:
    def save(path: Path) -> None:
        path.with_suffix(".xml").write_bytes(XML)
        path.with_suffix(".bin").write_bytes(data)

    description = CachedModel(key, "tiny", "UNet2DConditionModel", "fp32", "2x4x8x8", "2026.4.1")
    return openvino_cache.write_model(description, save)


def test_written_model_is_listed_and_read(folder: Path) -> None:
    path = _write(KEYS[0])
    assert openvino_cache.read_model(KEYS[0]) == path
    assert path.read_bytes() == XML
    assert path.with_suffix(".bin").read_bytes() == DATA
    (entry,) = openvino_cache.list_models()
    assert (entry.key, entry.model, entry.size_bytes) == (KEYS[0], "tiny", SIZE)
    assert openvino_cache.total_bytes() >= entry.size_bytes
    assert folder.is_dir()


def test_empty_cache() -> None:
    assert openvino_cache.list_models() == []
    assert openvino_cache.read_model(KEYS[0]) is None
    assert openvino_cache.remove_models() == openvino_cache.total_bytes() == 0


@pytest.mark.parametrize("suffix", ["xml", "bin"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b"X" + path.read_bytes()[1:]),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: path.with_suffix(".json").write_text("{}"),
        lambda path: path.with_suffix(".json").write_text("{"),
        lambda path: path.with_suffix(".json").write_text("[" * 10_000),
        lambda path: path.with_suffix(".json").write_bytes(b"\xff\xfe"),
        lambda path: path.with_suffix(".json").unlink(),
    ],
)
def test_damaged_entry_is_not_used_and_can_be_replaced(folder: Path, damage, suffix) -> None:  # type: ignore[no-untyped-def]
    _write(KEYS[0])
    openvino_cache.read_model(KEYS[0])
    path = folder / f"{KEYS[0]}.{suffix}"
    damage(path)
    assert openvino_cache.read_model(KEYS[0]) is None
    if path.is_dir():
        path.rmdir()
    written = _write(KEYS[0])
    assert openvino_cache.read_model(KEYS[0]) == written


@pytest.mark.parametrize("name", ["openvino", "size_bytes", "hashes", "model", "outputs"])
@pytest.mark.parametrize("value", [None, True, [], -1.5])
def test_description_with_a_wrong_type_is_ignored(folder: Path, name: str, value: object) -> None:
    _write(KEYS[0])
    path = folder / f"{KEYS[0]}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    assert openvino_cache.list_models() == []
    assert openvino_cache.read_model(KEYS[0]) is None


def test_least_recently_used_model_is_removed_first(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(openvino_cache, "cache_limit", lambda: 3 * SIZE)
    for age, key in enumerate(KEYS[:3]):
        _write(key)
        os.utime(folder / f"{key}.json", (1000 + age, 1000 + age))
    openvino_cache.read_model(KEYS[0])
    _write(KEYS[3])
    assert {entry.key for entry in openvino_cache.list_models()} == {KEYS[0], KEYS[2], KEYS[3]}


@pytest.mark.parametrize("age", [0, 3600])
def test_files_of_a_killed_process_are_removed_later(folder: Path, age: int) -> None:
    _write(KEYS[0])
    (folder / f"{KEYS[0]}.json").unlink()
    for path in folder.iterdir():
        os.utime(path, (time.time() - age,) * 2)
    assert {path.stem for path in openvino_cache.incomplete_files()} == {KEYS[0]}
    _write(KEYS[1])
    assert {path.stem for path in openvino_cache.incomplete_files()} == ({KEYS[0]} if age == 0 else set())


def test_model_larger_than_the_cache_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    _write(KEYS[0])
    monkeypatch.setattr(openvino_cache, "cache_limit", lambda: SIZE)
    with pytest.raises(OutputError, match="The cache is limited"):
        _write(KEYS[1], DATA + b".")
    assert openvino_cache.read_model(KEYS[0])


def test_compiled_model_is_one_file(folder: Path) -> None:
    description = CachedModel(KEYS[0], "tiny", "UNet2DConditionModel", "fp32", "2x4x8x8", "2026.4.1", "{}")
    path = openvino_cache.write_model(description, lambda path: _ignore(path.with_suffix(".blob").write_bytes(DATA)))
    assert openvino_cache.read_model(KEYS[0]) == path == folder / f"{KEYS[0]}.blob"
    assert openvino_cache.describe_model(KEYS[0]) == openvino_cache.list_models()[0]
    assert openvino_cache.remove_models() > len(DATA)


def _ignore(_: object) -> None:
    """Return None, for a function that must return nothing."""


def test_incomplete_model_is_not_written(folder: Path) -> None:
    def save(path: Path) -> None:
        path.with_suffix(".xml").write_bytes(XML[:2])
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        openvino_cache.write_model(CachedModel(KEYS[0], "", "", "", "", ""), save)
    assert sorted(path.name for path in folder.iterdir()) == []


def test_unwritable_folder_is_an_output_error(folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("a file")
    with pytest.raises(OutputError):
        _write(KEYS[0])
    assert openvino_cache.read_model(KEYS[0]) is None
    with openvino_cache.conversion_lock(KEYS[0]):
        pass


def test_removal_of_all_models_removes_damaged_files(folder: Path) -> None:
    _write(KEYS[0])
    _write(KEYS[1])
    (folder / f"{KEYS[2]}.bin").write_bytes(b"rest")
    (folder / f"{KEYS[0]}.json").write_text("")
    assert openvino_cache.remove_models([KEYS[1]]) >= SIZE
    assert openvino_cache.remove_models() >= SIZE + 4
    assert openvino_cache.list_models() == []
    assert openvino_cache.total_bytes() == 0


def test_lock_of_another_process_delays_the_conversion(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys, time\n"
        "from artgen.registry import openvino_cache\n"
        "with openvino_cache.conversion_lock(sys.argv[1]):\n"
        "    print('locked', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, KEYS[0]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        notes: list[str] = []
        with openvino_cache.conversion_lock(KEYS[1], lambda: notes.append("other model")):
            assert not notes
        waits: list[float] = []
        monkeypatch.setattr(openvino_cache, "MAX_WAIT_SECONDS", 0.2)
        monkeypatch.setattr(openvino_cache.time, "sleep", waits.append)
        with openvino_cache.conversion_lock(KEYS[0], lambda: notes.append("waiting")):
            assert waits
            assert notes == ["waiting"]
        waits.clear()
        process.communicate("")
    with openvino_cache.conversion_lock(KEYS[0]):
        assert not waits
    assert (folder / ".lock").exists()
