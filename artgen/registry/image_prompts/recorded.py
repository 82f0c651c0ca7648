"""Find the local adapter of an image record by its hash."""

from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

from artgen.errors import ArtgenError
from artgen.registry import hashes, location_index, model_folders


def find_recorded_adapter(name: str, digest: str, folders: Sequence[Path]) -> Path | None:
    """Return the file with the recorded hash; None if no file has it.

    Metadata is untrusted: only the last part of the name is searched, in `folders`, in the user's model folders, and
    where an adapter with the hash was used before.

    Args:
        name: recorded name.
        digest: SHA-256 of the file, 64 hex digits.
        folders: additional folders.
    """
    file_name = PureWindowsPath(name).name
    candidates = [folder / file_name for folder in folders if file_name]
    candidates += [file.path for file in model_folders.iter_files("image_prompt") if file.path.name == file_name]
    candidates += location_index.locations(digest)
    for path in candidates:
        try:
            if digest and path.suffix.lower() == ".safetensors" and path.is_file() and hashes.file_hash(path) == digest:
                return path
        except (ArtgenError, OSError, ValueError):
            continue
    return None
