"""Downloads from the Hugging Face hub into its ordinary cache, so that other tools share them.

Prints nothing: progress and notes go to callbacks. The connection, and nothing else of huggingface_hub, is opened
inside `pull`.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from artgen.errors import ModelUnavailableError, OutputError
from artgen.registry.hub import cache, client, download
from artgen.registry.hub.download import OnProgress
from artgen.registry.hub.select_files import select_files

__all__ = ["OnNote", "OnProgress", "pull", "pull_files"]

OnNote = Callable[[str], None]


def pull(
    repo: str,
    *,
    revision: str | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
    on_note: OnNote | None = None,
) -> Path:
    """Download a model, continuing what earlier runs began; returns the folder of its snapshot.

    Args:
        repo: hub id, `owner/name`.
        revision: branch, tag or commit; the main branch when None.
        force: read what is here again, and download anew what does not have the hash it should have.
        on_progress: called with (file, bytes done, bytes in all).
        on_note: called with a sentence about a choice that was made.

    Raises:
        ModelUnavailableError: unknown, gated, no diffusers model, or the hub cannot be reached.
        RefusedError: only pickled weights, or a hash that does not match.
        OutputError: not enough disk, or the cache cannot be written.
    """
    if cache.is_offline():
        raise ModelUnavailableError("The network is off (HF_HUB_OFFLINE).", f"Unset it to download {repo}.")
    listing = client.fetch_listing(repo, revision)
    index = _download_index(listing, force)
    choice = select_files(repo, listing.files, index)
    for note in choice.notes:
        if on_note:
            on_note(note)
    download.check_disk_space(download.missing_bytes(listing, choice.files))
    for file in sorted(choice.files, key=lambda file: file.size):
        download.download(listing, file, force=force, on_progress=on_progress)
    _write_ref(listing, revision)
    return cache.repository_folder(repo) / "snapshots" / listing.commit


def pull_files(repo: str, file_names: Sequence[str], *, on_progress: OnProgress | None = None) -> Path:
    """Download some files of a repository's main branch; returns the folder of its snapshot.

    Raises:
        ModelUnavailableError: unknown, gated, a file that it does not have, or the hub cannot be reached.
        RefusedError: a hash that does not match.
        OutputError: not enough disk, or the cache cannot be written.
    """
    listing = client.fetch_listing(repo, None)
    files = tuple(file for file in listing.files if file.name in file_names)
    if missing := sorted(set(file_names) - {file.name for file in files}):
        raise ModelUnavailableError(f"{repo} has no {' and no '.join(missing)}.", "Look at its page on the hub.")
    download.check_disk_space(download.missing_bytes(listing, files))
    for file in files:
        download.download(listing, file, on_progress=on_progress)
    _write_ref(listing, None)
    return cache.repository_folder(repo) / "snapshots" / listing.commit


def _download_index(listing: client.RepoListing, force: bool) -> dict[str, Any]:
    """The model's `model_index.json`, fetched."""
    file = next((file for file in listing.files if file.name == "model_index.json"), None)
    if file is None:
        single = [f.name for f in listing.files if f.name.endswith(".safetensors") and "/" not in f.name]
        hint = f"It has {single[0]}: download that file and pass its path." if single else "Look for another copy."
        raise ModelUnavailableError(f"{listing.repo} is not a diffusers model: it has no model_index.json.", hint)
    path = download.download(listing, file, force=force)
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        index = None
    if not isinstance(index, dict):
        raise ModelUnavailableError(
            f"The model_index.json of {listing.repo} is no JSON object.", "Look for another copy."
        )
    return index


def _write_ref(listing: client.RepoListing, revision: str | None) -> None:
    """Write `refs/REVISION`, last, so that a name never points at a snapshot that is not complete."""
    name = revision or "main"
    if name == listing.commit:
        return
    path = cache.repository_folder(listing.repo) / "refs" / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.artgen")
        temporary.write_text(listing.commit, encoding="ascii")
        temporary.replace(path)
    except OSError as problem:
        raise OutputError(f"{path} cannot be written: {problem.strerror}.", "Check the rights of the cache.") from None
