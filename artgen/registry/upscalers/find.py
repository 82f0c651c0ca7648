"""Find an upscaling network: a short name, a hub id, a folder, a file, or a name in the model folders."""

import difflib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from artgen.errors import ModelUnavailableError
from artgen.events import Downloading, Listener, Notice, no_op
from artgen.registry import hashes, hub, model_folders
from artgen.registry.hub import cache, client
from artgen.registry.hub.names import HUB_ID_PATTERN, check_revision
from artgen.registry.local_parts import find_part
from artgen.registry.model_configs import read_config
from artgen.registry.upscalers import folders
from artgen.registry.upscalers.layers import read_layers
from artgen.registry.upscalers.upscaler import HUB_FILE, SWIN2SR, Upscaler, UpscalerEntry, find_entry, upscaler_entries
from artgen.spec.fields import describe_value

BUNDLED_FILE = "model.safetensors"


@dataclass(frozen=True)
class _Search:
    """Store the name of a network on the hub, and how it is searched."""

    name: str
    repo: str
    file: str
    revision: str | None
    entry: UpscalerEntry | None
    offline: bool
    download: bool
    force: bool
    listener: Listener


def resolve_upscaler(
    name: str, *, offline: bool = False, download: bool = True, force: bool = False, listener: Listener = no_op
) -> Upscaler:
    """Find an upscaling network on the disk, or download it.

    Args:
        name: short name, hub id (OWNER/NAME[@REVISION]), file on the hub (OWNER/NAME/FILE.safetensors), folder,
            .safetensors file, or name in the model folders.
        offline: do not use the network.
        download: download missing weights; else the result describes them.
        force: verify the hashes of the cached files of a hub repository, and download damaged files again.
        listener: receives the events of downloads.

    Raises:
        InputFileError: a file is damaged, or is not an upscaler that artgen supports.
        ModelUnavailableError: the network is unknown or not supported, or it is not on the disk and the network is
            disabled.
        RefusedError: the weights are a pickle, or a hash does not match.
    """
    entry = find_entry(name)
    if entry is not None and entry.bundled_folder is not None:
        found = read_upscaler(name, entry.bundled_folder / BUNDLED_FILE)
        return replace(found, source=entry.source, license=entry.license)
    if entry is None and (path := find_part("upscaler", name)):
        return read_upscaler(name, path)
    source, _, revision = (entry.source if entry else name).partition("@")
    check_revision(revision or None)
    repo, file = match.groups() if (match := HUB_FILE.fullmatch(source)) else (source, "")
    if not HUB_ID_PATTERN.fullmatch(repo):
        raise _unknown_error(name)
    search = _Search(
        name, repo, file, revision or None, entry or find_entry(source), offline, download, force, listener
    )  # fmt: skip
    return _hub_upscaler(search)


def read_upscaler(name: str, path: Path) -> Upscaler:
    """Return the network of a folder or a file.

    Raises:
        InputFileError, ModelUnavailableError, RefusedError: see `resolve_upscaler`.
    """
    if path.is_dir():
        return folders.read_folder(name, path)
    layers = read_layers(path)
    return Upscaler(
        name,
        path,
        layers.class_name,
        layers.scale,
        files=(path,),
        config=layers.config,
        sha256=hashes.file_hash(path),
    )


def _hub_upscaler(search: _Search) -> Upscaler:
    entry = search.entry
    snapshot = cache.snapshot_folder(search.repo, search.revision)
    if snapshot is None or search.force or not _is_complete(snapshot, search.file):
        if search.offline or cache.is_offline():
            raise ModelUnavailableError(
                f"The upscaler '{search.name}' is not on this computer, and the network is disabled (--offline or "
                "HF_HUB_OFFLINE).",
                f"Run `artgen models pull {search.name}` once with a network."
                if entry
                else "Run the command once with a network.",
            )
        if entry and entry.download_size and not search.download:
            return _preview(search, entry.class_name, entry.scale, entry.download_size)
        pending, preview = _fetch_preview(search)
        if not search.download:
            return preview
        if note := pending.size_note():
            search.listener(Notice(note))
        snapshot = hub.finish(
            pending,
            force=search.force,
            on_progress=lambda file, done, total: search.listener(Downloading(file, done, total)),
        )
    found = read_upscaler(search.name, snapshot / search.file)
    _check_entry(search, found.class_name, found.scale)
    return replace(
        found, source=search.repo, revision=snapshot.name, license=entry.license if entry else ""
    )  # fmt: skip


def _is_complete(snapshot: Path, file: str) -> bool:
    return (snapshot / file).is_file() if file else folders.is_complete(snapshot)


def _preview(search: _Search, class_name: str, scale: int, num_bytes: int, **values: Any) -> Upscaler:
    """Return the description of a network whose weights are not on the disk."""
    license_name = search.entry.license if search.entry else ""
    return Upscaler(
        search.name,
        Path(search.file),
        class_name,
        scale,
        source=search.repo,
        license=license_name,
        download_bytes=num_bytes,
        **values,
    )


def _fetch_preview(search: _Search) -> tuple[hub.PendingDownload, Upscaler]:
    """Download the configuration of a network or the header of its file, and check it."""
    repo, revision = search.repo, search.revision
    found: list[tuple[str, int]] = []

    def check_config(path: Path) -> None:
        found.append((SWIN2SR, folders.check_swin2sr_config(search.name, read_config(path))))

    def check_index(index: Any) -> None:
        class_name = folders.check_pipeline_index(search.name, index)
        found.append((class_name, folders.PIPELINE_SCALES[class_name]))

    if search.file:
        pending = hub.fetch_configs(repo, revision, file=search.file)
        header = hub.fetch_header(pending)
        if header is None:
            raise _unknown_error(search.name)
        layers = read_layers(header)
        found.append((layers.class_name, layers.scale))
    elif any(file.name == "model_index.json" for file in client.fetch_listing(repo, revision).files):
        pending = hub.fetch_configs(repo, revision, check_index=check_index)
    else:
        pending = hub.fetch_component(repo, "", "upscaler", revision=revision, check_config=check_config)
    _check_entry(search, *found[0])
    return pending, _preview(search, *found[0], pending.num_bytes, revision=pending.listing.commit)


def _check_entry(search: _Search, class_name: str, scale: int) -> None:
    """Check that the repository of an entry of the table contains the network that the table describes."""
    entry = search.entry
    if entry is not None and (class_name, scale) != (entry.class_name, entry.scale):
        raise ModelUnavailableError(
            f"Cannot use the upscaler '{search.name}': '{search.repo}' contains a {class_name} with the scale {scale}, "
            f"not a {entry.class_name} with the scale {entry.scale}.",
            f"Use another network: --upscaler {' or '.join(name for name in upscaler_entries() if name != entry.name)}",
        )


def _unknown_error(name: str) -> ModelUnavailableError:
    similar = difflib.get_close_matches(name, upscaler_entries(), n=3)
    hint = f"Did you mean {' or '.join(similar)}?" if similar else model_folders.similar_names_hint("upscaler", name)
    names = ", ".join(upscaler_entries())
    return ModelUnavailableError(
        f"Cannot find the upscaler {describe_value(name)}.",
        hint or f"Use {names}, a hub id, a folder, a .safetensors file, or a name in your model_folders.",
        settings=("upscale_model",),
    )
