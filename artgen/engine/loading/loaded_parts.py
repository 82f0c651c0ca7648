"""Store parts that are used together with a model, such as control nets, among the loaded models."""

from dataclasses import dataclass
from typing import Any

from artgen.engine.loading import free_memory, loaded_models
from artgen.system.files import FileIdentity


@dataclass(frozen=True)
class _PartFiles:
    """Store the identities of the files of a part, as `ResolvedModel.files` does."""

    files: tuple[FileIdentity, ...]


def find_part(key: tuple[Any, ...], files: tuple[FileIdentity, ...]) -> loaded_models.Entry | None:
    """Return the entry of a loaded part; None if it must be loaded. See `add_part` and `loaded_models.find`."""
    return loaded_models.find(_PartFiles(files), key)


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
