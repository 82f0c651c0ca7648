"""List and open files of the Hugging Face hub with huggingface_hub, and convert its errors.

huggingface_hub does not resume a partial download in a new process. Therefore artgen opens files itself (`stream`),
with the session, addresses and headers of huggingface_hub. `HF_ENDPOINT` is read at each call.
"""

import difflib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import sleep
from typing import Any, TypeVar

from artgen.errors import ModelUnavailableError
from artgen.registry.hub import cache

MAX_ATTEMPTS = 4
TIMEOUT_SECONDS = 30.0  # maximum time without a received byte
RETRY_STATUS_CODES = frozenset({408, 425, 429, 500, 502, 503, 504})
T = TypeVar("T")


class TransientError(Exception):
    """Report a failed connection or a busy hub; the caller tries again."""


@dataclass(frozen=True)
class RemoteFile:
    """Describe a file of a hub repository.

    Attributes:
        name: path in the repository.
        size: size in bytes.
        etag: name of the blob in the cache: the SHA-256 if `is_lfs`, else git's SHA-1.
        is_lfs: whether the hub stores the file with Git LFS.
    """

    name: str
    size: int
    etag: str
    is_lfs: bool


@dataclass(frozen=True)
class RepoListing:
    """List a repository's files at one commit."""

    repo: str
    commit: str
    files: tuple[RemoteFile, ...]


def endpoint() -> str:
    """Return the address of the hub: `HF_ENDPOINT`, else huggingface.co."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint(), library_name="artgen")


def fetch_listing(repo: str, revision: str | None) -> RepoListing:
    """List the files of a repository at a revision, with sizes and hashes.

    Raises:
        ModelUnavailableError: the repository is unknown, private or gated, or the hub cannot be reached.
    """

    def fetch() -> Any:
        with convert_errors(repo, revision):
            return _api().model_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT_SECONDS)

    try:
        info = retry(fetch)
        return RepoListing(repo, _validate_hex(info.sha, 40), tuple(map(_parse_sibling, info.siblings)))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ModelUnavailableError(
            f"Cannot list the files of '{repo}': the response of {endpoint()} is not valid.", "Check HF_ENDPOINT."
        ) from None


def _parse_sibling(sibling: Any) -> RemoteFile:
    name, lfs = sibling.rfilename, sibling.lfs
    if name.startswith("/") or "\\" in name or ".." in name.split("/"):
        raise ValueError(name)
    if lfs:
        return RemoteFile(name, int(lfs.size), _validate_hex(lfs.sha256, 64), True)
    return RemoteFile(name, int(sibling.size), _validate_hex(sibling.blob_id, 40), False)


def _validate_hex(text: str, num_digits: int) -> str:
    if len(text) != num_digits or not set(text) <= set("0123456789abcdef"):
        raise ValueError(text)
    return text


@contextmanager
def stream(listing: RepoListing, file: RemoteFile, start_byte: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Open a file of the hub from byte `start_byte`; yield the first byte that the hub sends, and the blocks.

    Raises:
        TransientError: the connection failed, on opening or later.
        ModelUnavailableError: the repository is gated, or the file is deleted.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # type: ignore[attr-defined]

    url = hf_hub_url(listing.repo, file.name, revision=listing.commit, endpoint=endpoint())
    headers = {**build_hf_headers(library_name="artgen"), "Accept-Encoding": "identity"}
    if start_byte:
        headers["Range"] = f"bytes={start_byte}-"
    with (
        convert_errors(listing.repo),
        get_session().stream("GET", url, headers=headers, timeout=TIMEOUT_SECONDS, follow_redirects=True) as response,
    ):
        hf_raise_for_status(response)
        is_partial = response.status_code == 206
        if is_partial and not response.headers.get("Content-Range", "").startswith(f"bytes {start_byte}-"):
            raise TransientError("the hub sent another range than requested")
        yield (start_byte if is_partial else 0), response.iter_bytes()  # without a chunk size, no received byte is lost


def retry(operation: Callable[[], T], what_failed: str = "") -> T:
    """Call `operation` up to `MAX_ATTEMPTS` times, with pauses, until it raises no `TransientError`.

    Raises:
        ModelUnavailableError: every attempt failed; the message starts with `what_failed`.
    """
    for attempt in range(MAX_ATTEMPTS):
        try:
            return operation()
        except TransientError as error:
            reason = str(error)
            if attempt + 1 < MAX_ATTEMPTS:
                sleep(0.5 * 2**attempt)
    raise ModelUnavailableError(
        f"{what_failed} The model hub at {endpoint()} cannot be reached: {reason}.".lstrip(),
        "Check the network and run the command again; it resumes the download. `artgen models list` shows the models "
        "on this computer, which work with --offline.",
    )


@contextmanager
def convert_errors(repo: str, revision: str | None = None) -> Iterator[None]:
    """Convert the errors of huggingface_hub and of its HTTP client.

    Raises:
        TransientError: the connection failed or the hub is busy.
        ModelUnavailableError: all other errors.
    """
    from huggingface_hub import errors

    try:
        with cache.without_hub_warnings():  # The warnings can contain texts of the server.
            yield
    except errors.HfHubHTTPError as error:
        raise _artgen_error(error, repo, revision) from None
    except errors.HFValidationError:
        raise _unknown_repository_error(repo) from None
    except errors.HTTPError as error:  # type: ignore[attr-defined]  # the base class, of httpx or httpx2
        lines = str(error).strip().splitlines()  # the addresses in the first line contain no token
        raise TransientError(lines[0].rstrip(".") if lines else type(error).__name__) from None


def _artgen_error(error: Any, repo: str, revision: str | None) -> Exception:
    from huggingface_hub import errors

    status, page = error.response.status_code, f"{endpoint()}/{repo}"
    if status in RETRY_STATUS_CODES:
        return TransientError(f"it returns status {status}")
    if status == 416:
        return TransientError("the hub has no more bytes of the file")
    # Check the header, not the body: the hub also returns "Invalid username or password." for unknown repositories.
    if status == 401 and "invalid" in error.response.headers.get("X-Error-Message", "").lower():
        return ModelUnavailableError("The hub does not accept your access token.", "Create a new one: `hf auth login`.")
    if status == 403 or isinstance(error, errors.GatedRepoError):
        hint = f"Accept the license at {page}, then `hf auth login`."
        return ModelUnavailableError(f"'{repo}' is gated: its owner requires that you accept its license.", hint)
    if isinstance(error, errors.RevisionNotFoundError):
        hint = _similar_names_hint(str(revision), _fetch_revisions(repo)) or f"See its branches: {page}/tree/main"
        return ModelUnavailableError(f"'{repo}' has no revision '{revision}'.", hint)
    if isinstance(error, errors.EntryNotFoundError):
        return ModelUnavailableError(f"A file of '{repo}' was deleted from the hub.", "Run `artgen models pull` again.")
    if status in (401, 404) or isinstance(error, errors.RepositoryNotFoundError):
        return _unknown_repository_error(repo)
    return ModelUnavailableError(f"The hub at {endpoint()} returns status {status} for '{repo}'.", "Try again later.")


def _unknown_repository_error(repo: str) -> ModelUnavailableError:
    hint = "Check the spelling; for a private model log in first: `hf auth login`."
    similar = _similar_names_hint(repo, list(cache.cached_repositories()))
    message = f"Cannot find the model '{repo}' on the hub at {endpoint()}."
    return ModelUnavailableError(message, f"{similar} {hint}".strip())


def _fetch_revisions(repo: str) -> list[str]:
    """Return a repository's branches and tags for a hint; an empty list if the request fails."""
    try:
        with convert_errors(repo):
            refs = _api().list_repo_refs(repo)
            return [ref.name for ref in (*refs.branches, *refs.tags)]
    except (TransientError, ModelUnavailableError, KeyError, TypeError, ValueError):
        return []


def _similar_names_hint(name: str, known: list[str]) -> str:
    similar = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(similar)}?" if similar else ""
