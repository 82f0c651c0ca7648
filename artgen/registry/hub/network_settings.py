"""Check the network settings of the environment before a connection is opened. No value is printed."""

import importlib.util
import ipaddress
import os
import re
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from artgen._version import __version__
from artgen.errors import UsageError
from artgen.registry.hub.cache import without_hub_warnings
from artgen.system.external_data import read_optional

DEFAULT_ENDPOINT = "https://huggingface.co"

_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_MAX_TOKEN_LENGTH = 4000
_TOKEN_PATTERN = re.compile(rf"[!-~]{{1,{_MAX_TOKEN_LENGTH}}}")  # printable ASCII without spaces
_TOKEN_HINT = "Copy the token again from https://huggingface.co/settings/tokens, or run `hf auth login`."
_MAX_TOKEN_FILE_BYTES = 1 << 16


def endpoint() -> str:
    """Return the address of the hub: `HF_ENDPOINT`, else huggingface.co.

    Raises:
        UsageError: `HF_ENDPOINT` is not an address.
    """
    text = os.environ.get("HF_ENDPOINT")
    if not text:
        return DEFAULT_ENDPOINT
    split_address("HF_ENDPOINT", text, ("http", "https"), DEFAULT_ENDPOINT)
    return text.rstrip("/")


def hub_name() -> str:
    """Return the address of the hub for messages, without a user name and a password."""
    parts = urlsplit(endpoint())
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()[:200]


def check_network_settings() -> None:
    """Check the address of the hub, the proxies, the certificates and the access token.

    Raises:
        UsageError: a setting is not valid.
    """
    endpoint()
    check_connection_settings()
    _read_token()


def check_connection_settings() -> None:
    """Check the proxies and the certificates.

    Raises:
        UsageError: a setting is not valid.
    """
    _check_proxies()
    _check_certificates()


def request_headers() -> dict[str, str]:
    """Return the headers of a request to the hub.

    Raises:
        UsageError: the access token is not valid.
    """
    return headers_with_token(_read_token())


def headers_with_token(token: str | None) -> dict[str, str]:
    """Return the headers of a request to a server that accepts bearer tokens."""
    headers = {"User-Agent": f"artgen/{__version__}", "Accept-Encoding": "identity"}
    return {**headers, "Authorization": f"Bearer {token}"} if token else headers


def split_address(name: str, text: str, schemes: tuple[str, ...], example: str) -> SplitResult:
    """Split an address into its parts.

    Raises:
        UsageError: the address is not valid. The message contains no part of the address but its scheme.
    """
    hint = f"Example: {name}={example}"
    if not text.isprintable() or " " in text:
        raise UsageError(f"{name} is not valid: it contains spaces or control characters.", hint)
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError:  # also UnicodeError
        raise UsageError(f"{name} is not valid: its host or its port is not valid.", hint) from None
    if parts.scheme not in schemes:
        allowed = ", ".join(f"{scheme}://" for scheme in schemes)
        found = f"'{parts.scheme}://'" if "://" in text else "no scheme"
        raise UsageError(f"{name} is not valid: it starts with {found} instead of {allowed}.", hint)
    if not host or not re.fullmatch(r"[\w.:%-]+", host):
        raise UsageError(f"{name} is not valid: its host is not valid.", hint)
    if parts.query or parts.fragment:
        raise UsageError(f"{name} is not valid: it contains '?' or '#'.", hint)
    return parts


def is_loopback(host: str) -> bool:
    """Return whether a host is this computer."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_proxies() -> None:
    from urllib.request import getproxies  # imported here: slow

    proxies = getproxies()
    if "*" in (host.strip() for host in proxies.get("no", "").split(",")):
        return
    for scheme in ("http", "https", "all"):
        if not (address := proxies.get(scheme)):
            continue
        names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
        name = next((name for name in names if os.environ.get(name)), f"The {scheme} proxy of the system")
        address = address if "://" in address else f"http://{address}"
        parts = split_address(name, address, _PROXY_SCHEMES, "http://127.0.0.1:3128")
        if parts.scheme.startswith("socks") and not importlib.util.find_spec("socksio"):
            raise UsageError(
                f"Cannot use {name}: a {parts.scheme} proxy needs the package socksio.",
                f"Run `pip install socksio`, or unset {name}.",
            )


def _check_certificates() -> None:
    if path := os.environ.get("SSL_CERT_FILE"):
        import ssl  # imported here: slow

        try:
            if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises without permission
                raise FileNotFoundError
            ssl.create_default_context(cafile=path)
        except OSError as error:  # also ssl.SSLError
            reason = "does not exist or is not a file" if isinstance(error, FileNotFoundError) else _ssl_reason(error)
            raise UsageError(
                f"SSL_CERT_FILE is not valid: '{path}' {reason}.", "Name a PEM file with certificates, or unset it."
            ) from None
    elif (folders := os.environ.get("SSL_CERT_DIR")) and not any(map(os.path.isdir, folders.split(os.pathsep))):
        hint = "Name a folder with certificates, or unset it."
        raise UsageError(f"SSL_CERT_DIR is not valid: '{folders}' is not a folder.", hint)


def _ssl_reason(error: OSError) -> str:
    import ssl

    return "contains no certificate" if isinstance(error, ssl.SSLError) else f"cannot be read ({error.strerror})"


def _read_token() -> str | None:
    """Return the user's access token of the hub; None without a token.

    Raises:
        UsageError: the token cannot be part of an HTTP header, or the token cannot be read.
    """
    token: str | None = None
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if text := os.environ.get(name, "").strip():
            token = check_token(name, text, _TOKEN_HINT)
            break
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        return None
    path = Path(constants.HF_TOKEN_PATH)
    if not token and os.path.lexists(path) and read_optional(path, _MAX_TOKEN_FILE_BYTES) is None:
        if os.environ.get("HF_TOKEN_PATH"):
            raise UsageError(f"Cannot read the access token in '{path}' (HF_TOKEN_PATH).", _TOKEN_HINT)
        return None
    try:
        with without_hub_warnings():  # A warning about a damaged file can contain a token.
            token = get_token()
    except OSError:  # such as HF_HOME=/dev/null/x; a missing token file is not an error
        return token
    except Exception as error:  # UnicodeDecodeError, errors of huggingface_hub and httpx
        raise UsageError(f"Cannot read the access token of the hub ({type(error).__name__}).", _TOKEN_HINT) from None
    return check_token("The token file", token, _TOKEN_HINT) if token else None


def check_token(name: str, token: str, hint: str) -> str:
    """Return an access token that can be part of an HTTP header.

    Raises:
        UsageError: the token is not valid. The message does not contain it.
    """
    if not _TOKEN_PATTERN.fullmatch(token):
        reason = (
            "it is too long"
            if len(token) > _MAX_TOKEN_LENGTH
            else "it contains a space, a line break or a character that is not ASCII"
        )
        raise UsageError(f"{name} is not valid: {reason}.", hint)
    return token
