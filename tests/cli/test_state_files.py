"""Test that optional files and folders of the user are optional, and that damaged files cause one sentence."""

import contextlib
import copy
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import command_line
import hub_server
import pytest

from artgen.errors import InputFileError
from artgen.jobs.anomaly.fit_file import read_fit_header
from artgen.jobs.training_layout import read_checkpoint_state
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
    assert done.exit_code == (0 if is_unreadable else 3), done.output
    assert f"Cannot read '{path}'" in done.stderr
    _check_one_sentence(done.stderr)
    command_line.run("models", "alias", "b", "sdxl", code=74 if is_unreadable else 3)


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
    folder = single_file_configs.build_config_folder("sd1", single_file_configs.shipped_config("sd1"))
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


CHECKPOINT_STATES: dict[str, bytes] = {
    "no object": b"[1]",
    "no step": b'{"settings": {}}',
    "text": b'{"step": "2", "settings": {}}',
    "fraction": b'{"step": 1.5, "settings": {}}',
    "negative": b'{"step": -1, "settings": {}}',
    "infinity": b'{"step": Infinity, "settings": {}}',
    "digits": b'{"step": ' + b"9" * 5000 + b', "settings": {}}',
    "large": b'{"step": ' + b"9" * 30 + b', "settings": {}}',
    "list of settings": b'{"step": 2, "settings": [["a", 1]]}',
    "null": b'{"step": 2, "settings": null}',
}


@pytest.mark.parametrize("kind", [*(kind for kind in DAMAGED if kind != "dangling"), *CHECKPOINT_STATES])
def test_damaged_checkpoints_are_reported(kind: str) -> None:
    folder = Path("x-training/checkpoints/step-0000002")
    folder.mkdir(parents=True)
    path = folder / "state.json"
    if kind in DAMAGED:
        DAMAGED[kind](path)
    else:
        path.write_bytes(CHECKPOINT_STATES[kind])
    with pytest.raises(InputFileError, match="Cannot read the checkpoint"):
        read_checkpoint_state(folder)


FIT: dict[str, Any] = {
    "look": {
        "method": "pixel", "model": "denoiser", "model_hash": "a" * 64, "prompt": "", "levels": [25.0, 50.0],
        "draws": 2, "seed": 7,
    },
    "size": [64, 64],
    "pictures": ["b" * 64] * 8,
}  # fmt: skip
HOSTILE_VALUES: dict[str, list[object]] = {
    "method": ["other", 7, None, ["pixel"]],
    "model": [7, None, []],
    "model_hash": [7, None],
    "prompt": [7, ["x"], "a prompt, which the method does not support"],
    "levels": [[], [-1], [1e9], ["x"], 7, None, [25.0] * 10**5, list(range(1, 100)), [[25]]],
    "draws": [0, -1, 10**9, 1.5, "2", None, True],
    "seed": [-1, 2**65, 1.5, "x", [1]],
    "size": [[64], [64, -1], [64, 10**9], [64.5, 64], ["64", "64"], 7, "ab", {"a": 1}, [64, 64, 64]],
    "pictures": [7, None, [7], [None], [1.5]],
}


def _save_fit(known: str) -> Path:
    path = Path("fit.safetensors")
    metadata = {"kind": "artgen normal pictures", "version": "1", "known": known}
    header = json.dumps({"__metadata__": metadata, "mean": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(4))
    return path


def test_a_valid_fit_header_is_read() -> None:
    header = read_fit_header(_save_fit(json.dumps(FIT)))
    assert (header.config.noise_levels, header.working_size, len(header.image_hashes)) == ((25.0, 50.0), (64, 64), 8)


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in HOSTILE_VALUES.items() for value in values])
def test_invalid_values_of_fit_files_are_reported(key: str, value: object) -> None:
    known = copy.deepcopy(FIT)
    (known["look"] if key in known["look"] else known)[key] = value
    with pytest.raises(InputFileError, match="is not a fit file"):
        read_fit_header(_save_fit(json.dumps(known)))


@pytest.mark.parametrize(
    "known",
    [
        "",
        "7",
        "[]",
        "{}",
        '{"look": []}',
        '{"look": {}}',
        "[" * 10**5,
        '{"look": NaN}',
        "9" * 5000,
        '{"a": 1e999}',
        "\x00",
    ],
)
def test_damaged_fit_files_are_reported(known: str) -> None:
    with pytest.raises(InputFileError, match="is not a fit file"):
        read_fit_header(_save_fit(known))


@pytest.mark.parametrize("kind", DAMAGED)
def test_other_files_are_not_fit_files(kind: str) -> None:
    path = Path("fit.safetensors")
    DAMAGED[kind](path)
    with pytest.raises(InputFileError, match="Cannot read"):
        read_fit_header(path)


LOSS_LOGS = [
    b"\0" * 100,
    b"step,loss,learning rate,seconds\ninf,1,1,1\n1e999,1,1,1\nnan,1,1,1\n",
    b'"' + b"x" * 200_000,
    b"\xff\xfe",
    b"step\n1\n",
    b"step,a,learning rate,seconds\n1,2,3,4,5,6\n",
    b"9" * 5000,
    b"a,a,a\n1,2,3\n",
]


@pytest.mark.parametrize("content", LOSS_LOGS)
def test_damaged_loss_logs_are_empty_or_reported(content: bytes) -> None:
    from artgen.engine.training.loss_log import read_loss_csv

    Path("loss.csv").write_bytes(content)
    with contextlib.suppress(InputFileError):
        assert read_loss_csv(Path("loss.csv")) == []


@pytest.mark.parametrize("kind", ["folder", "fifo", "loop", "dangling", "endless"])
def test_unreadable_loss_logs_are_reported(kind: str) -> None:
    from artgen.engine.training.loss_log import read_loss_csv

    DAMAGED[kind](Path("loss.csv"))
    with pytest.raises(InputFileError, match="Cannot read"):
        read_loss_csv(Path("loss.csv"))
