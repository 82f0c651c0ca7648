"""Run web servers on 127.0.0.1 for tests: a server of files, and the API of Civitai."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from local_server import run_server

TOKEN = "secret-0123456789abcdef"


@dataclass(frozen=True)
class Reply:
    """Represent the answer to a request.

    Attributes:
        data: body.
        status: HTTP status.
        headers: further headers. None removes a default header.
        cut_after: number of bytes after which the server disconnects.
        has_ranges: whether the server answers range requests.
    """

    data: bytes = b""
    status: int = 200
    headers: dict[str, str | None] = field(default_factory=dict)
    cut_after: int | None = None
    has_ranges: bool = True


@dataclass
class WebServer:
    """Store the answers and the received requests.

    Attributes:
        replies: path -> answer, a list of successive answers (the last one is repeated), or a function of the handler.
        url: address, set by `serve`.
        requests: (Host, path with query, Authorization or "", Range or "") of each request.
    """

    replies: dict[str, Any] = field(default_factory=dict)
    url: str = ""
    requests: list[tuple[str, str, str, str]] = field(default_factory=list)

    @property
    def other_host(self) -> str:
        """Return the address of the same server under another host name."""
        return self.url.replace("127.0.0.1", "localhost")

    def tokens(self) -> dict[str, set[str]]:
        """Return the Authorization headers that each host received."""
        found: dict[str, set[str]] = {}
        for host, _, authorization, _ in self.requests:
            found.setdefault(host.partition(":")[0], set()).add(authorization)
        return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_test: WebServer

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        web, path = self.server_of_test, urlsplit(self.path).path
        names = ("Host", "Authorization", "Range")
        host, authorization, byte_range = (self.headers.get(name, "") for name in names)
        web.requests.append((host, self.path, authorization, byte_range))
        reply = web.replies.get(path, Reply(b"not found", 404))
        if isinstance(reply, list):
            reply = reply.pop(0) if len(reply) > 1 else reply[0]
        if callable(reply):
            reply = reply(self)
        if reply is not None:
            self._send(reply)

    def _send(self, reply: Reply) -> None:
        data, status, match = reply.data, reply.status, re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        headers: dict[str, str | None] = {"Content-Type": "application/octet-stream"}
        if reply.has_ranges and match and status == 200 and int(match[1]) < len(data):
            start, status = int(match[1]), 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            data = data[start:]
        headers = {**headers, "Content-Length": str(len(data)), **reply.headers}
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data if reply.cut_after is None else data[: reply.cut_after])
        self.close_connection = (
            self.close_connection or reply.cut_after is not None or "Content-Length" in reply.headers
        )

    @property
    def query(self) -> dict[str, list[str]]:
        """Return the query of the address."""
        return parse_qs(urlsplit(self.path).query)


@contextmanager
def serve(web: WebServer) -> Iterator[WebServer]:
    """Run the server at `web.url` until the block ends."""
    handler = type("Handler", (_Handler,), {"server_of_test": web})
    with run_server(handler) as web.url:
        yield web


def json_reply(value: object, status: int = 200) -> Reply:
    """Return an answer with a JSON body."""
    return Reply(json.dumps(value).encode(), status, {"Content-Type": "application/json"})


def civitai_file(url: str, name: str, data: bytes, **fields: Any) -> dict[str, Any]:
    """Return a file of a version in the API of Civitai."""
    return {
        "id": 1,
        "sizeKB": len(data) / 1024,
        "name": name,
        "type": "Model",
        "metadata": {"format": "SafeTensor", "size": "pruned", "fp": "fp16"},
        "pickleScanResult": "Success",
        "virusScanResult": "Success",
        "hashes": {"SHA256": hashlib.sha256(data).hexdigest().upper(), "AutoV2": "ABC"},
        "primary": True,
        "downloadUrl": url,
        **fields,
    }


def civitai_version(version: int, files: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """Return a version of a model in the API of Civitai."""
    return {
        "id": version,
        "name": f"v{version}",
        "baseModel": "SDXL 1.0",
        "trainedWords": ["foxstyle", "red fur"],
        "availability": "Public",
        "files": files,
        **fields,
    }


def civitai_model(model: int, versions: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """Return a model in the API of Civitai."""
    return {
        "id": model,
        "name": "Fox Style",
        "type": "LORA",
        "allowNoCredit": False,
        "allowCommercialUse": ["Image"],
        "allowDerivatives": True,
        "allowDifferentLicense": False,
        "creator": {"username": "someone"},
        "modelVersions": versions,
        **fields,
    }
