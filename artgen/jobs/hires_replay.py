"""Find the upscaling network of a record with `hires_model`. A recorded name is never opened as a path."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, ModelUnavailableError
from artgen.registry.upscalers import find_recorded_upscaler

HASH = "upscale_model_sha256"
_ADDRESS = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}@[0-9a-f]{40}")


def find_hires_model(path: Path, record: Mapping[str, Any]) -> str:
    """Return the hub id with its commit, or the path of a local network with the recorded hash.

    Args:
        path: image with the record; its folder is searched.
        record: record of the image.

    Raises:
        InputFileError: the record is invalid.
        ModelUnavailableError: the local network is not on this machine.
    """
    name, source = str(record["hires_model"]), str(record.get("upscale_model_source") or "local")
    hint = "Set the path of the network: --set hires_model=PATH"
    if source != "local":
        if _ADDRESS.fullmatch(source):
            return source
        raise InputFileError(f"Cannot replay '{path}': its upscale_model_source is invalid.", hint)
    found = find_recorded_upscaler(name, str(record.get(HASH) or ""), (path.parent,))
    if found is None:
        raise ModelUnavailableError(
            f"Cannot replay '{path}': the upscaling network '{name[:100]}' with the recorded hash is not on this "
            "machine.",
            hint,
        )
    return str(found)
