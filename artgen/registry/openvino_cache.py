"""Store denoisers that were converted to models of OpenVINO in artgen's cache folder. This module needs no torch.

A converted model consists of `KEY.xml` and `KEY.bin`, its layers and weights. A compiled model, which is for one shape
of the inputs and one kind of CPU, is `KEY.blob`. `KEY.json` is the description of a model, with the SHA-256 of its
files. It is written last. Its modification time is the time of the last use.
"""

import contextlib
import dataclasses
import json
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from artgen.errors import InputFileError, OutputError
from artgen.registry import hashes
from artgen.spec.shared_config import cache_limit
from artgen.system.counts import format_bytes
from artgen.system.external_data import parse_json, read_optional
from artgen.system.file_locks import RETRY_SECONDS, try_lock
from artgen.system.files import wrap_write_errors, write_atomically
from artgen.system.paths import user_cache_folder
from artgen.system.temporary import NOFOLLOW, clean_stale, fsync_tree, temp_folder

MAX_WAIT_SECONDS = 1800.0
"""Longest time to wait for the conversion by another process, which may be stopped."""

_FIELD_TYPES = {
    "model": str, "denoiser": str, "precision": str, "inputs": str, "openvino": str, "outputs": str, "size_bytes": int,
    "hashes": dict,
}  # fmt: skip
_SUFFIXES = (("xml", "bin"), ("blob",))
"""Suffixes of the files of converted and of compiled models; the first is the suffix of the path."""
_ENTRY_PATTERNS = ("*.json", "*.xml", "*.bin", "*.blob")
_MAX_DESCRIPTION_BYTES = 64 << 10
_KEY_PATTERN = re.compile(r"[0-9a-f]{64}")
_LOCK_NAME = ".lock"
_LOCK_OFFSETS = 1 << 30


@dataclass(frozen=True)
class CachedModel:
    """Describe an entry of the cache.

    Attributes:
        key: 64 lower-case hex digits.
        model: name of the model, as recorded.
        denoiser: class of the denoiser.
        precision: dtype of the model: fp32 or bf16.
        inputs: shapes of the inputs with which the model was converted, such as `2x4x64x64, 1, 2x77x768`.
        openvino: version of OpenVINO.
        outputs: structure of the outputs of a compiled model as JSON; empty for a converted model.
        size_bytes: size of the files in bytes.
        last_used: time of the last use, seconds since 1970.
    """

    key: str
    model: str
    denoiser: str
    precision: str
    inputs: str
    openvino: str
    outputs: str = ""
    size_bytes: int = 0
    last_used: float = 0.0


def cache_folder() -> Path:
    """Return the folder of the entries, which may not exist."""
    return user_cache_folder() / "openvino"


def list_models() -> list[CachedModel]:
    """Return the complete entries, the last used first. Files that are not valid entries are ignored."""
    found = []
    for path in _files("*.json"):
        if (entry := _read_description(path.stem)) is not None:
            found.append(entry[0])
    return sorted(found, key=lambda entry: entry.last_used, reverse=True)


def incomplete_files() -> list[Path]:
    """Return the files that belong to no complete entry: their process was killed, or their description is damaged."""
    keys = {entry.key for entry in list_models()}
    return [path for path in _files(*_ENTRY_PATTERNS) if path.stem not in keys]


def total_bytes() -> int:
    """Return the size of all files of the cache in bytes."""
    return sum(_size(path) for path in _files("*"))


def remove_models(keys: Collection[str] | None = None) -> int:
    """Remove entries and return the number of bytes that were freed.

    Args:
        keys: keys of the entries; None: all entries and all damaged or unfinished files.

    Raises:
        OutputError: a file cannot be removed.
    """
    clean_stale(cache_folder())
    freed = 0
    for path in _files(*_ENTRY_PATTERNS):
        if keys is None or path.stem in keys:
            size = _size(path)
            with wrap_write_errors(path, "Check the permissions of the folder."):
                path.unlink(missing_ok=True)
            freed += size
    return freed


def describe_model(key: str) -> CachedModel | None:
    """Return the description of an entry; None if it is missing or invalid."""
    found = _read_description(key)
    return found and found[0]


def read_model(key: str) -> Path | None:
    """Return the path of a model whose files have the correct hashes, and set its time of use.

    The path has the suffix `.xml` or `.blob`. A damaged entry is removed. A hash is computed again only if path, inode,
    size or mtime_ns of the file changed.
    """
    found = _read_description(key)
    if found is None:
        return None
    file_hashes = found[1]
    try:
        is_valid = file_hashes == _hashes(key, file_hashes)
    except InputFileError:
        is_valid = False
    if not is_valid:
        with contextlib.suppress(OutputError):
            remove_models([key])
        return None
    with contextlib.suppress(OSError):
        os.utime(cache_folder() / f"{key}.json")
    return cache_folder() / f"{key}.{next(iter(file_hashes))}"


def write_model(description: CachedModel, save: Callable[[Path], None]) -> Path:
    """Write an entry. Remove the entries that were not used for the longest time if the cache becomes too large.

    Args:
        description: key and properties; the size is set.
        save: writes the files of a model for a path without a suffix, and raises an OSError if they are incomplete.

    Returns:
        The path of the model; see `read_model`.

    Raises:
        OutputError: the disk is full, the folder is not writable, or the model is larger than the cache.
        UsageError: the limit of the size is invalid.
    """
    folder, key = cache_folder(), description.key
    with wrap_write_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        clean_stale(folder)
        with temp_folder(folder) as temporary:
            save(temporary / key)
            fsync_tree(temporary)
            paths = sorted(temporary.iterdir(), reverse=True)  # xml before bin
            size_bytes = sum(map(_size, paths))
            _make_room(size_bytes)
            for path in paths:
                path.replace(folder / path.name)
    try:
        file_hashes = _hashes(key, [path.suffix[1:] for path in paths])
    except InputFileError as error:  # another process has cleared the cache
        raise OutputError(error.message, error.hint) from error
    values = dataclasses.asdict(description) | {"hashes": file_hashes, "size_bytes": size_bytes}
    write_atomically(folder / f"{key}.json", json.dumps({name: values[name] for name in _FIELD_TYPES}, indent=1))
    return folder / paths[0].name


@contextlib.contextmanager
def conversion_lock(key: str, on_wait: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Wait until no other process converts the model with this key, and prevent others from converting it.

    Args:
        key: key of the model.
        on_wait: is called once if another process converts the model.

    After `MAX_WAIT_SECONDS`, without a writable folder, or without locks of the file system, several processes may
    convert the model.
    """
    try:
        cache_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(cache_folder() / _LOCK_NAME, os.O_RDWR | os.O_CREAT | NOFOLLOW, 0o600)
    except OSError:
        yield
        return
    try:
        with contextlib.suppress(OSError):
            deadline = time.monotonic() + MAX_WAIT_SECONDS
            is_waiting = False
            while not try_lock(descriptor, int(key[:12], 16) % _LOCK_OFFSETS) and time.monotonic() < deadline:
                if not is_waiting:
                    is_waiting = True
                    on_wait()
                time.sleep(RETRY_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _make_room(num_bytes: int) -> None:
    """Remove the entries that were not used for the longest time until `num_bytes` more fit into the cache.

    Incomplete files are removed too, except recent ones: another process may be writing their description.

    Raises:
        OutputError: the cache is smaller.
    """
    limit = cache_limit()
    if num_bytes > limit:
        raise OutputError(
            f"The cache is limited to {format_bytes(limit)}, and the model has {format_bytes(num_bytes)}.",
            "artgen config set cache_limit SIZE",
        )
    newest = time.time() - MAX_WAIT_SECONDS
    with contextlib.suppress(FileNotFoundError):  # another process removes the same files
        remove_models([path.stem for path in incomplete_files() if path.lstat().st_mtime < newest])
    models = list_models()
    while models and sum(entry.size_bytes for entry in models) + num_bytes > limit:
        remove_models([models.pop().key])


def _hashes(key: str, suffixes: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of the files of an entry by suffix.

    Raises:
        InputFileError: a file is missing, is not a regular file, or cannot be read.
    """
    paths = {suffix: cache_folder() / f"{key}.{suffix}" for suffix in suffixes}
    for path in paths.values():
        if path.exists() and not path.is_file():  # opening a named pipe would wait
            raise InputFileError(f"'{path}' is not a regular file.")
    return {suffix: hashes.file_hash(path) for suffix, path in paths.items()}


def _read_description(key: str) -> tuple[CachedModel, dict[str, str]] | None:
    """Return an entry and the hashes of its files by suffix; None if the description is missing or invalid."""
    if not _KEY_PATTERN.fullmatch(key):
        return None
    path = cache_folder() / f"{key}.json"
    content = read_optional(path, _MAX_DESCRIPTION_BYTES)
    try:
        values = parse_json(content) if content else None
        last_used = path.stat().st_mtime
    except (ValueError, OSError):
        return None
    if not isinstance(values, dict) or any(type(values.get(name)) is not kind for name, kind in _FIELD_TYPES.items()):
        return None
    file_hashes = values["hashes"]
    if tuple(file_hashes) not in _SUFFIXES:
        return None
    fields = {name: values[name] for name in _FIELD_TYPES if name != "hashes"}
    return CachedModel(key, last_used=last_used, **fields), file_hashes


def _files(*patterns: str) -> list[Path]:
    with contextlib.suppress(OSError):
        return [path for pattern in patterns for path in cache_folder().glob(pattern) if not path.is_dir()]
    return []


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
