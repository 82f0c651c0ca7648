"""Parse the address of a server: `HOST:PORT`, `HOST`, or a URL."""

import re
from urllib.parse import urlsplit

from artgen.errors import UsageError
from artgen.spec.fields import describe_value

DEFAULT_PORT = 7860
"""Port of `artgen serve`. It is the port of AUTOMATIC1111, which its clients use by default."""

LOCAL = "none"
"""Value of `server` that selects this machine, although the environment or a configuration file names a server."""

_PATTERN = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s/@:\[\]?#]+)(?::([0-9]{1,5}))?")


def parse_server(text: str | None) -> str | None:
    """Return the URL of a server without a slash at the end; None for None, an empty text and `none`.

    `https://` is for a server behind a proxy with TLS. Its default port is 443; the other default port is 7860.

    Raises:
        UsageError: the text is not an address.
    """
    address = (text or "").strip()
    if not address or address == LOCAL:
        return None
    if "://" not in address:
        match = _PATTERN.fullmatch(address)
        if match is None or not 0 < int(match[2] or DEFAULT_PORT) < 1 << 16 or not _is_host(match[1]):
            raise _address_error(address)
        return f"http://{match[1]}:{match[2] or DEFAULT_PORT}"
    try:
        parts = urlsplit(address)
        is_valid = parts.port is None or parts.port > 0
    except ValueError:
        is_valid = False
    if (
        not is_valid
        or parts.scheme not in ("http", "https")
        or not _is_host(parts.hostname or "")
        or parts.query
        or parts.fragment
    ):
        raise _address_error(address)
    if parts.username is not None or parts.password is not None:
        raise UsageError("The address of a server contains no user name.", "export ARTGEN_SERVER_TOKEN=TOKEN")
    port = "" if parts.port is not None or parts.scheme == "https" else f":{DEFAULT_PORT}"
    return f"{parts.scheme}://{parts.netloc}{port}{parts.path.rstrip('/')}"


def _is_host(name: str) -> bool:
    """Return whether a text can be the name or the address of a machine."""
    try:
        encoded = name.encode("idna")
    except UnicodeError:  # a part is empty or longer than 63 characters
        return False
    return 0 < len(encoded) < 254 and name.isprintable() and " " not in name


def _address_error(address: str) -> UsageError:
    return UsageError(
        f"server must be HOST:PORT or a URL, not {describe_value(address)}.",
        f"--server gpu.local:{DEFAULT_PORT}. To use this machine: --server {LOCAL}",
    )
