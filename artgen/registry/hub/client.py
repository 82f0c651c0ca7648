"""List and open files of the Hugging Face hub. Every answer is validated, and its size and duration are limited.

huggingface_hub does not resume a partial download in a new process. Therefore artgen opens files itself (`stream`).
`HF_ENDPOINT` is read at each call.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import sleep
from typing import Any, TypeVar
from urllib.parse import quote

from artgen.errors import ModelUnavailableError
from artgen.registry.hub import cache
from artgen.registry.hub.names import (
    COMMIT_PATTERN,
    HUB_ID_PATTERN,
    REMOTE_FILE_PATTERN,
    SHA1_PATTERN,
    SHA256_PATTERN,
    check_remote_field,
    check_revision,
)
from artgen.registry.hub.network_settings import check_network_settings, endpoint, hub_name, request_headers
from artgen.registry.hub.transfer import Answer, Server, TransientError, open_answer, read_body
from artgen.system.external_data import parse_json

MAX_ATTEMPTS = 4
MAX_LISTING_BYTES = 1 << 24
MAX_FILE_BYTES = 1 << 50
MAX_SIMILAR_NAMES = 1000
RETRY_STATUS_CODES = frozenset({408, 425, 429, 500, 502, 503, 504})
T = TypeVar("T")


class UnknownRevisionError(ModelUnavailableError):
    """Report a branch, tag, pull request or commit that a repository does not have."""


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


def hub_server() -> Server:
    """Return the description of the hub for messages."""
    return Server(f"The hub at {hub_name()}", "Check HF_ENDPOINT.")


def fetch_listing(repo: str, revision: str | None) -> RepoListing:
    """List the files of a repository at a revision, with sizes and hashes.

    Raises:
        ModelUnavailableError: the repository is unknown, private or gated, the hub cannot be reached, or its answer is
            not valid.
        UsageError: the revision, a network setting or the cache folder is not valid.
    """
    check_revision(revision)
    cache.cache_folder()
    check_network_settings()
    if not HUB_ID_PATTERN.fullmatch(repo):
        raise _unknown_repository_error(repo)
    path = f"{repo}/revision/{quote(revision, safe='')}" if revision else repo
    try:
        info = retry(lambda: _fetch_json(f"{path}?blobs=true", repo, revision), hub_server())
        commit = check_remote_field(info["sha"], COMMIT_PATTERN)
        return RepoListing(repo, commit, tuple(map(_parse_sibling, info["siblings"])))
    except (KeyError, TypeError, ValueError):
        raise ModelUnavailableError(
            f"Cannot list the files of '{repo}': the response of {hub_name()} is not valid.", "Check HF_ENDPOINT."
        ) from None


def _fetch_json(path: str, repo: str, revision: str | None = None) -> Any:
    """Return the answer of the hub's API.

    Raises:
        ValueError: the answer is not JSON.
    """
    with open_answer(f"{endpoint()}/api/models/{path}", request_headers(), hub_server(), other_hosts=False) as answer:
        _check_status(answer, repo, revision)
        return parse_json(read_body(answer, MAX_LISTING_BYTES))


def _parse_sibling(sibling: Mapping[str, Any]) -> RemoteFile:
    name, lfs = check_remote_field(sibling["rfilename"], REMOTE_FILE_PATTERN), sibling.get("lfs")
    if lfs:
        return RemoteFile(name, _check_size(lfs["size"]), check_remote_field(lfs["sha256"], SHA256_PATTERN), True)
    return RemoteFile(name, _check_size(sibling["size"]), check_remote_field(sibling["blobId"], SHA1_PATTERN), False)


def _check_size(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_FILE_BYTES:
        raise ValueError(value)
    return value


@contextmanager
def stream(listing: RepoListing, file: RemoteFile, start_byte: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Open a file of the hub from byte `start_byte`; yield the first byte that the hub sends, and the blocks.

    Raises:
        TransientError: the connection failed, on opening or later.
        ModelUnavailableError: the repository is gated, the file is deleted, or the hub is too slow.
    """
    url = f"{endpoint()}/{listing.repo}/resolve/{listing.commit}/{quote(file.name)}"
    headers = request_headers() | ({"Range": f"bytes={start_byte}-"} if start_byte else {})
    with open_answer(url, headers, hub_server(), other_hosts=True) as answer:
        _check_status(answer, listing.repo)
        is_partial = answer.status == 206
        if is_partial and not answer.headers.get("Content-Range", "").startswith(f"bytes {start_byte}-"):
            raise TransientError("the hub sent another range than requested")
        yield (start_byte if is_partial else 0), answer.blocks


def retry(operation: Callable[[], T], server: Server, what_failed: Callable[[], str] = str) -> T:
    """Call `operation` up to `MAX_ATTEMPTS` times, with pauses, until it raises no `TransientError`.

    Raises:
        ModelUnavailableError: every attempt failed; the message starts with the text of `what_failed`.
    """
    for attempt in range(MAX_ATTEMPTS):
        try:
            return operation()
        except TransientError as error:
            reason = str(error)
            if attempt + 1 < MAX_ATTEMPTS:
                sleep(0.5 * 2**attempt)
    raise ModelUnavailableError(
        f"{what_failed()} {server.name} cannot be reached: {reason}.".lstrip(),
        "Check the network and run the command again; it resumes the download. `artgen models list` shows the models "
        "on this computer, which work with --offline.",
    )


def _check_status(answer: Answer, repo: str, revision: str | None = None) -> None:
    """Convert an error status to an error.

    Raises:
        TransientError: the hub is busy.
        ModelUnavailableError: all other errors.
    """
    status, page = answer.status, f"{hub_name()}/{repo}"
    code, message = answer.headers.get("X-Error-Code", ""), answer.headers.get("X-Error-Message", "")
    if status in (200, 206):
        return
    if status in RETRY_STATUS_CODES:
        raise TransientError(f"it returns status {status}")
    if status == 416:
        raise TransientError("the hub has no more bytes of the file")
    # Check the header, not the body: the hub also returns "Invalid username or password." for unknown repositories.
    if status == 401 and "invalid" in message.lower():
        raise ModelUnavailableError("The hub does not accept your access token.", "Create a new one: `hf auth login`.")
    if status == 403 or code == "GatedRepo":
        hint = f"Accept the license at {page}, then `hf auth login`."
        raise ModelUnavailableError(f"'{repo}' is gated: its owner requires that you accept its license.", hint)
    if code == "RevisionNotFound" and revision:
        hint = _similar_names_hint(revision, _fetch_revisions(repo)) or f"See its branches: {page}/tree/main"
        raise UnknownRevisionError(f"'{repo}' has no revision '{revision}'.", hint)
    if code == "EntryNotFound":
        raise ModelUnavailableError(f"A file of '{repo}' was deleted from the hub.", "Run `artgen models pull` again.")
    if status in (401, 404) or code == "RepoNotFound":
        raise _unknown_repository_error(repo)
    raise ModelUnavailableError(f"The hub at {hub_name()} returns status {status} for '{repo}'.", "Try again later.")


def _unknown_repository_error(repo: str) -> ModelUnavailableError:
    hint = "Check the spelling; for a private model log in first: `hf auth login`."
    similar = _similar_names_hint(repo, list(cache.cached_repositories()))
    message = f"Cannot find the model '{repo}' on the hub at {hub_name()}."
    return ModelUnavailableError(message, f"{similar} {hint}".strip())


def _fetch_revisions(repo: str) -> list[str]:
    """Return a repository's branches and tags for a hint; an empty list if the request fails."""
    try:
        refs = _fetch_json(f"{repo}/refs", repo)
        names = [ref["name"] for ref in (*refs["branches"], *refs["tags"])[:MAX_SIMILAR_NAMES]]
        return [name for name in names if isinstance(name, str) and len(name) <= 100]
    except (TransientError, ModelUnavailableError, KeyError, TypeError, ValueError):
        return []


def _similar_names_hint(name: str, known: list[str]) -> str:
    similar = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(similar)}?" if similar else ""
