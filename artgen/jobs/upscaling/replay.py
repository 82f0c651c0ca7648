"""Find the upscaling network of a record. Records are untrusted: a recorded path is never opened."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError
from artgen.registry.upscalers import find_recorded_upscaler, upscaler_entries

_HUB_ADDRESS = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}@[0-9a-f]{40}")


def find_network(path: Path, record: Mapping[str, Any]) -> str:
    """Return the name of the network of a record: a short name, a hub id with its commit, or the path of a local file
    or folder with the recorded hash.

    Args:
        path: image; its folder is searched first.
        record: record with `upscale_model`.

    Raises:
        InputFileError: no network on this machine has the recorded hash.
    """
    name, source = str(record["upscale_model"]), str(record.get("upscale_model_source", ""))
    if name in upscaler_entries():
        return name
    if _HUB_ADDRESS.fullmatch(source):
        return source
    digest = str(record.get("upscale_model_sha256", ""))
    found = find_recorded_upscaler(Path(name).name, digest, (path.parent, Path())) if digest else None
    if found is None:
        raise InputFileError(
            f"Cannot replay '{path}': its upscaler {Path(name).name!r} (SHA-256 {digest[:10]}...) is not next to the "
            "image, in the current folder or where it was used before.",
            "Set the network: --set upscale_model=PATH",
        )
    return str(found)
