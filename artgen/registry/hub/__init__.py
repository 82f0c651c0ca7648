"""Download models from the Hugging Face hub into the cache that other tools share.

This package prints nothing: callbacks receive progress and notes. huggingface_hub is imported inside the functions that
need it.
"""

import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from artgen.errors import ModelUnavailableError
from artgen.registry.hub import cache, client, download
from artgen.registry.hub.client import RemoteFile, RepoListing
from artgen.registry.hub.ranges import OnProgress
from artgen.registry.hub.select_files import is_weights, omit_components, select_component_weights, select_files
from artgen.system.external_data import parse_json, read_limited
from artgen.system.files import write_atomically

__all__ = ["OnNote", "OnProgress", "pull", "pull_files", "pull_vae"]

MAX_INDEX_BYTES = 1 << 20
MAX_INDEX_ENTRIES = 100
OnNote = Callable[[str], None]


def pull(
    repo: str,
    *,
    revision: str | None = None,
    file: str | None = None,
    force: bool = False,
    without: tuple[str, ...] = (),
    on_progress: OnProgress | None = None,
    on_note: OnNote | None = None,
    omitted: Collection[str] = (),
) -> Path:
    """Download a model and resume earlier downloads of it; return the folder of its snapshot.

    Args:
        repo: hub id, `owner/name`.
        revision: branch, tag or commit; None is the main branch.
        file: name of a checkpoint, if the repository is not in diffusers' layout.
        force: verify the hashes of the cached files, and download the damaged ones again.
        without: folders of components, such as `transformer/`, whose weights are not needed.
        on_progress: called with (file, bytes done, total bytes).
        on_note: called with a sentence for the user.
        omitted: components that are not downloaded.

    Raises:
        ModelUnavailableError: the repository is unknown, gated or not a diffusers model, or the hub cannot be reached.
        RefusedError: the weights are pickles, a hash does not match, or a folder of the cache is a symbolic link.
        UsageError: the revision or a network setting is not valid.
        OutputError: the disk has too little space, or the cache cannot be written.
    """
    if cache.is_offline():
        raise ModelUnavailableError(
            f"Cannot download '{repo}': the network is disabled (HF_HUB_OFFLINE).", "Unset HF_HUB_OFFLINE."
        )
    listing = client.fetch_listing(repo, revision)
    if file is not None:
        return _download_files(listing, _named_files(listing, [file]), revision, force=force, on_progress=on_progress)
    index = omit_components(_download_index(listing, force), omitted)
    selection = select_files(repo, listing.files, index)
    if on_note:
        for note in selection.notes:
            on_note(note)
    needed = [file for file in selection.files if not (file.name.startswith(without) and is_weights(file.name))]
    files = sorted(needed, key=lambda file: file.size)
    return _download_files(listing, files, revision, force=force, on_progress=on_progress)


def pull_files(repo: str, file_names: Sequence[str], *, on_progress: OnProgress | None = None) -> Path:
    """Download some files of a repository's main branch; return the folder of its snapshot.

    Raises:
        ModelUnavailableError: the repository is unknown or gated, a file is missing, or the hub cannot be reached.
        RefusedError: a hash does not match.
        OutputError: the disk has too little space, or the cache cannot be written.
    """
    listing = client.fetch_listing(repo, None)
    return _download_files(listing, _named_files(listing, file_names), None, force=False, on_progress=on_progress)


def _named_files(listing: RepoListing, names: Sequence[str]) -> list[RemoteFile]:
    files = [file for file in listing.files if file.name in names]
    if missing := sorted(set(names) - {file.name for file in files}):
        raise ModelUnavailableError(
            f"'{listing.repo}' does not contain {' and '.join(missing)}.", "See its page on the hub."
        )
    return files


def pull_vae(
    repo: str,
    *,
    revision: str | None = None,
    on_progress: OnProgress | None = None,
    check_config: Callable[[Path], object],
) -> Path:
    """Download the VAE of a repository, from its folder `vae` or from its root; return the folder of the snapshot.

    Args:
        repo: hub id, `owner/name`.
        revision: branch, tag or commit; None is the main branch.
        on_progress: called with (file, bytes done, total bytes).
        check_config: called with the downloaded `config.json` before the weights are downloaded.

    Raises:
        ModelUnavailableError: the repository is unknown, gated or has no VAE, or the hub cannot be reached.
        RefusedError: the weights are pickles, a hash does not match, or a folder of the cache is a symbolic link.
        OutputError: the disk has too little space, or the cache cannot be written.
    """
    listing = client.fetch_listing(repo, revision)
    folders: dict[str, dict[str, RemoteFile]] = {"vae": {}, "": {}}
    for file in listing.files:
        folder, _, name = file.name.rpartition("/")
        if folder in folders:
            folders[folder][name] = file
    files = next((files for files in folders.values() if "config.json" in files), None)
    if files is None or files["config.json"].size > MAX_INDEX_BYTES:
        single = [name for name in folders[""] if name.endswith(".safetensors")]
        hint = f"It has '{single[0]}': download that file and pass its path." if single else "Use another repository."
        raise ModelUnavailableError(f"'{repo}' has no VAE: it has no config.json of a VAE.", hint)
    check_config(download.download(listing, files["config.json"]))
    weights = select_component_weights(repo, "vae", files)[1]
    return _download_files(listing, (files["config.json"], *weights), revision, force=False, on_progress=on_progress)


def _download_files(
    listing: RepoListing,
    files: Iterable[RemoteFile],
    revision: str | None,
    *,
    force: bool,
    on_progress: OnProgress | None,
) -> Path:
    """Download files; write `refs/REVISION` last, so that a ref never points to an incomplete snapshot."""
    files = tuple(files)
    download.check_disk_space(listing, files)
    for file in files:
        download.download(listing, file, force=force, on_progress=on_progress)
    root, ref = cache.repository_folder(listing.repo), revision or "main"
    if ref != listing.commit:
        cache.reject_links(root, (root / "refs" / ref).parent)
        write_atomically(root / "refs" / ref, listing.commit)
    return root / "snapshots" / listing.commit


def _download_index(listing: RepoListing, force: bool) -> dict[str, Any]:
    """Download and parse the model's `model_index.json`."""
    files = {file.name: file for file in listing.files}
    if "model_index.json" not in files:
        single = [name for name in files if name.endswith(".safetensors") and "/" not in name]
        hint = f"It has '{single[0]}': download that file and pass its path." if single else "Use another repository."
        raise ModelUnavailableError(f"'{listing.repo}' is not a diffusers model: it has no model_index.json.", hint)
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
