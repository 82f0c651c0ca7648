"""Locate models in the Hugging Face cache and delete them. Other tools share the cache.

Layout (https://huggingface.co/docs/huggingface_hub/guides/manage-cache): `models--OWNER--NAME/` with `refs/REVISION`
(a commit hash), `snapshots/COMMIT/` (links) and `blobs/ETAG` (contents). Reading needs no import of huggingface_hub,
which takes 0.5 s; its constants have the values at import time.
"""

import logging
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from artgen.errors import ModelUnavailableError, OutputError, RefusedError, UsageError
from artgen.registry.hub.names import COMMIT_PATTERN, is_revision
from artgen.system.external_data import read_optional

_MAX_REF_BYTES = 1000
SHA256_DIGITS = 64
"""Length of the names of the blobs of large files; the names of small files are SHA-1, and shorter."""
_TRUE_VALUES = {"1", "ON", "YES", "TRUE"}


def cache_folder() -> Path:
    """Return the cache folder from the current `HF_HUB_CACHE`, `HF_HOME` and `XDG_CACHE_HOME`.

    Raises:
        UsageError: a variable contains `~NAME` for an unknown user.
    """
    names = {"HF_HUB_CACHE": "", "HUGGINGFACE_HUB_CACHE": "", "HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub"}
    name = next((name for name in names if os.environ.get(name)), "HOME")
    value = os.environ.get(name) if name in names else "~/.cache"
    folder = Path(os.path.expandvars(os.path.expanduser(str(value))))  # noqa: PTH111 - Path.expanduser raises
    if folder.parts[:1] and folder.parts[0].startswith("~"):
        raise UsageError(f"{name} is not valid: the home folder of '{folder.parts[0]}' is unknown.", "Use a full path.")
    return folder / names.get(name, "huggingface/hub")


def is_offline() -> bool:
    """Return whether the user disabled the network: `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`."""
    return any(os.environ.get(name, "").upper() in _TRUE_VALUES for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


@contextmanager
def without_hub_warnings() -> Iterator[None]:
    """Suppress the warnings of huggingface_hub, because artgen reports errors itself."""
    from huggingface_hub.utils import logging as hub_logging

    verbosity = hub_logging.get_verbosity()
    hub_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        hub_logging.set_verbosity(verbosity)


def repository_folder(repo: str) -> Path:
    """Return the folder of a hub repository in the cache; it may not exist."""
    return cache_folder() / f"models--{repo.replace('/', '--')}"


def locks_folder(repo: str) -> Path:
    """Return the folder of a repository's lock files, as huggingface_hub names it."""
    return cache_folder() / ".locks" / repository_folder(repo).name


def cached_repositories() -> Iterator[str]:
    """List the hub models that are in the cache, complete or not, sorted; none if the cache cannot be read."""
    try:
        folder_names = sorted(path.name for path in cache_folder().iterdir())
    except OSError:
        return
    for folder_name in folder_names:
        owner, separator, name = folder_name.removeprefix("models--").partition("--")
        if folder_name.startswith("models--") and separator and "--" not in name:
            yield f"{owner}/{name}"


def resolve_commit(repo: str, revision: str | None) -> str | None:
    """Return the commit hash of a revision at its last download; None if it is not in the cache."""
    root = repository_folder(repo)
    if revision and not is_revision(revision):
        return None
    if revision and COMMIT_PATTERN.fullmatch(revision):
        return revision if _is_folder(root / "snapshots" / revision) else None
    content = read_optional(root / "refs" / (revision or "main"), _MAX_REF_BYTES) or b""
    commit = content.decode("ascii", "replace").strip()
    if COMMIT_PATTERN.fullmatch(commit) and _is_folder(root / "snapshots" / commit):
        return commit
    return _commit_by_prefix(root, revision) if revision else None


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises without permission


def _commit_by_prefix(root: Path, revision: str) -> str | None:
    """Return the only cached commit that starts with `revision`, which has at least 7 digits."""
    if not re.fullmatch(r"[0-9a-f]{7,39}", revision):
        return None
    commits = [path.name for path in (root / "snapshots").glob(f"{revision}*")]
    return commits[0] if len(commits) == 1 else None


def snapshot_folder(repo: str, revision: str | None = None) -> Path | None:
    """Return the folder of a model's snapshot, complete or not; None if it does not exist."""
    commit = resolve_commit(repo, revision)
    return repository_folder(repo) / "snapshots" / commit if commit else None


def newest_snapshot(repo: str) -> Path | None:
    """Return the newest snapshot of a model without a complete download: no ref exists. Else return None."""
    root = repository_folder(repo)
    snapshots = [path for path in (root / "snapshots").glob("*") if _is_folder(path)]
    has_refs = any(path.is_file() for path in (root / "refs").glob("**/*"))
    return max(snapshots, key=lambda path: path.stat().st_mtime) if snapshots and not has_refs else None


def is_diffusers_model(repo: str) -> bool:
    """Return whether a cached repository is an image model in diffusers' layout, of which weights are in the cache.

    The weights can be incomplete. The cache contains only the configurations of a model that was refused.
    """
    root = repository_folder(repo)
    has_weights = any(len(path.name) >= SHA256_DIGITS for path in (root / "blobs").glob("*"))
    return has_weights and any(root.glob("snapshots/*/model_index.json"))


def size_on_disk(repo: str) -> int:
    """Return the bytes that a repository takes in the cache, with partial downloads. Links are not followed."""
    num_bytes = 0
    for folder, _, names in os.walk(repository_folder(repo)):
        for name in names:
            with suppress(OSError):
                status = os.lstat(os.path.join(folder, name))  # noqa: PTH118 - faster than pathlib
                num_bytes += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return num_bytes


def reject_links(root: Path, path: Path) -> None:
    """Check that no folder between a repository's folder and a path in it is a symbolic link, nor the path itself.

    The folder of the repository may be a link, because users move large models to other disks.

    Raises:
        RefusedError: a folder or the path is a link. artgen would write or delete files outside the cache.
    """
    for part in (path, *path.parents):
        if part == root:
            return
        if part.is_symlink():
            raise RefusedError(f"Cannot use the model cache: '{part}' is a symbolic link.", "Delete the link.")


def remove_model(repo: str, revision: str | None = None) -> int:
    """Delete a model from the cache, with partial downloads; return the number of freed bytes.

    If a revision is given and other revisions are cached, delete only the files that no other revision needs.

    Raises:
        ModelUnavailableError: the model is not in the cache.
        RefusedError: a folder of the model is a link to another folder.
        OutputError: the model cannot be deleted.
    """
    from huggingface_hub import scan_cache_dir

    root, commit = repository_folder(repo), resolve_commit(repo, revision)
    if not _is_folder(root) or (revision and commit is None):
        name = f"{repo}@{revision}" if revision else repo
        raise ModelUnavailableError(f"'{name}' is not in the cache.", "`artgen models list` shows the cached models.")
    blobs, size = root / "blobs", size_on_disk(repo)
    for folder in (blobs, root / "refs", root / "snapshots" / str(commit)):
        reject_links(root, folder)
    snapshots = {path.name for path in (root / "snapshots").glob("*")}
    deleted = {str(commit)} if revision else snapshots
    remains = root if deleted >= snapshots else root / "snapshots" / str(commit)
    try:
        scan = scan_cache_dir(cache_folder())
        # Copies of a repository contain the same commits; restrict the deletion to this repository.
        repos = frozenset(cached for cached in scan.repos if cached.repo_path.name == root.name)
        with without_hub_warnings():  # Files that cannot be deleted cause warnings.
            strategy = replace(scan, repos=repos).delete_revisions(*deleted)
            # A link in a snapshot may point to a file that is not in the cache. huggingface_hub would delete the file.
            own_blobs = frozenset(path for path in strategy.blobs if path.parent.resolve() == blobs.resolve())
            replace(strategy, blobs=own_blobs).execute()
        if remains.exists():  # for example because the scan skips damaged repositories
            shutil.rmtree(remains)
    except OSError as error:
        raise OutputError(f"Cannot delete '{root}': {error.strerror}.", "Check the folder's permissions.") from None
    if remains == root:
        shutil.rmtree(locks_folder(repo), ignore_errors=True)
    return size - size_on_disk(repo)
