"""Find the local upscaling network of an image record by its hash."""

from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

from artgen.errors import ArtgenError
from artgen.registry import location_index, model_folders
from artgen.registry.upscalers.find import read_upscaler


def find_recorded_upscaler(name: str, digest: str, folders: Sequence[Path] = ()) -> Path | None:
    """Return the folder or file with the recorded hash; None if no network has it.

    Metadata is untrusted: only the last part of the name is searched, in `folders`, in the user's model folders, and
    where a network with the hash was used before.

    Args:
        name: recorded name.
        digest: SHA-256 of the weights, 64 hex digits.
        folders: additional folders.
    """
    if not digest:
        return None
    stem = PureWindowsPath(name).name
    found = [folder / stem for folder in folders] if stem else []
    found += [file.path for file in model_folders.iter_files("upscaler") if stem in (file.path.name, file.path.stem)]
    for path in [*found, *location_index.locations(digest)]:
        try:
            if path.exists() and read_upscaler(str(path), path).sha256 == digest:
                return path
        except (ArtgenError, OSError, ValueError):
            continue
    return None
