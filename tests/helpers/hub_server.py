"""Run a model hub on 127.0.0.1 for tests, which can simulate faults.

It implements the requests of artgen and huggingface_hub to huggingface.co: `/api/models/ID[/revision/REV]`, `/refs`,
and GET or HEAD of `/ID/resolve/REV/FILE` with ETag, X-Repo-Commit, X-Linked-ETag, X-Linked-Size and Range.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from local_server import run_server
from safetensors_files import filled_bytes

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER_COMMIT = COMMIT[::-1]
LARGE = (".safetensors", ".bin", ".ckpt", ".msgpack", ".onnx")


def etag(name: str, data: bytes) -> str:
    """Return the hub's ETag of a file: SHA-256 of large files, git's SHA-1 of the others."""
    if name.endswith(LARGE):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


UNET = "unet/diffusion_pytorch_model.fp16.safetensors"


def tiny_files() -> dict[str, bytes]:
    """Return the files of a small model: needed files (`NEEDED`) and others."""
    index = {
        "_class_name": "StableDiffusionPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "safety_checker": [None, None],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    unet = {"in_channels": 4, "sample_size": 8, "cross_attention_dim": 768, "_class_name": "UNet2DConditionModel"}
    vae = {"block_out_channels": [8, 8, 8, 8], "latent_channels": 4}
    weights = filled_bytes({"conv_in.weight": (32, 4, 3, 3), "more": (200, 1000)}, fill=7)
    return {
        "model_index.json": json.dumps(index).encode(),
        "README.md": b"# not needed",
        "scheduler/scheduler_config.json": b'{"_class_name": "DDIMScheduler"}',
        "text_encoder/config.json": b"{}",
        "text_encoder/model.fp16.safetensors": filled_bytes({"a": (10,)}),
        "text_encoder/model.safetensors": filled_bytes({"a": (20,)}),
        "text_encoder/pytorch_model.bin": b"pickle",
        "tokenizer/tokenizer_config.json": b'{"model_max_length": 77}',
        "tokenizer/vocab.json": b'{"a": 0}',
        "tokenizer/merges.txt": b"#version: 0.2\n",
        "unet/config.json": json.dumps(unet).encode(),
        UNET: weights,
        "unet/diffusion_pytorch_model.safetensors": filled_bytes({"conv_in.weight": (32, 4, 3, 3)}, fill=1),
        "unet/diffusion_pytorch_model.non_ema.safetensors": filled_bytes({"x": (3,)}),
        "unet/diffusion_pytorch_model.bin": b"pickle",
        "unet/code.py": b"raise SystemExit",
        "vae/config.json": json.dumps(vae).encode(),
        "vae/diffusion_pytorch_model.fp16.safetensors": filled_bytes({"v": (300,)}),
        "vae_decoder/model.onnx": b"onnx",
        "v1.ckpt": b"pickle",
    }


NEEDED = {
    "model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json",
    "text_encoder/model.fp16.safetensors", "tokenizer/tokenizer_config.json", "tokenizer/vocab.json",
    "tokenizer/merges.txt", "unet/config.json", UNET, "vae/config.json",
    "vae/diffusion_pytorch_model.fp16.safetensors",
}  # fmt: skip


@dataclass
class Hub:
    """Store the repository and the simulated faults of the server.

    Attributes:
        files: name -> content.
        repo: hub id.
        commit: hash of all revisions.
        revisions: branches and tags.
        only_at: name of a file -> the only revision that has the file; the commit of such a revision is `OTHER_COMMIT`.
        url: address, set by `serve`.
        requests: (method, path, Range or "", Authorization or "") of each received request.
        cut_after: name -> number of bytes after which the server disconnects, once.
        cut_always: disconnect each time.
        instead: name -> other content, under the hash of the content in `files`.
        gated: status for every file, 401 or 403; 0 is not gated.
        status: statuses of the next answers.
        status_headers: headers of the answers with these statuses.
        ignore_range: send complete files for range requests.
        redirect: redirect requests for large files to another host, as the hub does.
        listing: fields that replace fields of the answer to `/api/models/ID`.
        sibling: fields that replace fields of each file in the answer.
        hostile: called with the handler and the path of each request; answers the request if it returns True.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    repo: str = "owner/tiny"
    commit: str = COMMIT
    revisions: tuple[str, ...] = ("main", "v1.0")
    only_at: dict[str, str] = field(default_factory=dict)
    url: str = ""
    requests: list[tuple[str, str, str, str]] = field(default_factory=list)
    cut_after: dict[str, int] = field(default_factory=dict)
    cut_always: bool = False
    instead: dict[str, bytes] = field(default_factory=dict)
    gated: int = 0
    status: list[int] = field(default_factory=list)
    status_headers: dict[str, str] = field(default_factory=dict)
    ignore_range: bool = False
    redirect: bool = False
    listing: dict[str, Any] = field(default_factory=dict)
    sibling: dict[str, Any] = field(default_factory=dict)
    hostile: Callable[[Any, str], bool] | None = None

    def fill(self, folder: Path, prefix: str = "") -> None:
        """Add the files of a folder to `files`."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.files[prefix + path.relative_to(folder).as_posix()] = path.read_bytes()

    def ranges(self, name: str) -> list[str]:
        """Return the Range headers of the GET requests for a file; "" is a request for the complete file."""
        return [r for method, path, r, _ in self.requests if method == "GET" and path.endswith(f"/{name}")]

    def downloads(self) -> list[str]:
        """Return the requested files."""
        return [path.split("/resolve/")[1].partition("/")[2] for _, path, _, _ in self.requests if "/resolve/" in path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = (self.headers.get("Range", ""), self.headers.get("Authorization", ""))
        self.hub.requests.append((self.command, path, *headers))
        if self.hub.hostile and self.hub.hostile(self, path):
            self.close_connection = True
        elif self.hub.status:
            self._plain(self.hub.status.pop(0), self.hub.status_headers)
        elif path.startswith("/api/models/"):
            self._api(path.removeprefix("/api/models/"))
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(match[1], match[2], match[3], body)
        elif path.startswith("/cdn/"):
            self._file(self.hub.repo, self.hub.commit, path.removeprefix("/cdn/"), body)
        else:
            self._plain(404, {"X-Error-Code": "RepoNotFound"})

    def _plain(self, status: int, headers: dict[str, str], data: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _api(self, rest: str) -> None:
        hub = self.hub
        if not (rest == hub.repo or rest.startswith(f"{hub.repo}/")):
            body = b'{"error": "Invalid username or password."}'
            return self._plain(401, {"X-Error-Code": "RepoNotFound"}, body)  # as huggingface.co does
        rest = rest.removeprefix(hub.repo).strip("/")
        if rest == "refs":
            names = [{"name": name, "ref": name, "targetCommit": hub.commit} for name in hub.revisions]
            return self._json({"branches": names, "tags": [], "converts": []})
        revision = rest.removeprefix("revision/") if rest else "main"
        if revision not in (*hub.revisions, *hub.only_at.values(), hub.commit):
            return self._plain(404, {"X-Error-Code": "RevisionNotFound"})
        siblings: list[dict[str, Any]] = []
        for name, data in hub.files.items():
            if hub.only_at.get(name, revision) != revision:
                continue
            sibling: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": "0" * 40}
            if name.endswith(LARGE):
                sibling["lfs"] = {"sha256": etag(name, data), "size": len(data), "pointerSize": 134}
            else:
                sibling["blobId"] = etag(name, data)
            siblings.append(sibling | hub.sibling)
        commit = OTHER_COMMIT if revision in hub.only_at.values() else hub.commit
        answer = {"id": hub.repo, "modelId": hub.repo, "sha": commit, "siblings": siblings}
        return self._json(answer | hub.listing)

    def _json(self, value: object) -> None:
        self._plain(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _file(self, repo: str, revision: str, name: str, body: bool) -> None:
        hub = self.hub
        if hub.gated:
            return self._plain(hub.gated, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."})
        is_other = revision == hub.commit and name in hub.only_at
        if repo != hub.repo or name not in hub.files or is_other:
            return self._plain(404, {"X-Error-Code": "EntryNotFound"})
        if hub.redirect and name.endswith(LARGE) and self.path.startswith(f"/{repo}/"):
            other_host = hub.url.replace("127.0.0.1", "localhost")
            return self._plain(302, {"Location": f"{other_host}/cdn/{name}"})
        data = hub.instead.get(name, hub.files[name])
        start = 0
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if match and not hub.ignore_range:
            start = int(match[1])
            if start >= len(data):
                return self._plain(416, {"Content-Range": f"bytes */{len(data)}"})
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        tag = f'"{etag(name, hub.files[name])}"'
        self.send_header("ETag", tag)
        self.send_header("X-Repo-Commit", hub.commit)
        if name.endswith(LARGE):
            self.send_header("X-Linked-ETag", tag)
            self.send_header("X-Linked-Size", str(len(hub.files[name])))
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if body:
            self._send(name, data[start:])
        return None

    def _send(self, name: str, data: bytes) -> None:
        cut = self.hub.cut_after.get(name)
        if cut is None:
            with suppress(ConnectionError):  # the client can close the connection after the header of a file
                self.wfile.write(data)
            return
        if not self.hub.cut_always:
            del self.hub.cut_after[name]
        self.wfile.write(data[:cut])
        self.wfile.flush()
        self.close_connection = True


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Run the hub at `hub.url` until the block ends."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    with run_server(handler) as hub.url:
        yield hub
