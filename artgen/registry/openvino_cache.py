"""Store denoisers that OpenVINO converted and compiled in artgen's cache folder. This module needs no torch.

An entry consists of two files: `KEY.blob`, the compiled model, and `KEY.json`, its description with the SHA-256 of the
blob. The description is written last. The modification time of the description is the time of the last use.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from artgen.errors import InputFileError, OutputError
from artgen.registry import hashes
from artgen.spec.memory_budget import parse_bytes
from artgen.system.external_data import parse_json, read_optional
from artgen.system.file_locks import RETRY_SECONDS, try_lock
from artgen.system.files import atomic_replace, wrap_write_errors, write_atomically
from artgen.system.paths import user_cache_folder
from artgen.system.temporary import NOFOLLOW, clean_stale

DEFAULT_MAX_BYTES = 20 << 30
MAX_BYTES_VARIABLE = "ARTGEN_OPENVINO_CACHE_SIZE"
"""Environment variable with the largest size of the cache, for example `5GB`."""

_FIELD_TYPES = {
    "model": str, "denoiser": str, "precision": str, "inputs": str, "openvino": str, "size_bytes": int, "sha256": str,
}  # fmt: skip
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
        precision: precision of the computation: fp32 or bf16.
        inputs: shapes of the denoiser's inputs, such as `sample 2x4x64x64, timestep`.
        openvino: version of OpenVINO.
        size_bytes: size of the compiled model in bytes.
        last_used: time of the last use, seconds since 1970.
    """

    key: str
    model: str
    denoiser: str
    precision: str
    inputs: str
    openvino: str
    size_bytes: int = 0
    last_used: float = 0.0


def cache_folder() -> Path:
    """Return the folder of the entries, which may not exist."""
    return user_cache_folder() / "openvino"


def max_cache_bytes() -> int:
    """Return the largest size of the cache in bytes.

    Raises:
        UsageError: the environment variable is not a number of bytes.
    """
    value = os.environ.get(MAX_BYTES_VARIABLE)
    return parse_bytes(value, MAX_BYTES_VARIABLE) if value else DEFAULT_MAX_BYTES


def list_models() -> list[CachedModel]:
    """Return the complete entries, the last used first. Files that are not valid entries are ignored."""
    found = []
    for path in _files("*.json"):
        if (entry := _read_description(path.stem)) is not None:
            found.append(entry[0])
    return sorted(found, key=lambda entry: entry.last_used, reverse=True)


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
    for path in _files("*.json", "*.blob"):
        if keys is None or path.stem in keys:
            size = _size(path)
            with wrap_write_errors(path, "Check the permissions of the folder."):
                path.unlink(missing_ok=True)
            freed += size
    return freed


def read_model(key: str) -> Path | None:
    """Return the path of a compiled model with the correct hash, and set its time of use.

    A damaged entry is removed. The hash is computed again only if path, inode, size or mtime_ns of the file changed.
    """
    found = _read_description(key)
    if found is None:
        return None
    entry, sha256 = found
    path = cache_folder() / f"{key}.blob"
    try:
        is_valid = _size(path) == entry.size_bytes and hashes.file_hash(path) == sha256
    except InputFileError:
        is_valid = False
    if not is_valid:
        with contextlib.suppress(OutputError):
            remove_models([key])
        return None
    with contextlib.suppress(OSError):
        os.utime(cache_folder() / f"{key}.json")
    return path


def write_model(description: CachedModel, data: memoryview) -> None:
    """Write an entry. Remove the entries that were not used for the longest time if the cache becomes too large.

    Args:
        description: key and properties; size and time are set.
        data: compiled model.

    Raises:
        OutputError: the disk is full, the folder is not writable, or the model is larger than the cache.
    """
    folder, limit = cache_folder(), max_cache_bytes()
    if data.nbytes > limit:
        raise OutputError(f"The model is larger than the cache: {data.nbytes} of {limit} bytes.")
    with wrap_write_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    clean_stale(folder)
    _remove_oldest(limit - data.nbytes)
    with wrap_write_errors(folder):
        atomic_replace(folder / f"{description.key}.blob", data)  # type: ignore[arg-type]  # any buffer
    values = dataclasses.asdict(description) | {
        "size_bytes": data.nbytes,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    del values["key"], values["last_used"]
    write_atomically(folder / f"{description.key}.json", json.dumps(values, indent=1))


@contextlib.contextmanager
def conversion_lock(key: str) -> Iterator[None]:
    """Wait until no other process converts the model with this key, and prevent others from converting it.

    Without a writable folder or locks of the file system, several processes may convert the model.
    """
    try:
        cache_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(cache_folder() / _LOCK_NAME, os.O_RDWR | os.O_CREAT | NOFOLLOW, 0o600)
    except OSError:
        yield
        return
    try:
        with contextlib.suppress(OSError):
            while not try_lock(descriptor, int(key[:12], 16) % _LOCK_OFFSETS):
                time.sleep(RETRY_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _remove_oldest(max_bytes: int) -> None:
    """Remove the entries that were not used for the longest time until the size is at most `max_bytes`."""
    models = list_models()
    while models and sum(entry.size_bytes for entry in models) > max_bytes:
        remove_models([models.pop().key])


def _read_description(key: str) -> tuple[CachedModel, str] | None:
    """Return an entry and the hash of its blob; None if the description is missing or invalid."""
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
    fields = {name: values[name] for name in _FIELD_TYPES if name != "sha256"}
    return CachedModel(key, last_used=last_used, **fields), values["sha256"]


def _files(*patterns: str) -> list[Path]:
    with contextlib.suppress(OSError):
        return [path for pattern in patterns for path in cache_folder().glob(pattern) if not path.is_dir()]
    return []


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
