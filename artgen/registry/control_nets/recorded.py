"""Find the local control net of an image record by its hash."""

from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

from artgen.errors import ArtgenError
from artgen.registry import diffusers_folder, hashes, location_index, model_folders
from artgen.registry.safetensors_header import PICKLE_SUFFIXES


def find_recorded_net(name: str, digest: str, folders: Sequence[Path]) -> Path | None:
    """Return the folder or file with the recorded hash; None if no net has it.

    Metadata is untrusted: only the last part of the name is searched, in `folders`, in the user's model folders, and
    where a net with the hash was used before.

    Args:
        name: recorded name.
        digest: SHA-256 of the weights, 64 hex digits.
        folders: additional folders.
    """
    stem = PureWindowsPath(name).name
    candidates = [folder / stem for folder in folders] if stem else []
    candidates += [file.path for file in model_folders.iter_files("controlnet") if file.path.name == stem]
    for path in [*candidates, *location_index.locations(digest)]:
        try:
            if digest and net_hash(path) == digest:
                return path
        except (ArtgenError, OSError, ValueError):
            continue
    return None


def net_hash(path: Path) -> str:
    """Return the SHA-256 of the weights of a folder or file; empty without .safetensors weights."""
    if path.is_file():
        return "" if path.suffix.lower() in PICKLE_SUFFIXES else hashes.file_hash(path)
    if not path.is_dir():
        return ""
    weights = next((found for found in diffusers_folder.find_weights(path) if found.is_complete), None)
    return hashes.model_hash(weights.files) if weights else ""
