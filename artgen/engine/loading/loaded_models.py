"""Store the loaded models of this process. This module needs no torch.

In an ordinary process, only the models that the current pipeline call uses are loaded. A resident process
(`keep_loaded`) also stores the models of earlier calls and commands. Models of the current call are active, all others
are idle. An idle model affects no decision: its memory counts as free, because idle models are unloaded when the memory
is needed.
"""

import contextlib
import gc
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from artgen.errors import NonFiniteError
from artgen.events import Event
from artgen.registry import ResolvedModel, hashes
from artgen.system.command_state import register_reset
from artgen.system.files import FileIdentity

MAX_SMALL_FILE_BYTES = 1 << 20


@dataclass(frozen=True)
class LoadedModel:
    """Describe a loaded model, for `artgen worker status`.

    Attributes:
        name: name of the model, as recorded.
        device: device name of torch.
        dtype: dtype of the computation, as in a record.
        nbytes: size of its tensors in bytes.
    """

    name: str
    device: str
    dtype: str
    nbytes: int


@dataclass(eq=False)
class Entry:
    """Store a loaded model with the data that decides whether it is reused.

    Attributes:
        key: properties of the loaded object besides the contents of its files.
        files: identities of all files that affect the object.
        description: what `loaded_models` returns.
        value: the loaded object: a pipeline, a VAE or a denoiser.
        device_bytes: device -> bytes of the tensors.
        events: events of the loading; a command that reuses the model sends them again.
        hashes: SHA-256 of each file; None if they are unknown.
        active: whether the current pipeline call uses the object.
        used: whether the current command used the object.
        is_part: whether the object is used together with a model, such as a ControlNet. The maximum count of loaded
            models does not include parts.
    """

    key: tuple[Any, ...]
    files: tuple[FileIdentity, ...]
    description: LoadedModel
    value: Any
    device_bytes: dict[str, int]
    events: tuple[Event, ...] = ()
    hashes: tuple[str, ...] | None = None
    active: bool = True
    used: bool = True
    is_part: bool = False


class HasFiles(Protocol):
    """Describe an object with the identities of its files: a model, or a part that is used together with a model."""

    @property
    def files(self) -> tuple[FileIdentity, ...]:
        """Return the identities of all files that affect the loaded object."""


@dataclass
class _Store:
    """Store the entries, least recently used first, and the settings of the process."""

    entries: list[Entry] = field(default_factory=list)
    max_loaded: int = 1
    is_resident: bool = False
    may_have_changed: bool = False


_store = _Store()


def keep_loaded(max_loaded: int) -> None:
    """Keep up to `max_loaded` models in memory between commands. Only a resident process calls this.

    A pipeline call that uses more models at once, such as a base model and a refiner, keeps them until it ends.
    """
    _store.max_loaded, _store.is_resident = max_loaded, True
    _limit_count()


def loaded_models() -> tuple[LoadedModel, ...]:
    """Return the loaded models, most recently used first. The function is thread-safe and does not wait."""
    return tuple(entry.description for entry in reversed(_store.entries.copy()))


@contextlib.contextmanager
def unloaded_after_error() -> Iterator[None]:
    """Unload the models that the current command uses when the command ends, if an error is raised in the block.

    An unexpected error, or an out-of-memory error, can leave a pipeline in an unknown state. The current command
    reuses the models, as in an ordinary process.
    """
    try:
        yield
    except (KeyboardInterrupt, NonFiniteError):  # raised between two steps
        raise
    except Exception:
        unload_after_command()
        raise


def unload_after_command() -> None:
    """Unload the models that the current command uses when the command ends, because they may have changed."""
    _store.may_have_changed = True


@register_reset
def _finish_command() -> None:
    """Make all models idle."""
    if _store.may_have_changed:
        _unload([entry for entry in _store.entries if entry.used])
    _store.may_have_changed = False
    for entry in _store.entries:
        entry.active = entry.used = False
    _limit_count()


def find(model: HasFiles, key: tuple[Any, ...]) -> Entry | None:
    """Return the entry of a model or a part with unchanged contents, and make it the most recently used one.

    A file is hashed if its identity changed. If its hash changed too, the entry is unloaded.

    Raises:
        InputFileError: a file cannot be read.
    """
    for entry in [each for each in _store.entries if each.key == key]:
        if _has_same_contents(entry, model.files):
            _store.entries.remove(entry)
            _store.entries.append(entry)
            entry.files = model.files
            return entry
        if [each.path for each in entry.files] == [each.path for each in model.files]:
            _unload([entry])
    return None


def add(entry: Entry) -> None:
    """Add a newly loaded model as the most recently used one."""
    _store.entries.append(entry)


def reserve_place() -> None:
    """Unload idle models so that one more model does not exceed the maximum count."""
    _limit_count(1)


def reserve_part() -> None:
    """Unload the least recently used idle parts so that one more part does not exceed the maximum count of models."""
    idle = [entry for entry in _store.entries if entry.is_part and not entry.active]
    _unload(idle[: max(0, len(idle) + 1 - _store.max_loaded)])


def release_parts(keep: Collection[tuple[FileIdentity, ...]] = ()) -> None:
    """Make the parts idle that the next pipeline call does not use.

    Args:
        keep: files of each part that the call uses.
    """
    for entry in _store.entries:
        if entry.is_part and entry.files not in keep:
            entry.active = False


def deactivate_all() -> None:
    """Make all models idle. In an ordinary process this unloads them."""
    for entry in _store.entries:
        entry.active = False
    if not _store.is_resident:
        _unload(_store.entries)


def object_key(model: ResolvedModel) -> tuple[Any, ...]:
    """Return the properties of a model that affect the loaded object, besides the contents of its files."""
    return model.variant, model.omitted, model.single_file


def has_idle() -> bool:
    """Return whether an idle model is loaded."""
    return not all(entry.active for entry in _store.entries)


def is_active(model: ResolvedModel) -> bool:
    """Return whether an object of a model is active."""
    key = object_key(model)
    return any(entry.active and (entry.files, entry.key[: len(key)]) == (model.files, key) for entry in _store.entries)


def active_values() -> list[Any]:
    """Return the active objects."""
    return [entry.value for entry in _store.entries if entry.active]


def unload_active() -> None:
    """Unload the active models to free their memory."""
    _unload([entry for entry in _store.entries if entry.active])


def unload_idle(count: int | None = None) -> bool:
    """Unload up to `count` idle models, least recently used first; None: all. Return whether there were any."""
    idle = [entry for entry in _store.entries if not entry.active][:count]
    _unload(idle)
    return bool(idle)


def loaded_bytes(device: str, *, active: bool) -> int:
    """Return the bytes that the active or the idle models use on a device."""
    return sum(entry.device_bytes.get(device, 0) for entry in _store.entries if entry.active == active)


def add_bytes(module: Any, nbytes: int) -> None:
    """Count more memory of a loaded model.

    Args:
        module: module of the loaded model.
        nbytes: bytes of main memory, such as the size of a compiled copy of the module; negative after its release.
    """
    for entry in _store.entries:
        components = getattr(entry.value, "components", {}).values()
        if any(part is module for each in components if hasattr(each, "modules") for part in each.modules()):
            entry.device_bytes["cpu"] = entry.device_bytes.get("cpu", 0) + nbytes
            entry.description = replace(entry.description, nbytes=entry.description.nbytes + nbytes)


def file_hashes(files: Collection[FileIdentity]) -> tuple[str, ...] | None:
    """Return the hashes of the files of a loaded model; None in an ordinary process, which does not need them.

    Raises:
        InputFileError: a file cannot be read.
    """
    return tuple(_hash(file, hashes.file_hash) for file in files) if _store.is_resident else None


def empty_device_cache() -> None:
    """Collect garbage and return unused memory to the device."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _has_same_contents(entry: Entry, files: tuple[FileIdentity, ...]) -> bool:
    """Return whether files have the contents of the files of an entry. Only changed files are hashed."""
    if entry.files == files:
        return True
    if entry.hashes is None or [each.size for each in entry.files] != [each.size for each in files]:
        return False
    return all(
        before == file or digest == _hash(file, hashes.content_hash)
        for before, file, digest in zip(entry.files, files, entry.hashes, strict=True)
    )


def _hash(file: FileIdentity, large_file_hash: Callable[[Path], str]) -> str:
    """Return the SHA-256 of a file. artgen's cache of hashes is not used for small files: writing it takes longer."""
    hash_file = hashes.compute_sha256 if file.size <= MAX_SMALL_FILE_BYTES else large_file_hash
    return hash_file(Path(file.path))


def _limit_count(num_new: int = 0) -> None:
    """Unload the least recently used idle models beyond the maximum count, with `num_new` models more than now."""
    models = [entry for entry in _store.entries if not entry.is_part]
    excess = len(models) + num_new - _store.max_loaded
    _unload([entry for entry in models if not entry.active][: max(0, excess)])
    idle_parts = [entry for entry in _store.entries if entry.is_part and not entry.active]
    _unload(idle_parts[: max(0, len(idle_parts) - _store.max_loaded)])


def _unload(entries: Collection[Entry]) -> None:
    """Remove entries and free their memory."""
    if not entries:
        return
    removed = list(entries)
    _store.entries = [entry for entry in _store.entries if entry not in removed]
    for entry in removed:
        entry.value = None
    removed.clear()
    empty_device_cache()
