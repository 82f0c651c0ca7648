"""Talking to the hub: one place for addresses, credentials, retries and what each answer means.

Uses huggingface_hub's own HTTP session, so that proxies and certificates set up for it hold here too; its high-level
downloads are not used because they start a cut file from zero in a new process. `HF_ENDPOINT` is read at call time.
"""

import difflib
import importlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from artgen.errors import ModelUnavailableError
from artgen.registry.hub import cache

MAX_ATTEMPTS = 4
TIMEOUT_SECONDS = 30.0  # seconds without a byte
RETRY_STATUS_CODES = frozenset({408, 425, 429, 500, 502, 503, 504})
T = TypeVar("T")


class TransientError(Exception):
    """A connection that failed or a hub that is busy: worth another attempt."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a hub model. `etag` names its blob in the cache: its SHA-256 when `is_lfs`, else git's SHA-1."""

    name: str
    size: int
    etag: str
    is_lfs: bool


@dataclass(frozen=True)
class RepoListing:
    """A model's files at one commit."""

    repo: str
    commit: str
    files: tuple[RemoteFile, ...]


def endpoint() -> str:
    """The hub's address: `HF_ENDPOINT`, else huggingface.co."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def sleep(seconds: float) -> None:
    """Wait between two attempts."""
    time.sleep(seconds)


def _headers() -> dict[str, str]:
    """Request headers, with the user's token when there is one. They are never logged or shown."""
    from huggingface_hub import get_token
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # exported lazily

    headers: dict[str, str] = build_hf_headers(token=get_token() or False, library_name="artgen")
    return {**headers, "Accept-Encoding": "identity"}


def _http_session() -> tuple[Any, type[Exception]]:
    """The HTTP client and the base class of its errors: httpx in huggingface_hub 1, httpx2 in 2."""
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]  # exported lazily

    session = get_session()
    modules = [cls.__module__.partition(".")[0] for cls in type(session).__mro__]
    library = next((name for name in modules if name.startswith("httpx")), "httpx")
    return session, importlib.import_module(library).HTTPError


def fetch_listing(repo: str, revision: str | None) -> RepoListing:
    """The files of a model at a revision, with sizes and hashes.

    Raises:
        ModelUnavailableError: unknown, private, gated, or the hub cannot be reached.
    """
    where = f"{endpoint()}/api/models/{repo}"
    if revision:
        where += f"/revision/{quote(revision, safe='')}"
    answer = retry(lambda: _get_json(where, repo, revision, {"blobs": "true"}))
    try:
        files = tuple(_parse_remote_file(sibling) for sibling in answer["siblings"])
        return RepoListing(repo, str(answer["sha"]), files)
    except (KeyError, TypeError, ValueError):
        raise ModelUnavailableError(
            f"{endpoint()} gave an answer about {repo} that artgen does not understand.", "Check HF_ENDPOINT."
        ) from None


def _parse_remote_file(sibling: dict[str, Any]) -> RemoteFile:
    name, large = str(sibling["rfilename"]), sibling.get("lfs")
    if name.startswith("/") or "\\" in name or ".." in name.split("/"):
        raise ValueError(name)
    if large:
        return RemoteFile(name, int(large["size"]), _validate_hex(large["sha256"], 64), True)
    return RemoteFile(name, int(sibling["size"]), _validate_hex(sibling["blobId"], 40), False)


def _validate_hex(text: str, digits: int) -> str:
    if len(text) != digits or not set(text) <= set("0123456789abcdef"):
        raise ValueError(text)
    return text


def _get_json(url: str, repo: str, revision: str | None, parameters: dict[str, str]) -> Any:
    session, failure = _http_session()
    try:
        response = session.get(
            url, headers=_headers(), params=parameters, timeout=TIMEOUT_SECONDS, follow_redirects=True
        )
    except failure as error:
        raise TransientError(_error_summary(error)) from None
    raise_for_status(response, repo, revision)
    try:
        return response.json()
    except ValueError:
        return None


@contextmanager
def stream(listing: RepoListing, file: RemoteFile, start_byte: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Open a file of the hub from byte `start_byte`; gives the byte it really starts at, and its blocks.

    Raises:
        Cut: the connection failed, on opening or later.
        ModelUnavailableError: gated or gone.
    """
    where = f"{endpoint()}/{listing.repo}/resolve/{listing.commit}/{quote(file.name)}"
    headers = _headers() | ({"Range": f"bytes={start_byte}-"} if start_byte else {})
    session, failure = _http_session()
    try:
        with session.stream("GET", where, headers=headers, timeout=TIMEOUT_SECONDS, follow_redirects=True) as response:
            if response.status_code == 416:
                raise TransientError(f"the hub has no bytes of it beyond {start_byte}")
            raise_for_status(response, listing.repo, None)
            resumed = response.status_code == 206 and _range_start(response) == start_byte
            if response.status_code == 206 and not resumed:
                raise TransientError("the hub sent another part of the file than was asked for")
            yield (start_byte if resumed else 0), response.iter_bytes()  # no chunk size: what came before a cut counts
    except failure as error:
        raise TransientError(_error_summary(error)) from None


def _range_start(response: Any) -> int | None:
    """First byte of a partial answer, from `Content-Range: bytes 5-9/10` (RFC 9110, 14.4)."""
    value = str(response.headers.get("Content-Range", ""))
    first = value.removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else None


def retry(operation: Callable[[], T]) -> T:
    """Do `operation`, again after a pause while it is `Cut`, `ATTEMPTS` times in all.

    Raises:
        ModelUnavailableError: every attempt was cut.
    """
    for number in range(MAX_ATTEMPTS):
        try:
            return operation()
        except TransientError as cut:
            last = cut
            if number + 1 < MAX_ATTEMPTS:
                sleep(0.5 * 2**number)
    raise unreachable_error(str(last))


def unreachable_error(reason: str) -> ModelUnavailableError:
    """The error for a hub that does not answer."""
    return ModelUnavailableError(
        f"The model hub at {endpoint()} cannot be reached: {reason}.",
        "Check the network and run the command again; what has arrived is kept. `artgen models list` shows the models "
        "that are already here, which work with --offline.",
    )


def raise_for_status(response: Any, repo: str, revision: str | None) -> None:
    """Turn an answer that is no success into the error a user can act on.

    The codes are those of huggingface_hub's `hf_raise_for_status`: the hub answers 401 for a repository that does not
    exist as well, and tells the cases apart in `X-Error-Code`.

    Raises:
        Cut: busy; try again.
        ModelUnavailableError: everything else.
    """
    status = response.status_code
    if status < 400:
        return
    code, said = response.headers.get("X-Error-Code", ""), str(response.headers.get("X-Error-Message", ""))
    page = f"{endpoint()}/{repo}"
    if status in RETRY_STATUS_CODES:
        raise TransientError(f"it answers {status}")
    if status == 401 and "invalid" in said.lower():
        raise ModelUnavailableError("The hub does not accept your access token.", "Make a new one: `hf auth login`.")
    if code == "GatedRepo" or status == 403:
        hint = f"Accept the licence at {page}, then `hf auth login`."
        raise ModelUnavailableError(f"{repo} is gated: its owner wants its licence accepted first.", hint)
    if code == "RevisionNotFound":
        hint = (
            _similar_names_hint(revision or "", _fetch_revisions(repo))
            or f"See {page}/tree/main for its branches and tags."
        )
        raise ModelUnavailableError(f"{repo} has no revision {revision!r}.", hint)
    if code == "EntryNotFound":
        raise ModelUnavailableError(f"A file of {repo} is gone from the hub.", "Run `artgen models pull` again.")
    if status in (401, 404):
        near = _similar_names_hint(repo, list(cache.cached_repositories()))
        hint = f"{near} " if near else ""
        hint += "Check the spelling; for a private model log in first: `hf auth login`."
        raise ModelUnavailableError(f"There is no model {repo} on the hub at {endpoint()}.", hint)
    raise ModelUnavailableError(f"The hub at {endpoint()} answers {status} for {repo}.", "Try again later.")


def _fetch_revisions(repo: str) -> list[str]:
    """A model's branches and tags, for a hint; empty when they cannot be had."""
    try:
        refs = _get_json(f"{endpoint()}/api/models/{repo}/refs", repo, None, {})
        return [str(ref["name"]) for kind in ("branches", "tags") for ref in refs.get(kind, [])]
    except (TransientError, ModelUnavailableError, AttributeError, KeyError, TypeError):
        return []


def _similar_names_hint(word: str, known: list[str]) -> str:
    found = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(found)}?" if found else ""


def _error_summary(error: Exception) -> str:
    """The first line of a transport error, or its kind; addresses with credentials do not occur in them."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
