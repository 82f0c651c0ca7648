"""Resolve the name of a model to files on the disk; download hub models if necessary and allowed."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from artgen.errors import ArtgenError, ModelUnavailableError
from artgen.registry import diffusers_folder, hub, location_index
from artgen.registry.describe import describe_folder
from artgen.registry.diffusers_folder import missing_files
from artgen.registry.hub import cache
from artgen.registry.references import ModelReference, parse_reference, similar_names_hint
from artgen.registry.resolved import ResolvedModel
from artgen.registry.single_file import describe_file
from artgen.registry.single_file_configs import single_file_config

DENOISERS = ("unet/", "transformer/")
"""Folders whose weights a model that provides the other components does not need."""
OnDownload = Callable[[str, int, int], None]


def resolve_model(name: str, *, offline: bool = False, on_download: OnDownload | None = None) -> ResolvedModel:
    """Find a model on the disk; download an incomplete or missing hub model unless `offline` is set.

    A complete snapshot in the cache, a folder, a file and a bundled model need no network.

    Args:
        name: alias, hub id with or without `@revision`, folder, or safetensors file.
        offline: do not use the network; `HF_HUB_OFFLINE=1` has the same effect.
        on_download: called with (file, bytes done, total bytes) while downloading.

    Raises:
        ModelUnavailableError: the model is unknown, incomplete or gated, or the network is disabled.
        RefusedError: the model has pickles or code, or a hash does not match.
        InputFileError: a file is damaged.
        OutputError: the disk is full.
    """
    return resolve_reference(parse_reference(name), offline=offline, on_download=on_download)


def resolve_reference(
    reference: ModelReference,
    *,
    offline: bool = False,
    on_download: OnDownload | None = None,
    omitted: tuple[str, ...] = (),
) -> ResolvedModel:
    """Find an interpreted model on the disk, or download it. `resolve_model` explains the other arguments and errors.

    Args:
        reference: interpreted name.
        offline, on_download: see `resolve_model`.
        omitted: components that are not used, and not downloaded.

    Raises:
        UsageError: the model has no component of `omitted`.
    """
    if reference.kind == "file":
        model = _describe_file(reference, Path(reference.target), offline, on_download)
        if omitted:
            diffusers_folder.read_model_index(single_file_config(model), omitted)
        return replace(model, omitted=omitted)
    if reference.kind == "hub":
        return _resolve_hub_model(reference, offline or cache.is_offline(), on_download, omitted)
    folder = Path(reference.target)
    if reference.kind == "bundled" and not (folder / "model_index.json").is_file():
        raise ModelUnavailableError(
            f"The bundled model {reference.name!r} is not part of this installation.",
            "Install artgen again, or choose another model with --model (`artgen models list`).",
        )
    return describe_folder(reference.name, folder, reference.info, omitted)


def _describe_file(
    reference: ModelReference, path: Path, offline: bool, on_download: OnDownload | None
) -> ResolvedModel:
    return describe_file(
        reference.name,
        path,
        reference.info,
        find_base=lambda name: find_components(name, offline=offline, on_download=on_download),
    )


def find_components(name: str, *, offline: bool = False, on_download: OnDownload | None = None) -> tuple[str, Path]:
    """Find or download a model of which only the components beside the denoiser are needed.

    Args:
        name: alias, hub id with or without `@revision`, or folder.
        offline, on_download: see `resolve_model`.

    Returns:
        The name to record, with the commit of a hub model, and the folder. The denoiser can lack its weights.

    Raises:
        ModelUnavailableError, RefusedError, OutputError: see `resolve_model`.
    """
    reference = parse_reference(name)
    folder: Path | None = Path(reference.target)
    if reference.kind == "file":
        raise ModelUnavailableError(f"'{name}' is a single file.", "Name a model folder or a hub id.")
    if reference.kind != "hub":
        return Path(reference.target).name, Path(reference.target)
    folder = cache.snapshot_folder(reference.target, reference.revision)
    if folder is None or not (folder / "model_index.json").is_file() or _missing_without_denoiser(folder):
        if offline or cache.is_offline():
            raise _offline_error(reference)
        folder = hub.pull(reference.target, revision=reference.revision, on_progress=on_download, without=DENOISERS)
    return f"{reference.target}@{folder.name}", folder


def _missing_without_denoiser(folder: Path) -> list[str]:
    """Return the missing files of a model folder, except the weights of its denoiser."""
    return [name for name in missing_files(folder) if not (name.startswith(DENOISERS) and "safetensors" in name)]


def find_models_by_hash(model_hash: object) -> list[ResolvedModel]:
    """Return the models of the index of locations that still have a hash, the newest first.

    Args:
        model_hash: SHA-256 of the weights (see `ResolvedModel.model_hash`), 64 lower-case hex digits.
    """
    found = []
    for path in location_index.locations(model_hash):
        with contextlib.suppress(ArtgenError, OSError):
            model = resolve_model(str(path), offline=True)
            if model.model_hash() == model_hash:
                found.append(model)
    return found


def find_local_model(name: str) -> ResolvedModel | None:
    """Resolve a model without the network; return None for a hub or bundled model that is not completely on the disk.

    Raises:
        ModelUnavailableError, RefusedError, InputFileError: see `resolve_model`.
    """
    reference = parse_reference(name)
    if reference.kind == "hub" and not complete_snapshot(reference):
        return None
    if reference.kind == "bundled" and not (Path(reference.target) / "model_index.json").is_file():
        return None
    return resolve_model(name, offline=True)


def complete_snapshot(reference: ModelReference, omitted: tuple[str, ...] = ()) -> Path | None:
    """Return the folder of a hub model's snapshot; None if the snapshot or one of its required files is missing."""
    folder = cache.snapshot_folder(reference.target, reference.revision)
    if folder is not None and reference.file:
        return folder if (folder / reference.file).is_file() else None
    if folder is None or not (folder / "model_index.json").is_file() or missing_files(folder, omitted):
        return None
    return folder


def _resolve_hub_model(
    reference: ModelReference, offline: bool, on_download: OnDownload | None, omitted: tuple[str, ...]
) -> ResolvedModel:
    folder = complete_snapshot(reference, omitted)
    if folder is None:
        if offline:
            raise _offline_error(reference)
        folder = hub.pull(
            reference.target,
            revision=reference.revision,
            file=reference.file,
            on_progress=on_download,
            omitted=omitted,
        )
    if reference.file:
        model = _describe_file(reference, folder / reference.file, offline, on_download)
    else:
        model = describe_folder(reference.name, folder, reference.info, omitted)
    return replace(model, revision=folder.name, source=reference.target)


def _offline_error(reference: ModelReference) -> ModelUnavailableError:
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
