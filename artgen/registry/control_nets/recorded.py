"""Find the local control net of an image record by its hash."""

from collections.abc import Sequence
from pathlib import Path

from artgen.registry import diffusers_folder, hashes
from artgen.registry.local_parts import find_recorded_part
from artgen.registry.safetensors_header import PICKLE_SUFFIXES


def find_recorded_net(name: str, digest: str, folders: Sequence[Path]) -> Path | None:
    """Return the folder or file of a net with the recorded hash; None if no net has it. See `find_recorded_part`."""
    return find_recorded_part("controlnet", name, digest, folders, net_hash)


def net_hash(path: Path) -> str:
    """Return the SHA-256 of the weights of a folder or file; empty without .safetensors weights."""
    if path.is_file():
        return "" if path.suffix.lower() in PICKLE_SUFFIXES else hashes.file_hash(path)
    if not path.is_dir():
        return ""
    weights = next((found for found in diffusers_folder.find_weights(path) if found.is_complete), None)
    return hashes.model_hash(weights.files) if weights else ""
