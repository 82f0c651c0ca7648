"""Download models from the Hugging Face hub into the cache that other tools share.

This package prints nothing: callbacks receive progress and notes. huggingface_hub is imported inside the functions that
need it.
"""

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from artgen.errors import ModelUnavailableError
from artgen.registry.gguf_header import is_complete_header
from artgen.registry.hub import cache, client, download, explain
from artgen.registry.hub.client import RemoteFile, RepoListing
from artgen.registry.hub.named_files import MissingFilesError, pull_files, select_named
from artgen.registry.hub.ranges import OnProgress
from artgen.registry.hub.select_files import (
    FileSelection,
    is_configuration,
    is_weights,
    omit_components,
    select_component_weights,
    select_files,
)
from artgen.system.cache_folders import use_cache_folder
from artgen.system.counts import counted, format_bytes
from artgen.system.external_data import parse_json, read_limited
from artgen.system.files import wrap_write_errors

__all__ = [
    "MissingFilesError",
    "OnProgress",
    "PendingDownload",
    "fetch_component",
    "fetch_configs",
    "finish",
    "pull",
    "pull_files",
    "pull_vae",
]

MAX_INDEX_BYTES = 1 << 20
MAX_INDEX_ENTRIES = 100
MAX_HEADER_BYTES = 10 << 20
"""Largest accepted header of a safetensors file; see `safetensors_header`."""


@dataclass(frozen=True)
class PendingDownload:
    """Represent a model of which the index and the configurations are in the cache.

    Attributes:
        listing: files of the repository.
        revision: branch, tag or commit as requested; None is the main branch.
        selection: files that artgen needs.
        folder: snapshot; no ref points to it before the download is complete.
    """

    listing: RepoListing
    revision: str | None
    selection: FileSelection
    folder: Path

    @property
    def num_bytes(self) -> int:
        """Return the total size of the needed files."""
        return sum(file.size for file in self.selection.files)

    def without_weights(self, folders: tuple[str, ...]) -> "PendingDownload":
        """Return the download without the weights of components, whose folders are given as `transformer/`."""
        files = self.selection.files
        needed = tuple(file for file in files if not (file.name.startswith(folders) and is_weights(file.name)))
        return replace(self, selection=replace(self.selection, files=needed))

    def size_note(self) -> str:
        """Return a sentence about the total size of the download; empty if all files are in the cache."""
        missing = download.missing_bytes(self.listing, self.selection.files)
        if not missing:
            return ""
        files = counted(len(self.selection.files), "file")
        is_started = missing < sum(file.size for file in self.selection.files if not is_configuration(file))
        cached = f", of which {format_bytes(self.num_bytes - missing)} are in the cache" if is_started else ""
        return f"Downloading '{self.listing.repo}': {format_bytes(self.num_bytes)} in {files}{cached}."


def fetch_configs(
    repo: str,
    revision: str | None = None,
    *,
    file: str | None = None,
    check_index: Callable[[Mapping[str, Any]], None] | None = None,
    force: bool = False,
    omitted: Collection[str] = (),
) -> PendingDownload:
    """Download the index and the configurations of a model, and select its other files.

    Args:
        repo: hub id, `owner/name`.
        revision: branch, tag or commit; None is the main branch.
        file: name of a checkpoint, if the repository is not in diffusers' layout.
        check_index: raises an error if `model_index.json` describes a model that cannot be used.
        force: verify the hashes of the cached files.
        omitted: components that are not selected.

    Raises:
        ArtgenError: see `pull`; or an error of `check_index`.
    """
    if cache.is_offline():
        raise ModelUnavailableError(
            f"Cannot download '{repo}': the network is disabled (HF_HUB_OFFLINE).", "Unset HF_HUB_OFFLINE."
        )
    listing = client.fetch_listing(repo, revision)
    folder = cache.repository_folder(repo) / "snapshots" / listing.commit
    if file is not None:
        selection = FileSelection(tuple(select_named(listing, [file])), ())
        return PendingDownload(listing, revision, selection, folder)
    index = _download_index(listing, force)
    if check_index is not None:
        check_index(index)
    selection = select_files(repo, listing.files, omit_components(index, omitted))
    configs = [each for each in selection.files if is_configuration(each)]
    download.check_disk_space(listing, configs)
    for config in configs:
        download.download(listing, config, force=force)
    return PendingDownload(listing, revision, selection, folder)


def fetch_header(pending: PendingDownload) -> Path | None:
    """Download the header of the only file of a download; return None for a file that is neither safetensors nor GGUF.

    The returned file is in artgen's cache. It has the size of the complete file, and no data after the header.

    Raises:
        ModelUnavailableError: the hub cannot be reached.
        OutputError: the cache cannot be written.
    """
    (file,) = pending.selection.files
    if not file.name.endswith((".safetensors", ".gguf")):
        return None
    path = use_cache_folder("headers") / file.etag / PurePosixPath(file.name).name

    def read_start() -> bytes:
        start, checked_bytes = b"", 0
        with client.stream(pending.listing, file, 0) as (_, blocks):
            for block in blocks:
                start += block
                if file.name.endswith(".gguf"):
                    if len(start) > 2 * checked_bytes:  # a GGUF header does not contain its length
                        checked_bytes = len(start)
                        if is_complete_header(start, file.size):
                            return start
                    continue
                length = min(int.from_bytes(start[:8], "little"), MAX_HEADER_BYTES) + 8
                if len(start) >= max(length, 8):
                    return start[:length]
        return start

    if not path.is_file() or path.stat().st_size != file.size:
        start = client.retry(read_start, client.hub_server())
        with wrap_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            with path.open("xb") as out:
                out.write(start)
                out.truncate(file.size)
    return path


def finish(pending: PendingDownload, *, force: bool = False, on_progress: OnProgress | None = None) -> Path:
    """Download the other files of a model, the smallest first; return the folder of its snapshot.

    Raises:
        ArtgenError: see `pull`.
    """
    files = sorted(pending.selection.files, key=lambda file: file.size)
    return download.download_files(pending.listing, files, pending.revision, force=force, on_progress=on_progress)


def pull(
    repo: str,
    *,
    revision: str | None = None,
    file: str | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
    omitted: Collection[str] = (),
) -> Path:
    """Download a model and resume earlier downloads of it; return the folder of its snapshot.

    Args:
        repo: hub id, `owner/name`.
        revision: branch, tag or commit; None is the main branch.
        file: name of a checkpoint, if the repository is not in diffusers' layout.
        force: verify the hashes of the cached files, and download the damaged ones again.
        on_progress: called with (file, bytes done, total bytes).
        omitted: components that are not downloaded.

    Raises:
        ModelUnavailableError: the repository is unknown, gated or not a diffusers model, or the hub cannot be reached.
        RefusedError: the weights are pickles, a hash does not match, or a folder of the cache is a symbolic link.
        UsageError: the revision or a network setting is not valid.
        OutputError: the disk has too little space, or the cache cannot be written.
    """
    pending = fetch_configs(repo, revision, file=file, force=force, omitted=omitted)
    return finish(pending, force=force, on_progress=on_progress)


def pull_vae(
    repo: str,
    *,
    revision: str | None = None,
    on_progress: OnProgress | None = None,
    on_note: Callable[[str], None] | None = None,
    check_config: Callable[[Path], object],
    weights: bool = True,
) -> Path:
    """Download the VAE of a repository, from its folder `vae` or from its root; return the folder of the snapshot.

    Args:
        repo: hub id, `owner/name`.
        revision: branch, tag or commit; None is the main branch.
        on_progress: called with (file, bytes done, total bytes).
        on_note: called with a sentence about the size of the download.
        check_config: called with the downloaded `config.json` before the weights are downloaded.
        weights: download the weights too, not only the configuration.

    Raises:
        ModelUnavailableError, RefusedError, OutputError: see `fetch_component`.
    """
    pending = fetch_component(repo, "vae", "VAE", revision=revision, check_config=check_config)
    if not weights:
        return pending.folder
    if on_note and (note := pending.size_note()):
        on_note(note)
    return finish(pending, on_progress=on_progress)


def fetch_component(
    repo: str, component: str, title: str, *, revision: str | None = None, check_config: Callable[[Path], object]
) -> PendingDownload:
    """Download the configuration of one component, and return the download of its weights, which `finish` completes.

    Args:
        repo: hub id, `owner/name`.
        component: folder of the component in the repository; without it, the files are in the root.
        title: name of the component for messages, such as VAE.
        revision: branch, tag or commit; None is the main branch.
        check_config: called with the downloaded `config.json`.

    Raises:
        ModelUnavailableError: the repository is unknown, gated or lacks the component, or the hub cannot be reached.
        RefusedError: the weights are pickles, a hash does not match, or a folder of the cache is a symbolic link.
        OutputError: the disk has too little space, or the cache cannot be written.
    """
    listing = client.fetch_listing(repo, revision)
    folders: dict[str, dict[str, RemoteFile]] = {component: {}, "": {}}
    for file in listing.files:
        folder, _, name = file.name.rpartition("/")
        if folder in folders:
            folders[folder][name] = file
    files = next((files for files in folders.values() if "config.json" in files), None)
    if files is None or files["config.json"].size > MAX_INDEX_BYTES:
        single = [name for name in folders[""] if name.endswith(".safetensors")]
        hint = f"It has '{single[0]}': download that file and pass its path." if single else "Use another repository."
        raise ModelUnavailableError(f"'{repo}' has no {title}: it has no config.json of a {title}.", hint)
    check_config(download.download(listing, files["config.json"]))
    selected = (files["config.json"], *select_component_weights(repo, component, files)[1])
    snapshot = cache.repository_folder(repo) / "snapshots" / listing.commit
    return PendingDownload(listing, revision, FileSelection(selected, ()), snapshot)


def _download_index(listing: RepoListing, force: bool) -> dict[str, Any]:
    """Download and parse the model's `model_index.json`."""
    files = {file.name: file for file in listing.files}
    if "model_index.json" not in files:
        raise explain.not_a_pipeline_error(listing)
    index = None
    if files["model_index.json"].size <= MAX_INDEX_BYTES:
        path = download.download(listing, files["model_index.json"], force=force)
        with contextlib.suppress(ValueError):
            index = parse_json(read_limited(path, MAX_INDEX_BYTES))
    if not isinstance(index, dict) or len(index) > MAX_INDEX_ENTRIES:
        raise ModelUnavailableError(
            f"The model_index.json of '{listing.repo}' is not a small JSON object.", "Use another repository."
        )
    return index
