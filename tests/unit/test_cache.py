"""Test that the cache is listed and cleared, also while other processes use it."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from command_line import run

import artgen
from artgen.api.cache import CacheEntry
from artgen.cli import console
from artgen.errors import OutputError, UsageError
from artgen.registry import openvino_cache, single_file_configs
from artgen.system import cache_folders
from artgen.system.cache_folders import release_cache_folders, remove_cache_folder, use_cache_folder
from artgen.system.paths import user_cache_folder

FILES = {
    "configs": "configs/sd1-0123/unet/config.json",
    "combined": "combined/kandinsky/model_index.json",
    "headers": "headers/etag/model.safetensors",
    "inductor": "inductor/ab/code.py",
    "hashes": "hashes.json",
    "times": "load-times.json",
}
"""A file of each kind of the cache, except converted models."""

USES_FOLDER = """
import sys
from artgen.system.cache_folders import use_cache_folder
print(use_cache_folder(sys.argv[1]), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _no_locks() -> Iterator[None]:
    yield
    release_cache_folders()


def write_files() -> None:
    for name in FILES.values():
        path = user_cache_folder() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 5000)


def convert(digit: str, model: str) -> str:
    """Write an entry for a model that OpenVINO converted. Return its name."""

    def save(path: Path) -> None:
        path.with_suffix(".xml").write_text("layers")
        path.with_suffix(".bin").write_bytes(b"w" * 1000)

    description = openvino_cache.CachedModel(digit * 64, model, "UNet2DConditionModel", "fp32", "2x4x8x8", "2026.4.1")
    openvino_cache.write_model(description, save)
    return digit * 12


def names() -> list[str]:
    return [entry.name for entry in artgen.list_cache()]


def test_empty_cache() -> None:
    assert artgen.list_cache() == []
    assert "is empty" in run("cache", "list").stderr
    assert run("cache", "list", "--json").stdout == ""
    assert artgen.clear_cache() == artgen.ClearedCache((), (), 0)
    assert run("cache", "clear").stderr == "Freed 0 B.\n"
    assert not user_cache_folder().exists()


def test_all_kinds_are_listed_with_size_and_date() -> None:
    name = convert("a", "tiny")
    write_files()
    entries = {entry.name: entry for entry in artgen.list_cache()}
    assert entries.keys() == {name, *FILES}
    converted = entries[name]
    assert (converted.kind, converted.model) == ("openvino", "tiny")
    assert converted.size_bytes > 1000
    assert converted.contents == "UNet2DConditionModel of 'tiny' in fp32, for OpenVINO 2026.4.1"
    for each in FILES:
        assert (entries[each].kind, entries[each].model) == (each, None)
        assert 5000 <= entries[each].size_bytes < 50_000
        assert entries[each].last_used.endswith("+00:00")
    printed = run("cache", "list").stdout
    assert [line.split()[0] for line in printed.splitlines()] == list(entries)
    parsed = [json.loads(line) for line in run("cache", "list", "--json").stdout.splitlines()]
    assert [CacheEntry(**{key: value for key, value in each.items() if key != "schema"}) for each in parsed] == list(
        entries.values()
    )


def test_the_size_of_a_header_is_its_size_on_the_disk() -> None:
    path = user_cache_folder() / FILES["headers"]
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.write(b"header")
        file.truncate(10 << 30)
    assert artgen.list_cache()[0].size_bytes < 1 << 20


def test_every_file_of_the_cache_folder_belongs_to_an_entry() -> None:
    write_files()
    convert("a", "tiny")
    artgen.clear_cache()
    left = [path for path in user_cache_folder().rglob("*") if path.is_file() and path.name != ".lock"]
    assert left == []


@pytest.mark.parametrize("damage", ["killed", "description"])
@pytest.mark.parametrize("given", ["incomplete", "openvino", None])
def test_incomplete_files_are_listed_and_cleared(given: str | None, damage: str) -> None:
    convert("a", "tiny")
    (description,) = openvino_cache.cache_folder().glob("*.json")
    if damage == "killed":
        description.unlink()
    else:
        description.write_text('{"xml": 1')
    kept = convert("b", "tiny")
    found = {entry.name: entry for entry in artgen.list_cache()}
    assert found.keys() == {kept, "incomplete", "hashes"}
    assert (found["incomplete"].kind, found["incomplete"].model) == ("openvino", None)
    assert found["incomplete"].size_bytes > 1000
    run("cache", "clear", *filter(None, [given]))
    assert names() == {"incomplete": [kept, "hashes"], "openvino": ["hashes"], None: []}[given]
    left = [path.stem for path in openvino_cache.cache_folder().iterdir() if path.suffix]
    assert set(left) == ({"b" * 64} if given == "incomplete" else set())


def test_compiled_models_are_marked() -> None:
    description = openvino_cache.CachedModel("a" * 64, "tiny", "Decoder", "bf16", "1x4x8x8", "2026.4.1", "{}")
    openvino_cache.write_model(description, lambda path: path.with_suffix(".blob").write_bytes(b"x") and None)
    entry = artgen.list_cache()[0]
    assert entry.contents == "compiled Decoder of 'tiny' in bf16, for OpenVINO 2026.4.1"


@pytest.mark.parametrize(
    ("given", "cleared"),
    [
        (("hashes",), {"hashes"}),
        (("openvino",), {"a" * 12, "b" * 12, "c" * 12}),
        (("tiny",), {"a" * 12, "b" * 12}),
        (("owner/model", "times"), {"c" * 12, "times"}),
        (("b" * 12,), {"b" * 12}),
        (("b" * 12, "openvino", "b" * 12), {"a" * 12, "b" * 12, "c" * 12}),
        ((), {"a" * 12, "b" * 12, "c" * 12, *FILES}),
    ],
)
def test_entries_are_cleared_by_name_kind_and_model(given: tuple[str, ...], cleared: set[str]) -> None:
    write_files()
    for digit, model in (("a", "tiny"), ("b", "tiny"), ("c", "owner/model")):
        convert(digit, model)
    before = {entry.name: entry.size_bytes for entry in artgen.list_cache()}
    result = artgen.clear_cache(*given)
    assert {*result.cleared} == cleared
    assert result.freed_bytes == sum(before[name] for name in cleared)
    assert {*names()} == before.keys() - cleared


@pytest.mark.parametrize(("name", "hint"), [("hashs", "Did you mean 'hashes'?"), ("x", "`artgen cache list`")])
def test_unknown_names_are_refused_and_nothing_is_deleted(name: str, hint: str) -> None:
    write_files()
    with pytest.raises(UsageError, match="no entry") as raised:
        artgen.clear_cache("times", name)
    assert hint in raised.value.hint
    assert "times" in names()
    assert hint in run("cache", "clear", "times", name, code=2).stderr
    with pytest.raises(UsageError):
        artgen.clear_cache(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["configs", "combined", "headers", "inductor"])
def test_a_folder_in_use_by_another_process_is_kept(name: str) -> None:
    write_files()
    command = [sys.executable, "-c", USES_FOLDER, name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018
        process.stdout.readline()
        result = run("cache", "clear", name, "hashes", "--yes")
        assert f"Not deleted, because a running process of artgen uses them: {name}." in result.stderr
        assert name in names()
        assert "hashes" not in names()
        printed = json.loads(run("cache", "clear", name, "--json").stdout)
        assert (printed["cleared"], printed["in_use"], printed["freed_bytes"]) == ([], [name], 0)
        process.stdin.close()
        process.wait()
    assert artgen.clear_cache(name).cleared == (name,)
    assert not (user_cache_folder() / name).exists()


def test_a_command_of_the_worker_releases_its_folders() -> None:
    use_cache_folder("configs")
    assert not remove_cache_folder("configs")
    release_cache_folders()
    assert remove_cache_folder("configs")


def test_a_deleted_folder_is_created_and_locked_again() -> None:
    folder = use_cache_folder("configs")
    folder.rename(folder.with_name("other"))
    assert use_cache_folder("configs").is_dir()
    assert not remove_cache_folder("configs")


def test_configurations_stay_readable_while_another_process_clears_the_cache() -> None:
    done = threading.Event()
    removed = []

    def clear() -> None:
        while not done.is_set():
            if (user_cache_folder() / "configs").is_dir():
                removed.append(remove_cache_folder("configs"))

    thread = threading.Thread(target=clear)
    thread.start()
    try:
        for number in range(200):
            folder = single_file_configs.build_config_folder("sd1", {"unet/config.json": {"number": number % 3}})
            assert json.loads((folder / "unet/config.json").read_text())["number"] == number % 3
            assert user_cache_folder() in folder.parents
            release_cache_folders()
            time.sleep(0.001)
    finally:
        done.set()
        thread.join()
    assert True in removed


def test_folders_work_without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, **arguments: object) -> bool:
        raise OSError("no locks")

    monkeypatch.setattr(cache_folders, "try_lock", fail)
    write_files()
    assert use_cache_folder("configs").is_dir()
    assert artgen.clear_cache("configs").cleared == ("configs",)


def make(kind: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    target = Path("outside")
    target.mkdir(exist_ok=True)
    (target / "file").write_text("x")
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
            (path / "file").write_text("x")
        case "file":
            path.write_text("x")
        case "link to a folder":
            path.symlink_to(target.absolute())
        case "link to a file":
            path.symlink_to((target / "file").absolute())
        case "broken link":
            path.symlink_to("nowhere")


@pytest.mark.parametrize("kind", ["fifo", "folder", "file", "link to a folder", "link to a file", "broken link"])
@pytest.mark.parametrize("name", [*FILES.values(), "configs", "inductor", "openvino", f"openvino/{'a' * 64}.json"])
def test_foreign_files_in_the_cache_cause_no_traceback(kind: str, name: str) -> None:
    make(kind, user_cache_folder() / name)
    run("cache", "list")
    result = run("cache", "clear", code=None)
    assert result.exit_code in (0, 74), result.output
    assert "Traceback" not in result.output
    assert Path("outside/file").read_text() == "x"


def test_a_file_in_place_of_the_cache_folder() -> None:
    make("file", user_cache_folder())
    assert artgen.list_cache() == []
    assert artgen.clear_cache().cleared == ()
    with pytest.raises(OutputError):
        use_cache_folder("configs")


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write all folders")
def test_a_read_only_cache_is_reported() -> None:
    write_files()
    user_cache_folder().chmod(0o500)
    try:
        assert use_cache_folder("configs").is_dir()
        with pytest.raises(OutputError):
            artgen.clear_cache("hashes")
    finally:
        user_cache_folder().chmod(0o700)


@pytest.mark.parametrize(("answer", "deletes"), [(True, True), (False, False)])
def test_a_terminal_asks_for_confirmation(answer: bool, deletes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files()
    questions = []

    def confirm(question: str, **_: object) -> bool:
        questions.append(question)
        return answer

    class Terminal:
        @staticmethod
        def isatty() -> bool:
            return True

    monkeypatch.setattr(typer, "confirm", confirm)
    monkeypatch.setattr(console, "sys", type("sys", (), {**vars(sys), "stdin": Terminal, "stderr": Terminal}))
    monkeypatch.setattr(console, "print_note", lambda text: questions.append(text))
    assert console.confirm_deletion("Delete?", False) == deletes
    assert questions[0] == "Delete?"
    assert console.confirm_deletion("Delete?", True)
    assert questions == ["Delete?", *([] if deletes else ["Nothing was deleted."])]


def test_names_are_completed() -> None:
    from artgen.cli.completion.values import candidates

    write_files()
    name = convert("a", "tiny")
    assert {found.text for found in candidates("cache", "")} == {name, "openvino", "tiny", *FILES}


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ("cache purge", "artgen cache clear"),
        ("cache rm x", "artgen cache clear"),
        ("cache ls", "artgen cache list"),
        ("cache size", "artgen cache list"),
        ("cache limit", "artgen config set cache_limit"),
        ("purge", "artgen cache clear"),
        ("prune", "artgen cache clear"),
        ("txt2img x --cache-limit 5", "artgen config set cache_limit"),
    ],
)
def test_other_words_lead_to_the_command(arguments: str, command: str) -> None:
    assert command in run(*arguments.split(), code=2).stderr


@pytest.mark.parametrize("value", ["5", "abc", "1MiB", "2000000GiB"])
def test_invalid_limits_are_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cache_limit must be" in run("config", "set", "cache_limit", value, code=2).stderr
    Path("artgen.toml").write_text(f'cache_limit = "{value}"\n')
    assert "cache_limit must be" in run("cache", "list", code=3).stderr
    Path("artgen.toml").unlink()
    monkeypatch.setenv("ARTGEN_CACHE_LIMIT", value)
    assert "ARTGEN_CACHE_LIMIT must be" in run("cache", "list", code=2).stderr


def test_the_limit_is_read_from_the_configuration() -> None:
    convert("a", "tiny")
    run("config", "set", "cache_limit", "5GiB")
    assert "of at most 5.0 GiB (cache_limit)" in run("cache", "list").stderr
