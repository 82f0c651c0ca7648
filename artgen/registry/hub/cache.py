"""The Hugging Face cache on this disk: where it is, what is in it. Shared with every other tool.

Layout (https://huggingface.co/docs/huggingface_hub/guides/manage-cache): `models--OWNER--NAME/` with `refs/REVISION`
(a commit hash), `snapshots/COMMIT/` (links) and `blobs/ETAG` (contents).
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from artgen.errors import ModelUnavailableError, OutputError

COMMIT_PATTERN = re.compile(r"[0-9a-f]{40}")
_TRUE_VALUES = {"1", "ON", "YES", "TRUE"}


def cache_folder() -> Path:
    """The hub's cache folder, from `HF_HUB_CACHE`, `HF_HOME` and `XDG_CACHE_HOME`, read now and not at import."""
    explicit = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if explicit:
        return Path(os.path.expandvars(explicit)).expanduser()
    home = os.environ.get("HF_HOME")
    if home:
        return Path(os.path.expandvars(home)).expanduser() / "hub"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expandvars(base)).expanduser() / "huggingface" / "hub"


def is_offline() -> bool:
    """Whether the user has forbidden the network: `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`."""
    return any(os.environ.get(name, "").upper() in _TRUE_VALUES for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def repository_folder(repo: str) -> Path:
    """Where a hub model's files are or would be."""
    return cache_folder() / f"models--{repo.replace('/', '--')}"


def cached_repositories() -> Iterator[str]:
    """The hub models of which something is in the cache, sorted."""
    try:
        names = sorted(path.name for path in cache_folder().iterdir() if path.name.startswith("models--"))
    except OSError:
        return
    for name in names:
        parts = name.split("--")
        if len(parts) == 3:
            yield f"{parts[1]}/{parts[2]}"


def resolve_commit(repo: str, revision: str | None) -> str | None:
    """The commit hash that a revision had when it was last downloaded; None when it is not in the cache."""
    root = repository_folder(repo)
    if revision and COMMIT_PATTERN.fullmatch(revision):
        return revision if (root / "snapshots" / revision).is_dir() else None
    try:
        found = (root / "refs" / (revision or "main")).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        found = ""
    if COMMIT_PATTERN.fullmatch(found) and (root / "snapshots" / found).is_dir():
        return found
    return _commit_by_prefix(root, revision) if revision else None


def _commit_by_prefix(root: Path, revision: str) -> str | None:
    """A commit given by its first digits, at least seven."""
    if not re.fullmatch(r"[0-9a-f]{7,39}", revision) or not (root / "snapshots").is_dir():
        return None
    found = [path.name for path in (root / "snapshots").iterdir() if path.name.startswith(revision)]
    return found[0] if len(found) == 1 else None


def snapshot_folder(repo: str, revision: str | None = None) -> Path | None:
    """The folder of a model's snapshot, complete or not; None when there is none."""
    found = resolve_commit(repo, revision)
    return repository_folder(repo) / "snapshots" / found if found else None


def is_diffusers_model(repo: str) -> bool:
    """Whether a cached repository is an image model in diffusers' layout, as far as it has come."""
    return any(repository_folder(repo).glob("snapshots/*/model_index.json"))


def size_on_disk(repo: str) -> int:
    """Bytes a repository takes in the cache, partial downloads included."""
    total = 0
    for path in repository_folder(repo).rglob("*"):
        if path.is_file() and not path.is_symlink():
            total += path.stat().st_size
    return total


def remove_model(repo: str, revision: str | None = None) -> int:
    """Delete a model from the cache, partial downloads included; returns the bytes that came free.

    With a revision, and other revisions beside it, only what no other revision needs goes.

    Raises:
        ModelUnavailableError: it is not in the cache.
        OutputError: it cannot be deleted.
    """
    root = repository_folder(repo)
    found = resolve_commit(repo, revision)
    if not root.is_dir() or (revision and found is None):
        word = f"{repo}@{revision}" if revision else repo
        raise ModelUnavailableError(f"{word} is not in the cache.", "`artgen models list` shows what is.")
    before = size_on_disk(repo)
    try:
        others = [path for path in (root / "snapshots").iterdir() if path.name != found] if revision else []
        if not others:
            shutil.rmtree(root)
            shutil.rmtree(cache_folder() / ".locks" / root.name, ignore_errors=True)
            return before
        shutil.rmtree(root / "snapshots" / str(found))
        for ref in (root / "refs").rglob("*"):
            if ref.is_file() and ref.read_text(encoding="ascii", errors="replace").strip() == found:
                ref.unlink()
        needed = {path.resolve() for other in others for path in other.rglob("*") if path.is_symlink()}
        for blob in (root / "blobs").iterdir():
            if blob.resolve() not in needed:
                blob.unlink()
    except OSError as problem:
        raise OutputError(f"{root} cannot be deleted: {problem.strerror}.", "Check its rights.") from None
    return before - size_on_disk(repo)
