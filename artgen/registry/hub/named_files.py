"""Download files of a repository by name."""

from collections.abc import Sequence
from pathlib import Path

from artgen.errors import ModelUnavailableError
from artgen.registry.hub import client, download
from artgen.registry.hub.client import RemoteFile, RepoListing
from artgen.registry.hub.ranges import OnProgress

MAIN_BRANCH = ("main",)


class MissingFilesError(ModelUnavailableError):
    """Report that no revision of a repository has the needed files."""


def pull_files(
    repo: str,
    file_names: Sequence[str],
    *,
    revisions: Sequence[str] = MAIN_BRANCH,
    on_progress: OnProgress | None = None,
) -> Path:
    """Download some files of the first revision that has all of them; return the folder of its snapshot.

    Args:
        repo: hub id, `owner/name`.
        file_names: paths in the repository.
        revisions: commits, branches, tags or pull requests (`refs/pr/N`).
        on_progress: called with (file, bytes done, total bytes).

    Raises:
        MissingFilesError: no revision has all files.
        ModelUnavailableError: the repository is unknown or gated, or the hub cannot be reached.
        RefusedError: a hash does not match.
        OutputError: the disk has too little space, or the cache cannot be written.
    """
    errors: list[ModelUnavailableError] = []
    for revision in revisions:
        ref = None if revision == "main" else revision
        try:
            listing = client.fetch_listing(repo, ref)
            files = select_named(listing, file_names)
        except (client.UnknownRevisionError, MissingFilesError) as error:
            errors.append(error)
            continue
        return download.download_files(listing, files, ref, force=False, on_progress=on_progress)
    raise next((error for error in errors if isinstance(error, MissingFilesError)), errors[0])


def select_named(listing: RepoListing, names: Sequence[str]) -> list[RemoteFile]:
    """Return the files with these names.

    Raises:
        MissingFilesError: the repository lacks a file.
    """
    files = [file for file in listing.files if file.name in names]
    if missing := sorted(set(names) - {file.name for file in files}):
        raise MissingFilesError(
            f"'{listing.repo}' does not contain {' and '.join(missing)}.", "See its page on the hub."
        )
    return files
