"""Find parts of a model on the disk, such as control nets: by the name that a person typed, or by a recorded hash."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path, PureWindowsPath

from artgen.errors import ArtgenError
from artgen.registry import location_index, model_folders
from artgen.registry.safetensors_header import PICKLE_SUFFIXES, reject_pickle


def find_part(kind: model_folders.Kind, name: str) -> Path | None:
    """Return the folder or file of a part; None if the name is not on the disk.

    Args:
        kind: kind of the user's model folders in which the name is searched.
        name: path, name or address, as typed.

    Raises:
        RefusedError: the file is a pickle.
        ModelUnavailableError: a file of an address such as `civitai:12` is not downloaded.
    """
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for long names
        return path
    found = model_folders.existing_file(name) or model_folders.downloaded_file(name) or model_folders.find(kind, name)
    if found is not None and found.suffix.lower() in PICKLE_SUFFIXES:
        reject_pickle(found)
    return found


def find_recorded_part(
    kind: model_folders.Kind, name: str, digest: str, folders: Sequence[Path], read_hash: Callable[[Path], str]
) -> Path | None:
    """Return the folder or file with a recorded hash; None if no part has it.

    Metadata is untrusted: only the last part of the name is searched, in `folders`, in the user's model folders, and
    where a part with the hash was used before.

    Args:
        kind: kind of the user's model folders.
        name: recorded name.
        digest: recorded hash; empty if unknown.
        folders: additional folders.
        read_hash: returns the hash of a path; it can raise an `ArtgenError` for another file.
    """
    if not digest:
        return None
    stem = PureWindowsPath(name).name
    found = [folder / stem for folder in folders] if stem else []
    found += [file.path for file in model_folders.iter_files(kind) if stem in (file.path.name, file.path.stem)]
    for path in [*found, *location_index.locations(digest)]:
        try:
            if path.exists() and read_hash(path) == digest:
                return path
        except (ArtgenError, OSError, ValueError):
            continue
    return None
