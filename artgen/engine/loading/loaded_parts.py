"""Store parts that are used together with a model, such as control nets, among the loaded models."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from artgen.engine.loading import free_memory, loaded_models
from artgen.engine.loading.device import DeviceConfig
from artgen.system.files import FileIdentity


@dataclass(frozen=True)
class _PartFiles:
    """Store the identities of the files of a part, as `ResolvedModel.files` does."""

    files: tuple[FileIdentity, ...]


def cached_part(
    key: tuple[Any, ...],
    files: tuple[FileIdentity, ...],
    name: str,
    load: Callable[[], Any],
    device_config: DeviceConfig,
) -> loaded_models.Entry:
    """Return the entry of a part; load the part if it is not among the loaded models.

    Args:
        key: properties of the part besides the contents of its files. `device_config` is added.
        files: identities of all files that affect the part.
        name: name of the part, as recorded.
        load: notifies the listener, and returns a module, or an object with modules.
        device_config: device and dtype of the part.

    Raises:
        ArtgenError: `load` cannot load the part.
    """
    key = (*key, device_config)
    entry = loaded_models.find(_PartFiles(files), key)
    if entry is None:
        loaded_models.reserve_part()
        entry = add_part(key, files, load(), name, device_config.device, device_config.dtype)
    entry.used = True
    return entry


def add_part(
    key: tuple[Any, ...], files: tuple[FileIdentity, ...], value: Any, name: str, device: str, dtype: str
) -> loaded_models.Entry:
    """Store a part that was loaded after `loaded_models.reserve_part`; return its entry.

    Args:
        key: properties of the part besides the contents of its files.
        files: identities of all files that affect the part.
        value: module, or object with modules.
        name: name of the part, as recorded.
        device: device name of torch.
        dtype: dtype of the computation, as in a record.
    """
    device_bytes = free_memory.count_bytes(value)
    description = loaded_models.LoadedModel(name, device, dtype, sum(device_bytes.values()))
    hashes = loaded_models.file_hashes(files)
    entry = loaded_models.Entry(key, files, description, value, device_bytes, hashes=hashes, is_part=True)
    loaded_models.add(entry)
    return entry
