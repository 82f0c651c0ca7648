"""Test that optional files and folders of the user are optional, and that damaged files cause one sentence."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import command_line
import hub_server
import pytest

from artgen.registry import hashes, single_file_configs, user_aliases_path
from artgen.registry.hub import cache
from artgen.spec import config
from artgen.system import process
from artgen.system.paths import user_cache_folder

DAMAGED: dict[str, Callable[[Path], object]] = {
    "folder": lambda path: path.mkdir(),
    "fifo": lambda path: os.mkfifo(path),
    "loop": lambda path: path.symlink_to(path.name),
    "dangling": lambda path: path.symlink_to("nowhere"),
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "huge": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 100_000_000),
    "binary": lambda path: path.write_bytes(bytes(range(256))),
    "NUL": lambda path: path.write_bytes(b"\0" * 100),
    "UTF-16": lambda path: path.write_bytes('{"a": "sd15"}'.encode("utf-16")),
    "deep": lambda path: path.write_bytes(b"[" * 10_000),
    "deep object": lambda path: path.write_bytes(b'{"a":' * 5000),
    "digits": lambda path: path.write_bytes(b'{"seconds": {"a": ' + b"9" * 5000 + b"}}"),
    "infinity": lambda path: path.write_bytes(b'{"seconds": {"a": Infinity}}'),
    "overflow": lambda path: path.write_bytes(b'{"batch sizes": {"a": 1e999}}'),
    "list": lambda path: path.write_bytes(b"[1]"),
    "number": lambda path: path.write_bytes(b"7"),
    "other values": lambda path: path.write_bytes(b'{"seconds": {"a": [1]}, "batch sizes": "x"}'),
    "two keys": lambda path: path.write_bytes(b'{"a": "sd15", "a": "sdxl"}'),
    "surrogate": lambda path: path.write_bytes(b'{"a": "\\ud800"}'),
}
UNREADABLE = ("folder", "fifo", "loop", "dangling", "endless", "huge")


def _check_one_sentence(stderr: str) -> None:
    assert "Traceback" not in stderr
    assert stderr.count("error: ") <= 1


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_caches_are_ignored(kind: str) -> None:
    for name in ("hashes.json", "history.json"):
        path = user_cache_folder() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        DAMAGED[kind](path)
    ref = cache.repository_folder("owner/tiny") / "refs" / "main"
    ref.parent.mkdir(parents=True)
    DAMAGED[kind](ref)
    Path("weights.safetensors").write_bytes(b"weights")
    assert hashes.file_hash(Path("weights.safetensors")) == hashes.compute_sha256(Path("weights.safetensors"))
    assert cache.resolve_commit("owner/tiny", None) is None
    command_line.run("txt2img", "x", "--dry-run")
    command_line.run("models", "list")


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_alias_files_are_ignored_or_reported(kind: str) -> None:
    path = user_aliases_path()
    path.parent.mkdir(parents=True)
    DAMAGED[kind](path)
    done = command_line.run("txt2img", "x", "--dry-run", code=None)
    is_unreadable = kind in UNREADABLE
    assert done.exit_code == (0 if is_unreadable or kind == "surrogate" else 3), done.output
    assert (f"Cannot read '{path}'" in done.stderr) == (kind != "surrogate")
    _check_one_sentence(done.stderr)
    changed = command_line.run("models", "alias", "b", "sdxl", code=None)
    assert changed.exit_code == (74 if is_unreadable else 0 if kind == "surrogate" else 3)


DAMAGED_TOML: dict[str, bytes] = {
    "deep": b"steps = " + b"[" * 10_000,
    "long key": b".".join([b"a"] * 30_000) + b" = 1",
    "long key of a table": b"[" + b".".join([b"a"] * 30_000) + b"]\nb = 1",
    "digits": b"steps = " + b"9" * 5000,
    "infinity": b"steps = inf",
    "not a number": b"strength = nan",
    "date": b"steps = 2020-01-01",
    "table": b"steps = {a = 1}",
    "list": b"model = [1]",
    "task": b"txt2img = [1]",
    "UTF-16": "steps = 3".encode("utf-16"),
    "binary": bytes(range(256)),
}


@pytest.mark.parametrize("kind", [*UNREADABLE, *DAMAGED_TOML])
@pytest.mark.parametrize("is_project_file", [False, True])
def test_damaged_configuration_files_are_ignored_or_reported(kind: str, is_project_file: bool) -> None:
    path = Path(config.PROJECT_FILE) if is_project_file else config.user_config_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind in UNREADABLE:
        DAMAGED[kind](path)
    else:
        path.write_bytes(DAMAGED_TOML[kind])
    done = command_line.run("txt2img", "x", "--dry-run", code=0 if kind in UNREADABLE else 3)
    assert f"'{path}'" in done.stderr
    _check_one_sentence(done.stderr)
    arguments = ("--project",) if is_project_file else ()
    command_line.run("config", "set", "steps", "3", *arguments, code=74 if kind in UNREADABLE else 3)


def test_a_configuration_file_may_have_a_byte_order_mark() -> None:
    Path(config.PROJECT_FILE).write_bytes(b"\xef\xbb\xbfsteps = 3\r\n")
    assert config.read_config_file(Path(config.PROJECT_FILE)) == {"steps": 3}
    command_line.run("config", "set", "quality", "5", "--project")
    assert config.read_config_file(Path(config.PROJECT_FILE)) == {"steps": 3, "quality": 5}


HOMES = ["/dev/null", "file", "loop", "", "missing", "/" + "n" * 300, "/" + "n/" * 3000]
VARIABLES = ["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE"]


@pytest.mark.parametrize(("variable", "value"), itertools.product(VARIABLES, HOMES))
def test_folders_of_the_user_are_optional(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    Path("file").touch()
    Path("loop").symlink_to("loop")
    if variable == "HOME":
        for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "HF_HOME"):
            monkeypatch.delenv(name)
    monkeypatch.setenv(
        variable, value if value in ("", "/dev/null") or value[0] == "/" else str(Path(value).absolute())
    )
    for arguments in (
        ["txt2img", "x", "--dry-run"],
        ["models", "list"],
        ["models", "path", "tiny"],
        ["config", "show"],
    ):
        assert "error" not in command_line.run(*arguments).stderr
    command_line.run("models", "path", "sd15", code=4)
    folder = single_file_configs.build_config_folder("sd1")
    assert (folder / "model_index.json").is_file()


@pytest.mark.parametrize("error", [PermissionError, NotADirectoryError, OSError])
def test_a_home_without_permission_is_ignored(monkeypatch: pytest.MonkeyPatch, error: type[OSError]) -> None:
    """Simulate a home folder that this user cannot enter; tests may run as root."""
    home, (lstat, stat, open_) = str(Path.home()), (os.lstat, os.stat, os.open)

    def guard(function: Callable[..., object]) -> Callable[..., object]:
        def guarded(path: object, *args: object, **kwargs: object) -> object:
            if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(f"{home}/"):
                raise error(13, "denied")
            return function(path, *args, **kwargs)

        return guarded

    for name, function in (("lstat", lstat), ("stat", stat), ("open", open_)):
        monkeypatch.setattr(os, name, guard(function))
    command_line.run("txt2img", "x", "--dry-run")
    command_line.run("models", "list")
    command_line.run("doctor")


@pytest.mark.parametrize("name", ["HF_HUB_CACHE", "HF_HOME"])
def test_an_unknown_user_in_the_cache_folder_does_not_stop_a_bundled_model(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "~nobody9/x")
    command_line.run("txt2img", "x", "--dry-run")
    command_line.run("doctor")
    assert f"{name} is not valid" in command_line.run("models", "pull", "owner/tiny", code=2).stderr
    assert not list(Path().iterdir())


@pytest.mark.parametrize("value", ["x", "1.5", "", "1e3"])
def test_variables_that_stop_an_import_are_removed_with_a_note(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", value)
    assert "HF_HUB_ETAG_TIMEOUT is not a whole number" in command_line.run("config", "path").stderr
    assert "HF_HUB_ETAG_TIMEOUT" not in os.environ
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "5")
    assert process.remove_invalid_variables() == []


@pytest.mark.parametrize("name", ["HF_ENDPOINT", "ALL_PROXY", "HTTPS_PROXY", "HF_TOKEN", "SSL_CERT_FILE"])
def test_network_settings_do_not_stop_commands_without_a_network(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "ftp://\u00e4:hunter2@x")
    command_line.run("txt2img", "x", "--dry-run")
    command_line.run("models", "list")
    done = command_line.run("models", "pull", hub_server.Hub().repo, code=2)
    assert name in done.stderr
    assert name == "SSL_CERT_FILE" or "hunter2" not in done.stderr
