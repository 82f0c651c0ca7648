"""Find the local upscaling network of an image record by its hash."""

from collections.abc import Sequence
from pathlib import Path

from artgen.registry.local_parts import find_recorded_part
from artgen.registry.upscalers.find import read_upscaler


def find_recorded_upscaler(name: str, digest: str, folders: Sequence[Path] = ()) -> Path | None:
    """Return the folder or file of a network with the recorded hash; None if no network has it.

    See `find_recorded_part`.
    """
    return find_recorded_part("upscaler", name, digest, folders, lambda path: read_upscaler(str(path), path).sha256)
