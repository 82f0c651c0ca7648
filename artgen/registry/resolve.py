"""From a model's name to its files on this disk, downloading them if need be and allowed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from artgen.errors import ModelUnavailableError
from artgen.registry import hub
from artgen.registry.describe import describe_file, describe_folder
from artgen.registry.diffusers_folder import missing_files
from artgen.registry.hub import cache
from artgen.registry.references import ModelReference, parse_reference, similar_names_hint
from artgen.registry.resolved import ResolvedModel

OnDownload = Callable[[str, int, int], None]


def resolve_model(name: str, *, offline: bool = False, on_download: OnDownload | None = None) -> ResolvedModel:
    """Find a model, on the disk first; a hub model that is not complete there is downloaded unless offline.

    No connection is made when the snapshot in the cache is complete, or for folders, files and bundled models.

    Args:
        name: alias, hub id with or without `@revision`, folder, or safetensors file.
        offline: never use the network; `HF_HUB_OFFLINE=1` says the same.
        on_download: called with (file, bytes done, bytes in all) while downloading.

    Raises:
        ModelUnavailableError: unknown, incomplete, gated, or offline and not here.
        RefusedError: pickles, remote code, a hash that does not match.
        InputFileError: damaged files.
        OutputError: the disk is full.
    """
    reference = parse_reference(name)
    if reference.kind == "file":
        return describe_file(reference.name, Path(reference.target), reference.info)
    if reference.kind == "hub":
        return _resolve_hub_model(reference, offline or cache.is_offline(), on_download)
    folder = Path(reference.target)
    if reference.kind == "bundled" and not (folder / "model_index.json").is_file():
        raise ModelUnavailableError(
            f"The bundled model {reference.name!r} is not part of this installation.",
            "Install artgen again, or choose another with --model (`artgen models list`).",
        )
    return describe_folder(reference.name, folder, reference.info)


def find_local_model(name: str) -> ResolvedModel | None:
    """`resolve` offline, with None for a hub or bundled model that is not completely here."""
    reference = parse_reference(name)
    if reference.kind == "hub" and not complete_snapshot(reference):
        return None
    if reference.kind == "bundled" and not (Path(reference.target) / "model_index.json").is_file():
        return None
    return resolve_model(name, offline=True)


def complete_snapshot(reference: ModelReference) -> Path | None:
    """The folder of a hub model's snapshot when nothing is missing from it, else None."""
    folder = cache.snapshot_folder(reference.target, reference.revision)
    if folder is None or not (folder / "model_index.json").is_file() or missing_files(folder):
        return None
    return folder


def _resolve_hub_model(reference: ModelReference, offline: bool, on_download: OnDownload | None) -> ResolvedModel:
    folder = complete_snapshot(reference)
    if folder is None:
        if offline:
            raise ModelUnavailableError(*_offline_message(reference))
        folder = hub.pull(reference.target, revision=reference.revision, on_progress=on_download)
    return replace(
        describe_folder(reference.name, folder, reference.info), revision=folder.name, source=reference.target
    )


def _offline_message(reference: ModelReference) -> tuple[str, str]:
    folder = cache.snapshot_folder(reference.target, reference.revision)
    word = reference.name if not reference.revision else f"{reference.name}@{reference.revision}"
    if folder is not None and (folder / "model_index.json").is_file():
        lacking = ", ".join(missing_files(folder)[:3])
        said = f"The model {word} is incomplete on this computer (missing {lacking}) and the network is off."
    else:
        said = f"The model {word} is not on this computer and the network is off (--offline or HF_HUB_OFFLINE)."
    if reference.info is None and folder is None:
        return said, f"Run `artgen models pull {word}` once with a network. {similar_names_hint(reference.target)}"
    return said, f"Run `artgen models pull {word}` once with a network, or choose a model of `artgen models list`."
