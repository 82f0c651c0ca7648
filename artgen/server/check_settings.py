"""Check the settings of the server before it listens."""

import re
from urllib.parse import urlsplit

from artgen.errors import UsageError
from artgen.metadata.content_credentials.signing import configured_key
from artgen.server.settings import ServerSettings
from artgen.spec.fields import describe_value

MIN_TOKEN_CHARS = 16
MAX_PORT = 65_535

_DEFAULT_PORTS = {"http": 80, "https": 443}

_HOST_NAME = re.compile(r"[\w.-]+|[0-9A-Fa-f:.]+", re.ASCII)
"""Name of a Host header: a name, or an address without brackets."""


def check_settings(settings: ServerSettings) -> None:
    """Check the address, the allowed names and origins, the token and the output.

    Raises:
        UsageError: a value is invalid, or a server that other machines can reach has no token.
        OutputError: the folder of the output cannot be written.
        InputFileError, RefusedError: images are signed, but the key is missing or cannot be used.
    """
    if not 0 <= settings.port <= MAX_PORT:
        raise UsageError(f"--port must be 0 to {MAX_PORT}, not {settings.port}.", "--port 7860")
    _check_allowed(settings)
    _check_token(settings)
    if settings.output is not None:
        _check_output(settings.output)
    configured_key(None)


def _check_allowed(settings: ServerSettings) -> None:
    for name in settings.allowed_hosts:
        if not _HOST_NAME.fullmatch(name):
            raise UsageError(
                f"--allow-host must be a name without a port, not {describe_value(name)}.",
                "--allow-host host.docker.internal",
            )
    for origin in settings.allowed_origins:
        if origin != "*" and not _is_origin(origin):
            raise UsageError(
                f"--allow-origin must be SCHEME://HOST or SCHEME://HOST:PORT, not {describe_value(origin)}: "
                "browsers send lower case, no path and no default port.",
                "--allow-origin http://nas:3000",
            )


def _is_origin(text: str) -> bool:
    """Return whether a browser can send a text as the header Origin: in lower case, without a default port."""
    try:
        parts = urlsplit(text)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    is_normal = text == f"{parts.scheme}://{parts.netloc}".lower() and parts.port != _DEFAULT_PORTS.get(parts.scheme, 0)
    return has_host and is_normal and text.isprintable() and not re.search(r"[\s@]", text)


def _check_token(settings: ServerSettings) -> None:
    token = settings.token
    if token is None and not settings.is_loopback:
        raise UsageError(
            f"--host {settings.host} needs a token: other machines can reach the server.",
            "openssl rand -hex 32 > token.txt; artgen serve --host HOST --token-file token.txt",
        )
    if token is not None and (len(token) < MIN_TOKEN_CHARS or not token.isascii() or not token.isprintable()):
        raise UsageError(
            f"The token must have at least {MIN_TOKEN_CHARS} printable ASCII characters.",
            "openssl rand -hex 32 > token.txt; artgen serve --token-file token.txt",
        )


def _check_output(output: str) -> None:
    """Check that a server can save any number of images: in a folder, or by a template."""
    from artgen.outputs.parse_output import parse_destination
    from artgen.spec.settings import OutputSettings

    destination = parse_destination(OutputSettings(output=output))
    if destination.is_fixed:
        raise UsageError(
            f"--output must be a folder, not {describe_value(output)}: the server saves several images.",
            f"--output {output.rstrip('/') if output != '-' else 'images'}/",
        )
    destination.check_name({})
