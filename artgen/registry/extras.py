"""Find or download small hub files that replace a component of a model, such as a tiny decoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from artgen.errors import ModelUnavailableError
from artgen.registry import hub
from artgen.registry.hub import cache
from artgen.registry.hub.ranges import OnProgress


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


def fetch_hub_files(
    repo: str, file_names: Sequence[str], *, offline: bool = False, on_download: OnProgress | None = None
) -> HubFiles:
    """Find files of a repository in the cache; download the missing ones unless `offline` is set.

    Raises:
        ModelUnavailableError: the files are not cached and the network is disabled, or the download failed.
        RefusedError: a hash does not match.
        OutputError: the disk is full.
    """
    folder = cache.snapshot_folder(repo)
    if folder is not None and all((folder / name).is_file() for name in file_names):
        return HubFiles(repo, folder)
    if offline or cache.is_offline():
        raise ModelUnavailableError(
            f"'{repo}' is not on this computer, and the network is disabled (--offline or HF_HUB_OFFLINE).",
            f"Run the command once with a network; it needs {' and '.join(file_names)} in '{cache.cache_folder()}'.",
        )
    return HubFiles(repo, hub.pull_files(repo, file_names, on_progress=on_download))
