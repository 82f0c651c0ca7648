"""Find the upscaling network of a record, and compare its hash. Records are untrusted: no recorded path is opened."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, ModelUnavailableError
from artgen.jobs.job import Job
from artgen.registry.upscalers import HUB_FILE, find_recorded_upscaler, upscaler_entries

SETTINGS = ("hires_model", "upscale_model")
"""Settings that name a network. A record has at most one of them."""
HASH = "upscale_model_sha256"
"""Provenance that identifies the weights of the network."""
_HUB_ADDRESS = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}@[0-9a-f]{40}")


def find_network(path: Path, record: Mapping[str, Any], setting: str = "upscale_model") -> str:
    """Return the name of the network of a record: the short name of a bundled network, the address of the hub with the
    recorded commit, or the path of a local file or folder with the recorded hash.

    Args:
        path: image; its folder is searched first.
        record: record with `setting`.
        setting: one of `SETTINGS`.

    Raises:
        InputFileError: no network on this machine has the recorded hash.
    """
    name, source = str(record[setting]), str(record.get("upscale_model_source", ""))
    entry = upscaler_entries().get(name)
    repo, _, commit = source.partition("@")
    if entry is not None:
        return source if _HUB_ADDRESS.fullmatch(source) and repo == entry.source else name
    if _HUB_ADDRESS.fullmatch(source):
        file = name.partition("@")[0]
        return f"{file}@{commit}" if file.startswith(f"{repo}/") and HUB_FILE.fullmatch(file) else source
    digest = str(record.get(HASH, ""))
    found = find_recorded_upscaler(Path(name).name, digest, (path.parent, Path())) if digest else None
    if found is None:
        raise InputFileError(
            f"Cannot replay '{path}': its upscaler {Path(name).name!r} (SHA-256 {digest[:10]}...) is not next to the "
            "image, in the current folder or where it was used before.",
            f"Set the network: --set {setting}=PATH",
        )
    return str(found)


def check_network(job: Job, recorded: str) -> None:
    """Compare the network of a prepared job with the recorded hash. A network that is not downloaded has no hash.

    Raises:
        ModelUnavailableError: the weights differ.
    """
    found = job.provenance.get(HASH)
    if found in (None, recorded):
        return
    setting = next(name for name in SETTINGS if getattr(job.request, name, None) is not None)
    network = getattr(job.request, setting)
    raise ModelUnavailableError(
        f"Cannot replay with the upscaler '{network}': its weights differ from the recorded ones (SHA-256 "
        f"{recorded[:10]}... is recorded, {str(found)[:10]}... is installed).",
        f"To use the installed weights, add --set {setting}={network}.",
    )
