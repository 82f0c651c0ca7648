"""Find the local adapter of an image record by its hash."""

from collections.abc import Sequence
from pathlib import Path

from artgen.registry import hashes
from artgen.registry.local_parts import find_recorded_part


def find_recorded_adapter(name: str, digest: str, folders: Sequence[Path]) -> Path | None:
    """Return the file of an adapter with the recorded hash; None if no file has it. See `find_recorded_part`."""
    return find_recorded_part("image_prompt", name, digest, folders, _adapter_hash)


def _adapter_hash(path: Path) -> str:
    is_adapter = path.suffix.lower() == ".safetensors" and path.is_file()
    return hashes.file_hash(path) if is_adapter else ""
