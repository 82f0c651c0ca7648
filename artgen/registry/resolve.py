"""Resolve the name of a model to files on the disk; download hub models if necessary and allowed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from artgen.errors import InputFileError, ModelUnavailableError
from artgen.events import Listener, no_op
from artgen.registry import config_checks, connected_prior, diffusers_folder, hashes, hub, location_index
from artgen.registry.describe import describe_folder
from artgen.registry.diffusers_folder import missing_files
from artgen.registry.hub import cache
from artgen.registry.hub_snapshots import (
    DENOISERS,
    complete_snapshot,
    fetch_checked_configs,
    finish_download,
    missing_without_denoiser,
    offline_error,
)
from artgen.registry.references import ModelReference, parse_reference
from artgen.registry.resolved import RemoteWeights, ResolvedModel
from artgen.registry.single_file import check_gguf_package, describe_file
from artgen.registry.single_file_configs import (
    SHIPPED_FAMILIES,
    build_config_folder,
    shipped_config,
    single_file_config,
)
from artgen.registry.verify import check_model_files

Check = Callable[[ResolvedModel], None]


def resolve_model(
    name: str,
    *,
    offline: bool = False,
    download: bool = True,
    listener: Listener = no_op,
) -> ResolvedModel:
    """Find a model on the disk; download an incomplete or missing hub model unless `offline` is set.

    A complete snapshot in the cache, a folder, a file and a bundled model need no network. Before weights are
    downloaded, the index and the configurations of the model are downloaded and checked.

    Args:
        name: alias, hub id with or without `@revision`, folder, safetensors file, or name in the model folders.
        offline: do not use the network; `HF_HUB_OFFLINE=1` has the same effect.
        download: download the weights; else the result has the attribute `remote` if the weights are not on the disk.
        listener: receives the events of the download.

    Raises:
        ModelUnavailableError: the model is unknown, incomplete or gated, or the network is disabled.
        RefusedError: the model has pickles or code, or a hash does not match.
        InputFileError: a file is damaged.
        OutputError: the disk is full.
    """
    return resolve_reference(parse_reference(name), offline=offline, download=download, listener=listener)


def resolve_usable_model(
    name: str, check: Check, *, offline: bool = False, download: bool = True, listener: Listener = no_op
) -> ResolvedModel:
    """Find or download a model, and check its files and its use. `resolve_model` explains the other arguments.

    Args:
        name: see `resolve_model`.
        check: raises an error if the model cannot be used; called before weights are downloaded, and for the result.
        offline, download, listener: see `resolve_model`.

    Raises:
        ArtgenError: see `resolve_model` and `check_model_files`; or an error of `check`.
    """
    reference = parse_reference(name)
    model = resolve_reference(reference, offline=offline, download=download, listener=listener, check=check)
    check_model_files(model)
    check(model)
    return model


def resolve_reference(
    reference: ModelReference,
    *,
    offline: bool = False,
    download: bool = True,
    listener: Listener = no_op,
    check: Check | None = None,
    omitted: tuple[str, ...] = (),
) -> ResolvedModel:
    """Find an interpreted model on the disk, or download it. `resolve_model` explains the other arguments and errors.

    Args:
        reference: interpreted name.
        offline, download, listener: see `resolve_model`.
        check: raises an error if the model cannot be used; called before weights are downloaded, and not called for a
            model on the disk.
        omitted: components that are not used, and not downloaded.

    Raises:
        UsageError: the model has no component of `omitted`.
    """
    if reference.kind == "file":
        model = _describe_file(reference, Path(reference.target), offline, download, listener)
        if omitted:
            diffusers_folder.read_model_index(single_file_config(model), omitted)
        return replace(model, omitted=omitted)
    if reference.kind == "hub":
        folder = complete_snapshot(reference, omitted)
        if folder is None:
            if offline or cache.is_offline():
                _check_cached_configs(reference, omitted)
                raise offline_error(reference)
            pending = fetch_checked_configs(reference, omitted=omitted)
            preview = _describe_pending(reference, pending, omitted)
            if check is not None and preview is not None:
                check(preview)
            if not download and preview is not None:
                return preview
            folder = finish_download(pending, listener)
        if reference.file:
            model = _describe_file(reference, folder / reference.file, offline, download, listener)
            return replace(model, revision=folder.name, source=reference.target)
        model = _describe_snapshot(reference, folder, omitted)
        return _connect_prior(model, reference, offline, download, listener)
    folder = Path(reference.target)
    if reference.kind == "bundled" and not (folder / "model_index.json").is_file():
        raise ModelUnavailableError(
            f"The bundled model {reference.name!r} is not part of this installation.",
            "Install artgen again, or choose another model with --model (`artgen models list`).",
        )
    model = describe_folder(reference.name, folder, reference.info, omitted)
    return _connect_prior(model, reference, offline, download, listener)


def _connect_prior(
    model: ResolvedModel, reference: ModelReference, offline: bool, download: bool, listener: Listener
) -> ResolvedModel:
    """Combine a decoder with its prior, which is downloaded if necessary; return other models unchanged."""
    prior = connected_prior.prior_of(model.path)
    if prior is None:
        return model
    folder = connected_prior.cached_prior(prior)
    if folder is None:
        pending = connected_prior.pending_prior(prior, offline=offline)
        if not download:
            return replace(model, remote=RemoteWeights(pending.num_bytes, 0, ""))
        folder = finish_download(pending, listener)
    combined = connected_prior.combined_folder(model.path, folder)
    found = describe_folder(reference.name, combined, reference.info)
    return replace(found, revision=model.revision, source=model.source)


def _describe_file(
    reference: ModelReference, path: Path, offline: bool, download: bool, listener: Listener
) -> ResolvedModel:
    """Describe a checkpoint; find or download the model that provides the components that it lacks."""
    pending: list[hub.PendingDownload] = []

    def find_base(name: str) -> tuple[str, Path]:
        base = parse_reference(name)
        folder = Path(base.target)
        if base.kind == "file":
            raise ModelUnavailableError(f"'{name}' is a single file.", "Name a model folder or a hub id.")
        if base.kind != "hub":
            return folder.name, folder
        snapshot = cache.snapshot_folder(base.target, base.revision)
        if snapshot is None or not (snapshot / "model_index.json").is_file() or missing_without_denoiser(snapshot):
            if offline or cache.is_offline():
                raise offline_error(base)
            found = fetch_checked_configs(base).without_weights(DENOISERS)
            snapshot = found.folder
            if download:
                finish_download(found, listener)
            else:
                pending.append(found)
        return f"{base.target}@{snapshot.name}", snapshot

    model = describe_file(reference.name, path, reference.info, find_base=find_base)
    if not pending:
        return model
    return replace(model, remote=RemoteWeights(pending[0].num_bytes))


def download_model(reference: ModelReference, *, force: bool = False, listener: Listener = no_op) -> Path:
    """Check the configurations of a hub model, and download it; return the folder of its snapshot.

    Args:
        reference: a hub model.
        force: verify the hashes of the cached files, and download the damaged ones again.
        listener: receives the events of the download.

    Raises:
        ArtgenError: see `resolve_model`.
    """
    pending = fetch_checked_configs(reference, force=force)
    _describe_pending(reference, pending)
    return finish_download(pending, listener, force=force)


def find_models_by_hash(model_hash: object) -> list[ResolvedModel]:
    """Return the models of the index of locations that still have a hash, the newest first.

    Args:
        model_hash: SHA-256 of the weights (see `ResolvedModel.model_hash`), 64 lower-case hex digits.
    """
    return location_index.find_by_hash(
        model_hash, lambda path: resolve_model(str(path), offline=True), ResolvedModel.model_hash
    )


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


def _describe_snapshot(reference: ModelReference, folder: Path, omitted: tuple[str, ...] = ()) -> ResolvedModel:
    model = describe_folder(reference.name, folder, reference.info, omitted)
    return replace(model, revision=folder.name, source=reference.target)


def _describe_pending(
    reference: ModelReference, pending: hub.PendingDownload, omitted: tuple[str, ...] = ()
) -> ResolvedModel | None:
    """Check and describe a model of which only the index and the configurations are on the disk.

    A checkpoint of the catalog has the configurations of its family. Another checkpoint is described from its header.
    Return None for another GGUF file.
    """
    if reference.file:
        return _describe_family(reference, pending, omitted) or _describe_header(reference, pending)
    model = _describe_configs(reference, pending.folder, omitted)
    weights = pending.selection.weights.get(diffusers_folder.denoiser_name(pending.folder), ())
    weights = tuple(file for file in weights if file.name.endswith(".safetensors"))
    is_known = all(file.is_lfs for file in weights)  # else the ETag is not a SHA-256
    remote = RemoteWeights(
        download_bytes=pending.num_bytes,
        denoiser_bytes=sum(file.size for file in weights),
        model_hash=hashes.combined_hash([file.etag for file in weights]) if is_known else "",
    )
    return replace(model, variant=pending.selection.variant, remote=remote)


def _describe_family(
    reference: ModelReference, pending: hub.PendingDownload, omitted: tuple[str, ...]
) -> ResolvedModel | None:
    """Describe a checkpoint of the catalog; return None if artgen has no configurations of its family."""
    family = reference.info.family if reference.info else None
    if family not in SHIPPED_FAMILIES:
        return None
    preview = _describe_snapshot(reference, build_config_folder(family, shipped_config(family)), omitted)
    (file,) = pending.selection.files
    remote = RemoteWeights(pending.num_bytes, file.size, file.etag if file.is_lfs else "")
    return replace(preview, revision=pending.folder.name, remote=remote)


def _describe_header(reference: ModelReference, pending: hub.PendingDownload) -> ResolvedModel | None:
    """Describe a checkpoint on the hub from the first bytes of the file."""
    path = hub.fetch_header(pending)
    if path is None:
        return None
    try:
        model = _describe_file(reference, path, False, False, no_op)
    except InputFileError as error:
        message = error.message.replace(str(path), reference.name)
        raise ModelUnavailableError(message, "Use another file of the repository.") from error
    check_gguf_package(model)
    (file,) = pending.selection.files
    num_bytes = file.size + (model.remote.download_bytes if model.remote else 0)
    remote = RemoteWeights(num_bytes, file.size, file.etag if file.is_lfs else "")
    return replace(model, revision=pending.folder.name, source=reference.target, remote=remote)


def _describe_configs(reference: ModelReference, folder: Path, omitted: tuple[str, ...]) -> ResolvedModel:
    try:
        config_checks.check_configs(folder, name=reference.name, is_complete=False)
        return _describe_snapshot(reference, folder, omitted)
    except InputFileError as error:
        raise ModelUnavailableError(error.message, "Use another copy of the model.") from error


def _check_cached_configs(reference: ModelReference, omitted: tuple[str, ...]) -> None:
    """Check the configurations of an incomplete model in the cache, if all of them are there."""
    folder = cache.snapshot_folder(reference.target, reference.revision) or cache.newest_snapshot(reference.target)
    if reference.file or folder is None or not (folder / "model_index.json").is_file():
        return
    config_checks.check_index(reference.target, diffusers_folder.read_model_index(folder))
    if all(name.endswith(".safetensors") for name in missing_files(folder, omitted)):
        _describe_configs(reference, folder, omitted)
