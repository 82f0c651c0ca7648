"""Interpret the addresses of `artgen models pull`: Civitai, files on the web, and pages of the Hugging Face hub.

No address is opened here. The query of an address can contain a secret, so messages and records never contain it.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from artgen.errors import RefusedError, UsageError
from artgen.registry.hub.names import HUB_ID_PATTERN, check_revision
from artgen.registry.hub.network_settings import DEFAULT_ENDPOINT as HUB_ENDPOINT
from artgen.registry.hub.network_settings import endpoint as hub_endpoint
from artgen.registry.hub.network_settings import is_loopback, split_address
from artgen.registry.safetensors_header import PICKLE_SUFFIXES

CIVITAI_ENDPOINT = "https://civitai.com"
CIVITAI_HOSTS = ("civitai.com", "www.civitai.com", "civitai.red", "civitai.green")
HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
FILE_SUFFIXES = (".safetensors", ".sft", ".gguf")
OTHER_SUFFIXES = frozenset(
    {".zip", ".rar", ".7z", ".tar", ".gz", ".html", ".htm", ".json", ".png", ".jpg", ".jpeg", ".txt", ".md"}
)
"""Suffixes of files that artgen does not read. Other suffixes can be part of a download link, such as `v1.5`."""
MAX_ADDRESS_CHARS = 8000
_CIVITAI_NAME = re.compile(
    r"(?:(?:urn:)?(?:air:)?(?:[a-z0-9_]+:[a-z]+:)?)civitai:(\d{1,12})(?:@([^@/\s][^@/]{0,99}))?", re.IGNORECASE
)
_CIVITAI_PAGE = re.compile(r"(?:/[a-z]{2})?(?:/api/v1)?/models/(\d{1,12})(?:/.*)?")
_CIVITAI_DOWNLOAD = re.compile(r"/api/(?:download/models|v1/model-versions)/(\d{1,12})/?")
_HUB_FILE = re.compile(r"/([^/]+/[^/]+)/(?:blob|resolve|raw)/([^/]+)/(.+)")
_HUB_PAGE = re.compile(r"/([^/]+/[^/]+?)(?:/tree/([^/]+))?/?")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HINT = "artgen models pull civitai:MODEL@VERSION, https://.../FILE.safetensors or OWNER/NAME"


@dataclass(frozen=True)
class HubSource:
    """Represent a repository of the hub, or one file of it.

    Attributes:
        repo: hub id.
        revision: branch, tag or commit; None is the main branch.
        file: path in the repository; None is the complete model.
    """

    repo: str
    revision: str | None
    file: str | None

    @property
    def name(self) -> str:
        """Return the address of the repository or file at the hub."""
        return f"{HUB_ENDPOINT}/{self.repo}" + (f"/blob/{self.revision or 'main'}/{self.file}" if self.file else "")


@dataclass(frozen=True)
class CivitaiSource:
    """Represent a model of Civitai.

    Attributes:
        model: number of the model; None if only the version is known.
        version: number or name of the version; None is the newest one.
        wanted: properties that select a file of the version, such as {"format": "SafeTensor"}.
        has_token: whether the address contains an access token, which is not used.
    """

    model: int | None
    version: str | None
    wanted: Mapping[str, str] = field(default_factory=dict)
    has_token: bool = False

    @property
    def name(self) -> str:
        """Return a name that `parse_source` interprets as this model, without a secret."""
        if self.model is None:
            return f"{CIVITAI_ENDPOINT}/api/download/models/{self.version}"
        return f"civitai:{self.model}@{self.version}" if self.version else f"civitai:{self.model}"


@dataclass(frozen=True)
class WebSource:
    """Represent a file on the web.

    Attributes:
        url: complete address; it can contain a secret.
        name: address without the query, for messages and records.
    """

    url: str
    name: str


Source = HubSource | CivitaiSource | WebSource


def civitai_endpoint() -> str:
    """Return the address of Civitai: `CIVITAI_ENDPOINT`, else civitai.com.

    Raises:
        UsageError: the variable is not an address, contains a user name, or its connection is not encrypted.
    """
    text = os.environ.get("CIVITAI_ENDPOINT")
    if not text:
        return CIVITAI_ENDPOINT
    parts = split_address("CIVITAI_ENDPOINT", text, ("http", "https"), CIVITAI_ENDPOINT)
    hint = f"CIVITAI_ENDPOINT={CIVITAI_ENDPOINT}"
    if "@" in parts.netloc:
        raise UsageError("CIVITAI_ENDPOINT is not valid: it contains a user name or a password.", hint)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise UsageError("CIVITAI_ENDPOINT is not valid: the connection is not encrypted.", hint)
    return text.rstrip("/")


def parse_source(text: str) -> Source | None:
    """Interpret an address; return None for other names, such as an alias or a hub id.

    Raises:
        UsageError: the text is an address that artgen does not support, or is not valid.
        RefusedError: the address is that of a pickle.
    """
    text = text.strip()
    if match := _CIVITAI_NAME.fullmatch(text):
        return CivitaiSource(int(match[1]), match[2])
    if re.match(r"(?:urn:air:.*|air:.*)?\bcivitai:", text, re.IGNORECASE):
        raise UsageError(f"'{text[:80]}' is not a model of Civitai.", "Example: civitai:4384@128713")
    if text.partition("/")[0].lower() in (*CIVITAI_HOSTS, *HUB_HOSTS):
        text = f"https://{text}"
    if not (scheme := _SCHEME.match(text)):
        return None
    if scheme[1].lower() not in ("http", "https"):
        raise UsageError(f"Cannot download: the address starts with '{scheme[1]}://' instead of https://.", _HINT)
    parts = _split(text)
    host = (parts.hostname or "").lower()
    if host in CIVITAI_HOSTS or _is_same_server(parts, civitai_endpoint()):
        return _civitai_source(parts)
    if host in HUB_HOSTS or _is_same_server(parts, hub_endpoint()):
        return _hub_source(parts)
    return _web_source(parts)


def _split(text: str) -> SplitResult:
    """Split an address, and check it.

    Raises:
        UsageError: the address is not valid; the message contains no part of it that can be secret.
    """
    try:
        parts = urlsplit(text)
        host, _ = (parts.hostname or "").encode("idna"), parts.port
    except ValueError:  # also UnicodeError
        host, parts = b"", SplitResult("", "", "", "", "")
    if not host or not text.isprintable() or " " in text or len(text) > MAX_ADDRESS_CHARS:
        raise UsageError("Cannot download: the address is not valid.", "Copy the address again.")
    if "@" in parts.netloc:
        raise UsageError(
            "Cannot download: the address contains a user name or a password.", "Remove the text before '@'."
        )
    if parts.scheme.lower() == "http" and not is_loopback(parts.hostname or ""):
        raise UsageError(
            f"Cannot download from '{parts.hostname}': the connection is not encrypted.",
            "Use https:// instead of http://.",
        )
    return parts


def _is_same_server(parts: SplitResult, address: str) -> bool:
    other = urlsplit(address)
    return (parts.scheme.lower(), parts.hostname, parts.port) == (other.scheme.lower(), other.hostname, other.port)


def _civitai_source(parts: SplitResult) -> CivitaiSource:
    query = {key.lower(): value for key, value in parse_qsl(parts.query)}
    wanted = {key: query[key] for key in ("type", "format", "size", "fp") if query.get(key)}
    has_token = "token" in query
    if match := _CIVITAI_DOWNLOAD.fullmatch(parts.path):
        return CivitaiSource(None, match[1], wanted, has_token)
    if match := _CIVITAI_PAGE.fullmatch(parts.path):
        version = query.get("modelversionid")
        if version and not re.fullmatch(r"\d{1,12}", version):
            raise UsageError("Cannot download: modelVersionId is not a number.", "Copy the address again.")
        return CivitaiSource(int(match[1]), version or None, wanted, has_token)
    raise UsageError(
        f"'{parts.path[:80]}' of '{parts.hostname}' is not the page of a model.",
        "Example: https://civitai.com/models/4384",
    )


def _hub_source(parts: SplitResult) -> HubSource:
    path = parts.path
    if path.startswith(("/datasets/", "/spaces/", "/collections/", "/papers/")):
        raise UsageError(f"'{path[:80]}' is not a model of the hub.", "Example: https://huggingface.co/OWNER/NAME")
    if match := _HUB_FILE.fullmatch(path):
        file = unquote(match[3])
        _check_suffix(file, f"{match[1]}/{file}")
        return _checked_hub_source(match[1], unquote(match[2]), file)
    if match := _HUB_PAGE.fullmatch(path):
        return _checked_hub_source(match[1], unquote(match[2]) if match[2] else None, None)
    raise UsageError(
        f"'{path[:80]}' is not the page of a model or of a file.", "Example: https://huggingface.co/OWNER/NAME"
    )


def _checked_hub_source(repo: str, revision: str | None, file: str | None) -> HubSource:
    if not HUB_ID_PATTERN.fullmatch(repo):
        raise UsageError(f"'{repo[:80]}' is not the id of a model.", "Example: https://huggingface.co/OWNER/NAME")
    return HubSource(repo, check_revision(None if revision == "main" else revision), file)


def _web_source(parts: SplitResult) -> WebSource:
    name = parts._replace(query="", fragment="").geturl()
    _check_suffix(unquote(parts.path), name)
    return WebSource(parts._replace(fragment="").geturl(), name)


def _check_suffix(path: str, name: str) -> None:
    """Reject the suffixes of files that artgen does not read; a path without a suffix can be a download link.

    Raises:
        RefusedError: the suffix is that of a pickle.
        UsageError: the suffix is that of another file.
    """
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in PICKLE_SUFFIXES:
        raise pickle_error(name, PurePosixPath(path).name)
    if suffix in OTHER_SUFFIXES:
        raise UsageError(f"Cannot download '{name}': artgen reads {', '.join(FILE_SUFFIXES)} files.", _HINT)


def pickle_error(name: str, file: str) -> RefusedError:
    """Return the error to raise for a pickle: the name for the message, and the name of the downloaded file."""
    return RefusedError(
        f"Cannot download '{name}': it is a Python pickle, which can run code when it is read.",
        f"Use a .safetensors version. Or download the file with a browser, and run `artgen models convert '{file}'`.",
    )
