"""Find the snapshots of hub models in the cache, download them, and describe what the cache lacks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen.errors import ModelUnavailableError
from artgen.events import Downloading, Listener, Notice
from artgen.registry import config_checks, hub
from artgen.registry.diffusers_folder import missing_files
from artgen.registry.hub import cache
from artgen.registry.references import ModelReference, similar_names_hint

DENOISERS = ("unet/", "transformer/")
"""Folders whose weights a model that provides the other components does not need."""


def complete_snapshot(reference: ModelReference, omitted: tuple[str, ...] = ()) -> Path | None:
    """Return the folder of a hub model's snapshot; None if the snapshot or one of its required files is missing."""
    folder = cache.snapshot_folder(reference.target, reference.revision)
    if folder is not None and reference.file:
        return folder if (folder / reference.file).is_file() else None
    if folder is None or not (folder / "model_index.json").is_file() or missing_files(folder, omitted):
        return None
    return folder


def missing_without_denoiser(folder: Path) -> list[str]:
    """Return the missing files of a model folder, except the weights of its denoiser."""
    return [name for name in missing_files(folder) if not (name.startswith(DENOISERS) and "safetensors" in name)]


def fetch_checked_configs(
    reference: ModelReference, *, force: bool = False, omitted: tuple[str, ...] = ()
) -> hub.PendingDownload:
    """Download the index and the configurations of a hub model, and check the index before the configurations.

    Args:
        reference: a hub model.
        force: verify the hashes of the cached files.
        omitted: components that are not used.

    Raises:
        ArtgenError: see `resolve.resolve_model`.
    """

    def check_index(index: Mapping[str, Any]) -> None:
        config_checks.check_index(reference.target, index)

    return hub.fetch_configs(
        reference.target,
        reference.revision,
        file=reference.file,
        check_index=check_index,
        force=force,
        omitted=omitted,
    )


def finish_download(pending: hub.PendingDownload, listener: Listener, *, force: bool = False) -> Path:
    """Download the pending files of a model, and report notes and progress; return the folder of the snapshot."""
    for note in (*pending.selection.notes, pending.size_note()):
        if note:
            listener(Notice(note))
    return hub.finish(
        pending, force=force, on_progress=lambda file, done, total: listener(Downloading(file, done, total))
    )


def offline_error(reference: ModelReference) -> ModelUnavailableError:
    """Return the error for a hub model that is not completely on the disk when the network is disabled."""
    folder = cache.snapshot_folder(reference.target, reference.revision)
    name = reference.name if not reference.revision else f"{reference.name}@{reference.revision}"
    if folder is not None and (folder / "model_index.json").is_file():
        missing = ", ".join(missing_files(folder)[:3])
        message = f"The model '{name}' is incomplete on this computer (missing {missing}), and the network is disabled."
    else:
        message = (
            f"The model '{name}' is not on this computer, and the network is disabled (--offline or HF_HUB_OFFLINE)."
        )
    hint = f"Run `artgen models pull {name}` once with a network"
    if reference.info is None and folder is None:
        return ModelUnavailableError(message, f"{hint}. {similar_names_hint(reference.target)}")
    return ModelUnavailableError(message, f"{hint}, or choose a model of `artgen models list`.")
