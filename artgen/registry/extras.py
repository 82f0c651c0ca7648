"""Find or download some files of a hub repository, such as a tiny decoder or a model of transformers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from artgen.errors import ModelUnavailableError
from artgen.registry import hub
from artgen.registry.hub import MissingFilesError, cache
from artgen.registry.hub.named_files import MAIN_BRANCH
from artgen.registry.hub.ranges import OnProgress

__all__ = ["HubFiles", "MissingFilesError", "cached_hub_files", "fetch_hub_files"]


@dataclass(frozen=True)
class HubFiles:
    """Represent cached files of a hub repository.

    Attributes:
        repo: hub id.
        folder: the snapshot.
    """

    repo: str
    folder: Path

    @property
    def repo_at_commit(self) -> str:
        """Return the hub id and the commit, as recorded."""
        return f"{self.repo}@{self.folder.name}"


def cached_hub_files(repo: str, file_names: Sequence[str], revisions: Sequence[str] = MAIN_BRANCH) -> HubFiles | None:
    """Return the files of the first revision that is completely in the cache; None if no revision is."""
    for revision in revisions:
        folder = cache.snapshot_folder(repo, revision)
        if folder is not None and all((folder / name).is_file() for name in file_names):
            return HubFiles(repo, folder)
    return None


def fetch_hub_files(
    repo: str,
    file_names: Sequence[str],
    *,
    revisions: Sequence[str] = MAIN_BRANCH,
    offline: bool = False,
    on_download: OnProgress | None = None,
) -> HubFiles:
    """Find files of a repository in the cache; download the missing ones unless `offline` is set.

    Args:
        repo: hub id, `owner/name`.
        file_names: paths in the repository.
        revisions: the first of these revisions that has all files is used.
        offline: do not use the network.
        on_download: called with (file, bytes done, total bytes).

    Raises:
        MissingFilesError: no revision has all files.
        ModelUnavailableError: the files are not cached and the network is disabled, or the download failed.
        RefusedError: a hash does not match.
        OutputError: the disk is full.
    """
    if cached := cached_hub_files(repo, file_names, revisions):
        return cached
    if offline or cache.is_offline():
        raise ModelUnavailableError(
            f"'{repo}' is not on this computer, and the network is disabled (--offline or HF_HUB_OFFLINE).",
            f"Run the command once with a network; it needs {' and '.join(file_names)} in '{cache.cache_folder()}'.",
        )
    return HubFiles(repo, hub.pull_files(repo, file_names, revisions=revisions, on_progress=on_download))
