"""Run a model hub that answers some requests with hostile data, in a child process."""

import contextlib
import gzip
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import hub_server
from hostile.grammar import Grammar, dumps

PARTS = ("/api/models/", "/refs", "/resolve/", ".json", ".safetensors")


@contextlib.contextmanager
def healthy() -> Iterator[str]:
    """Run the hub of a small model. Yield its address."""
    with _serve(hub_server._Handler) as url:
        yield url


@contextlib.contextmanager
def hostile(g: Grammar) -> Iterator[str]:
    """Run a hub that answers the requests of one kind with hostile data. Yield its address."""
    part, fault, times = g.pick(PARTS), g.pick(FAULTS), g.pick((1, 1000))
    value = g.mutated_json(_listing(g))

    class Handler(hub_server._Handler):
        def _answer(self, body: bool) -> None:
            nonlocal times
            if part in self.path and times > 0:
                times -= 1
                with contextlib.suppress(ConnectionError, TimeoutError):
                    fault(self, value, g)
                self.close_connection = True
                return
            super()._answer(body)

    with _serve(Handler) as url:
        yield url


@contextlib.contextmanager
def _serve(handler: type[hub_server._Handler]) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            os.setsid()
            hub = hub_server.Hub(files=hub_server.tiny_files(), url=url)
            bound = type("Bound", (handler,), {"hub": hub, "timeout": 30})
            while True:
                connection, address = listener.accept()
                if os.fork() == 0:
                    with contextlib.suppress(Exception):
                        bound(connection, address, None)  # type: ignore[arg-type]
                    os._exit(0)
                connection.close()
    try:
        yield url
    finally:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _listing(g: Grammar) -> dict[str, Any]:
    """Return a listing of files as the hub sends it, with names and hashes that leave the cache folder."""
    outside = str(g.root / "home/Documents")
    name = g.pick(("notes.txt", "../../../../Documents/notes.txt", f"{outside}/notes.txt", "a/../../b", "a\\..\\b",
                   "a" * 300,
                   "model_index.json", "\x1b[31m.json", "a\0b", "", ".", "unet/", "model_index.json/x"))  # fmt: skip
    commit = g.pick(
        (hub_server.COMMIT, outside, "../../../../Documents", "x", "", "A" * 40, "0" * 39, None, "0" * 40 + "\n")
    )
    sibling = {"rfilename": name, "size": g.json_number(), "blobId": g.pick(("0" * 40, "../../x", outside)),
               "lfs": {"sha256": g.pick(("0" * 64, "../x", f"{outside}/notes.txt")), "size": 3}}  # fmt: skip
    return {"id": "owner/tiny", "sha": commit, "siblings": [sibling, {"rfilename": "model_index.json", "size": 9}]}


def _head(handler: Any, status: int, **headers: object) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()


def _wrong_json(handler: Any, text: str, g: Grammar) -> None:
    data = text.encode("utf-8", "surrogatepass")
    _head(handler, 200, Content_Type="application/json", Content_Length=len(data), X_Repo_Commit=hub_server.COMMIT)
    handler.wfile.write(data)


def _endless(handler: Any, text: str, g: Grammar) -> None:
    _head(handler, 200, Content_Type="application/json", Connection="close", ETag='"a"')
    while True:
        handler.wfile.write(b"[" * 2**16 if g.chance() else b" " * 2**16)


def _gzip_bomb(handler: Any, text: str, g: Grammar) -> None:
    data = gzip.compress(bytes(2**20)) * 2000  # 2 GB
    _head(handler, 200, Content_Encoding=g.pick(("gzip", "deflate", "br", "x")), Content_Length=len(data), ETag='"a"')
    handler.wfile.write(data)


def _slow(handler: Any, text: str, g: Grammar) -> None:
    _head(handler, 200, Content_Length=10**6, ETag='"a"')
    while True:
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.3)


def _bad_headers(handler: Any, text: str, g: Grammar) -> None:
    tag = g.pick(('"../../x"', '"/etc/x"', '""', "W/", '"' + "a" * 300 + '"', "\x1b[31m"))
    commit = g.pick((hub_server.COMMIT, "../../x", "", "/etc"))
    length = g.pick(("-1", "x", "9" * 30, "0", "1e9", "10"))
    _head(handler, 200, ETag=tag, X_Linked_ETag=tag, X_Repo_Commit=commit, Content_Length=length, X_Linked_Size=length)
    handler.wfile.write(b"0123456789")


def _redirect(handler: Any, text: str, g: Grammar) -> None:
    target = g.pick(
        (handler.path, "file:///etc/passwd", "http://hub.invalid/x", "//", "http://[", "ftp://127.0.0.1/x", "\x1b")
    )
    _head(handler, g.pick((301, 302, 307, 308)), Location=target, Content_Length=0)


def _error(handler: Any, text: str, g: Grammar) -> None:
    status = g.pick((400, 401, 403, 404, 416, 418, 429, 500, 503, 999, 204, 304, 100))
    code = g.pick(("RepoNotFound", "GatedRepo", "x" * 5000, ""))
    _head(handler, status, X_Error_Code=code, X_Error_Message="\x1b[31m" + "a" * 5000, Retry_After=g.number()[:60],
          Content_Length=0)  # fmt: skip


def _garbage(handler: Any, text: str, g: Grammar) -> None:
    handler.wfile.write(g.pick((b"", b"\0" * 100, b"HTTP/9.9 x\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: " + b"a" * 10**6, 
                                b"\r\n" * 9,
                                b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx",
                                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                                b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 50_000 + b"\r\n")))  # fmt: skip


FAULTS = (_wrong_json, _wrong_json, _wrong_json, _endless, _gzip_bomb, _slow, _bad_headers, _redirect, _error, _garbage)
__all__ = ["dumps", "healthy", "hostile"]
