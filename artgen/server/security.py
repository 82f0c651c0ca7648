"""Check each request before the application runs: Host header, origin, and token."""

import base64
import binascii
import hmac
import ipaddress
import re
import socket
from functools import cache

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from artgen.server.errors import HttpError, error_response
from artgen.server.settings import ServerSettings

FORBIDDEN = 403
UNAUTHORIZED = 401

_OPEN_PATH = re.compile(r"/health|/v1/images/files/[\w-]{20,64}\.(?:png|jpg|webp)", re.ASCII)
"""Paths that need no token: the state of the server, and images whose address contains a random name."""

_RESPONSE_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))


class HostGuard:
    """Refuse requests whose Host header or origin does not belong to the server.

    A web page can let a browser send requests to addresses of the local network. With DNS rebinding, the page has the
    same origin as the server, but the Host header contains the name of the page. Without DNS rebinding, the header
    Origin or Sec-Fetch-Site names another site.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not is_allowed_host(hosts[0], self._settings):
            error = HttpError(
                FORBIDDEN,
                "The Host header of the request does not name this server.",
                "Use the IP address of the server, or start it with: artgen serve --allow-host NAME",
            )
        elif not _is_allowed_origin(headers, hosts[0], self._settings):
            error = HttpError(
                FORBIDDEN,
                "The request comes from a web page of another site.",
                "To allow it, start the server with: artgen serve --allow-origin ORIGIN",
            )
        else:
            await self._app(scope, receive, _with_headers(send))
            return
        await error_response(error, scope["path"])(scope, receive, send)


class TokenGuard:
    """Refuse requests without the token: `Authorization: Bearer TOKEN`, or the password of Basic authentication."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_allowed(scope):
            await self._app(scope, receive, send)
        else:
            error = HttpError(
                UNAUTHORIZED, "The request does not contain the token of this server.", "Authorization: Bearer TOKEN"
            )
            response = error_response(error, scope["path"])
            is_browser = "text/html" in Headers(scope=scope).get("accept", "")  # a browser then asks for a password
            is_basic = is_browser or scope["path"].startswith("/sdapi/")
            response.headers["WWW-Authenticate"] = 'Basic realm="artgen"' if is_basic else "Bearer"
            await response(scope, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        if self._token is None or _OPEN_PATH.fullmatch(scope["path"]):
            return True
        return has_token(Headers(scope=scope).get("authorization", ""), self._token)


def has_token(authorization: str, token: str) -> bool:
    """Return whether a header contains the token. The time of the comparison does not depend on the token."""
    scheme, _, value = authorization.partition(" ")
    given = value.strip()
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).decode("utf-8").partition(":")[2]
        except (binascii.Error, ValueError):
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), token.encode("utf-8", "surrogatepass"))


def is_allowed_host(header: str, settings: ServerSettings) -> bool:
    """Return whether a Host header names the server.

    `localhost`, loopback addresses and the names of `--allow-host` are always allowed. If other machines can reach the
    server, its address, the name of the machine and all IP addresses are allowed too. IP addresses are safe: DNS
    rebinding needs a name that the web page controls.
    """
    name = _host_name(header)
    allowed = {"localhost", *(each.lower() for each in settings.allowed_hosts)}
    if not settings.is_loopback:
        allowed |= _machine_names() | {settings.host.lower()}
    if name in allowed:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or not settings.is_loopback


def _host_name(header: str) -> str:
    """Return the name or address of a Host header in lower case, without the port and without a final dot."""
    text = header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    name, colon, port = text.partition(":")
    if colon and not (port.isascii() and port.isdigit()):
        return ""
    return name.removesuffix(".")


@cache
def _machine_names() -> set[str]:
    name = socket.gethostname().lower()
    short = name.partition(".")[0]
    return {name, short, f"{short}.local"} - {""}


def _is_allowed_origin(headers: Headers, host: str, settings: ServerSettings) -> bool:
    origin = headers.get("origin")
    if origin in settings.allowed_origins or "*" in settings.allowed_origins:
        return True
    if origin is None:
        return headers.get("sec-fetch-site", "none") in ("none", "same-origin", "same-site") or _is_navigation(headers)
    return origin.partition("://")[2].lower() == host.strip().lower()


def _is_navigation(headers: Headers) -> bool:
    """Return whether a user follows a link to the server from a page of another site."""
    return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = list(message.get("headers", ()))
            names = {name.lower() for name, _ in own}
            message = {**message, "headers": [*own, *(each for each in _RESPONSE_HEADERS if each[0] not in names)]}
        await send(message)

    return send_with_headers
