"""Describe and download the upscaling networks of the table, for `artgen models` and the functions for models."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from artgen.api.model_lists import ModelDetails
from artgen.errors import ArtgenError
from artgen.events import Listener
from artgen.registry import known_models
from artgen.registry.hub import cache
from artgen.registry.license_terms import license_terms
from artgen.registry.upscalers import UpscalerEntry, resolve_upscaler, upscaler_entries
from artgen.registry.upscalers.upscaler import find_entry

FAMILY = "upscaler"


def find_upscaler(name: str) -> UpscalerEntry | None:
    """Return the upscaling network with a short name or a hub id; None if it is another model, or an alias."""
    return None if name in known_models() else find_entry(name)


def iter_upscalers() -> Iterator[ModelDetails]:
    """Yield the details of each network of the table."""
    for entry in upscaler_entries().values():
        yield upscaler_details(entry)


def upscaler_details(entry: UpscalerEntry) -> ModelDetails:
    """Return the details of a network of the table, and of its files if they are on this computer."""
    folder = local_folder(entry)
    return ModelDetails(
        name=entry.name,
        source=entry.source,
        revision=folder.name if folder and not entry.bundled_folder else None,
        architecture=FAMILY,
        width=None,
        height=None,
        license=entry.license,
        license_terms=license_terms(entry.license).summary(gated=False),
        gated=False,
        family=FAMILY,
        aliases=(),
        year=None,
        download_size=entry.download_size,
        gpu_memory=None,
        steps=None,
        guidance_scale=None,
        inpainting=False,
        on_disk=_size_on_disk(entry),
        complete=folder is not None,
        builtin=True,
        description=f"x{entry.scale}: {entry.description}",
    )


def _size_on_disk(entry: UpscalerEntry) -> int:
    if entry.bundled_folder is None:
        return cache.size_on_disk(entry.source)
    return sum(path.stat().st_size for path in entry.bundled_folder.iterdir())


def local_folder(entry: UpscalerEntry) -> Path | None:
    """Return the folder of the files of a network; None if it is not downloaded or is damaged."""
    with contextlib.suppress(ArtgenError):
        path = resolve_upscaler(entry.name, offline=True).path
        return path if path.is_dir() else path.parent
    return None


def install_hint(entry: UpscalerEntry) -> str:
    """Return a hint that explains how to download a network."""
    return f"Run `artgen models pull {entry.name}`."


def pull_upscaler(entry: UpscalerEntry, force: bool, listener: Listener) -> Path:
    """Download a network; return its folder.

    Args:
        entry: network of the table.
        force: verify the hashes of existing files.
        listener: receives the events of the download.
    """
    return resolve_upscaler(entry.name, listener=listener, force=force).path
