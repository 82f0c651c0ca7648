"""Test answers of a hostile hub, planted links in the cache, and network settings that are not valid."""

import contextlib
import gzip
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hub_server
import pytest
from hub_server import UNET, tiny_files

from artgen import registry
from artgen.errors import ArtgenError, ModelUnavailableError, RefusedError, UsageError
from artgen.registry import hub as downloads
from artgen.registry.hub import cache, client, transfer
from artgen.registry.hub.names import is_revision


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_server.Hub]:
    """Run a hub, with short time limits."""
    monkeypatch.setattr(client, "sleep", lambda seconds: None)
    for name in ("READ_SECONDS", "ANSWER_SECONDS", "SLOW_WINDOW_SECONDS"):
        monkeypatch.setattr(transfer, name, 1.0)
    with hub_server.serve(hub_server.Hub(tiny_files())) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """Return a folder outside the cache whose files must not change."""
    folder = tmp_path / "victim"
    (folder / "Documents").mkdir(parents=True)
    (folder / "Documents" / "notes.txt").write_text("mine")
    (folder / "config.json").write_text("{}")
    before = _contents(folder)
    yield folder
    assert _contents(folder) == before


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


HOSTILE_NAMES: list[object] = [
    "", ".", "..", "/", "/etc/x", "a/../b", "a/..", "../a", "a//b", "a/", "./a", "a\\b", "C:x", "a\0b", "a\nb",
    "\ud800",
    "a" * 300, "a/" * 600 + "b", 7, None, ["a"], {"a": 1}, True,
]  # fmt: skip
HOSTILE_HASHES: list[object] = [
    "",
    "..",
    "a" * 39,
    "a" * 41,
    "A" * 40,
    "a" * 39 + "\n",
    "../" + "a" * 37,
    "\u0661" * 40,
    4e39,
    None,
    [],
]
HOSTILE_SIZES: list[object] = [-1, 1.5, 10**30, "7", True, None, [], {}]


@pytest.mark.parametrize(
    ("field", "value"),
    [("rfilename", value) for value in HOSTILE_NAMES]
    + [("blobId", value) for value in HOSTILE_HASHES]
    + [("size", value) for value in HOSTILE_SIZES]
    + [("lfs", value) for value in ([1], "x", 7, {"size": 1}, {"sha256": "a" * 64}, {"sha256": "..", "size": 1})],
)
def test_invalid_fields_of_files_are_rejected(hub: hub_server.Hub, field: str, value: object) -> None:
    hub.files, hub.sibling = {"model_index.json": b"{}"}, {field: value}
    with pytest.raises(ModelUnavailableError, match="is not valid"):
        downloads.pull(hub.repo)
    assert not cache.cache_folder().exists()


@pytest.mark.parametrize(
    "listing",
    [
        *({"sha": value} for value in [*HOSTILE_HASHES, "/home/me", "../../.."]),
        *({"siblings": value} for value in (None, 7, "x", {"a": 1}, [1], [[]], [{}], [None])),
    ],
)
def test_invalid_fields_of_listings_are_rejected(hub: hub_server.Hub, victim: Path, listing: dict[str, Any]) -> None:
    hub.files["Documents/notes.txt"] = b"replaced"
    hub.listing = listing if listing.get("sha") != "/home/me" else {"sha": str(victim)}
    with pytest.raises(ModelUnavailableError, match="is not valid"):
        downloads.pull(hub.repo)
    assert not cache.cache_folder().exists()


def _send(handler: Any, body: bytes, status: int = 200, **headers: str) -> bool:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)
    return True


def _send_endlessly(handler: Any, block: bytes, pause: float = 0, **headers: str) -> bool:
    handler.send_response(200)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(block)
            handler.wfile.flush()
            time.sleep(pause)
    except OSError:
        return True


def _send_slow_headers(handler: Any) -> bool:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    try:
        while True:
            handler.wfile.write(b"a")
            time.sleep(0.05)
    except OSError:
        return True


def _send_nothing(handler: Any) -> bool:
    handler.connection.settimeout(30)
    return handler.rfile.read(1) == b""


HOSTILE_ANSWERS: dict[str, Callable[[Any], bool]] = {
    "endless": lambda handler: _send_endlessly(handler, b" " * 65536),
    "endless, announced": lambda handler: _send_endlessly(handler, b" " * 65536, Content_Length="9" * 15),
    "slow body": lambda handler: _send_endlessly(handler, b" ", 0.05),
    "slow chunk header": lambda handler: _send_endlessly(handler, b"0", 0.05, Transfer_Encoding="chunked"),
    "slow headers": _send_slow_headers,
    "silent": _send_nothing,
    "gzip bomb": lambda handler: _send(handler, gzip.compress(b" " * 10**7), Content_Encoding="gzip"),
    "deep": lambda handler: _send(handler, b"[" * 10**5),
    "deep, closed": lambda handler: _send(handler, b"[" * 1000 + b"]" * 1000),
    "not finite": lambda handler: _send(handler, b'{"sha": NaN}'),
    "overflow": lambda handler: _send(handler, b'{"sha": 1e999}'),
    "digits": lambda handler: _send(handler, b'{"sha": ' + b"9" * 5000 + b"}"),
    "no object": lambda handler: _send(handler, b"7"),
    "no JSON": lambda handler: _send(handler, b"<html>"),
    "not UTF-8": lambda handler: _send(handler, b'{"sha": "\xff"}'),
    "empty": lambda handler: _send(handler, b""),
    "a million files": lambda handler: _send(
        handler, json.dumps({"siblings": [{"rfilename": "x" * 8}] * 10**6}).encode()
    ),
    "short": lambda handler: _send(handler, b"{}", Content_Length="9"),
    "no HTTP": lambda handler: handler.wfile.write(b"SSH-2.0\r\n\r\n") > 0,
    "endless error": lambda handler: _send_error(handler),
    "status 204": lambda handler: _send(handler, b"", 204),
    "status 500": lambda handler: _send(handler, b"", 500),
    "redirect to a file": lambda handler: _send(handler, b"", 302, Location="file:///etc/passwd"),
    "redirect to another host": lambda handler: _send(handler, b"", 302, Location="http://localhost:1/"),
    "redirect loop": lambda handler: _send(handler, b"", 302, Location="/api/models/owner/tiny"),
    "redirect to nothing": lambda handler: _send(handler, b"", 302),
    "redirect without a host": lambda handler: _send(handler, b"", 302, Location="http://[x"),
}


def _send_error(handler: Any) -> bool:
    handler.send_response(404)
    handler.send_header("X-Error-Code", "RevisionNotFound")
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b" " * 65536)
    except OSError:
        return True


@pytest.mark.parametrize("answer", HOSTILE_ANSWERS.values(), ids=HOSTILE_ANSWERS)
def test_answers_are_limited_in_size_and_time(hub: hub_server.Hub, answer: Callable[[Any], bool]) -> None:
    hub.hostile = lambda handler, path: answer(handler)
    start = time.monotonic()
    with pytest.raises(ModelUnavailableError):
        downloads.pull(hub.repo, revision="v1.0")
    assert time.monotonic() - start < 20, "expected: 4 seconds"
    assert not cache.cache_folder().exists()


@pytest.mark.parametrize(
    "answer",
    ["endless", "slow body", "slow chunk header", "slow headers", "silent", "redirect to a file", "redirect loop"],
)
def test_files_are_limited_in_size_and_time(hub: hub_server.Hub, answer: str) -> None:
    hub.hostile = lambda handler, path: path.endswith(".safetensors") and HOSTILE_ANSWERS[answer](handler)
    start = time.monotonic()
    with pytest.raises(ArtgenError):
        downloads.pull(hub.repo)
    assert time.monotonic() - start < 30, "expected: 5 seconds"
    sizes = {path.name: path.stat().st_size for path in cache.cache_folder().rglob("*.incomplete")}
    assert all(size <= len(hub.files[UNET]) for size in sizes.values())


@pytest.mark.parametrize("num_bytes", [1, 1000])
def test_attempts_with_few_bytes_are_limited(hub: hub_server.Hub, num_bytes: int) -> None:
    """Disconnect after some bytes each time, which must not count as progress."""
    hub.cut_after, hub.cut_always = {UNET: num_bytes}, True
    with pytest.raises(ModelUnavailableError, match="is truncated"):
        downloads.pull(hub.repo)
    assert len(hub.ranges(UNET)) == client.MAX_ATTEMPTS


def test_large_or_strange_model_indexes_are_rejected(hub: hub_server.Hub) -> None:
    for content in (b"[" * 5000, b" " * (1 << 21), json.dumps({f"c{n}": ["a", "b"] for n in range(5000)}).encode()):
        hub.files["model_index.json"] = content
        with pytest.raises(ModelUnavailableError, match="not a small JSON object"):
            downloads.pull(hub.repo)


def _plant(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)


def _links(root: Path, hub: hub_server.Hub, victim: Path) -> dict[str, tuple[Path, Path]]:
    etag, notes = hub_server.etag(UNET, hub.files[UNET]), victim / "Documents" / "notes.txt"
    return {
        "partial file": (root / "blobs" / f"{etag}.incomplete", notes),
        "dangling partial file": (root / "blobs" / f"{etag}.incomplete", victim / "new"),
        "lock": (cache.locks_folder(hub.repo) / f"{etag}.lock", notes),
        "locks": (cache.locks_folder(hub.repo), victim),
        "blobs": (root / "blobs", victim),
        "snapshots": (root / "snapshots", victim),
        "snapshot": (root / "snapshots" / hub.commit, victim),
        "component": (root / "snapshots" / hub.commit / "unet", victim),
        "refs": (root / "refs", victim),
        "refs of pull requests": (root / "refs" / "pr", victim),
        "short blob": (root / "blobs" / etag, notes),
        "pointer": (root / "snapshots" / hub.commit / UNET, notes),
        "ref": (root / "refs" / "pr" / "1", notes),
    }


LINKS = list(_links(Path("/x"), hub_server.Hub(tiny_files()), Path("/x")))


@pytest.mark.parametrize("link", LINKS)
def test_planted_links_are_not_followed(hub: hub_server.Hub, victim: Path, link: str) -> None:
    hub.revisions = ("pr/1",)
    path, target = _links(cache.repository_folder(hub.repo), hub, victim)[link]
    _plant(path, target)
    with contextlib.suppress(RefusedError):
        folder = downloads.pull(hub.repo, revision="pr/1")
        assert not path.resolve().is_relative_to(victim), "the link was not replaced"
        assert (folder / UNET).read_bytes() == hub.files[UNET]


@pytest.mark.parametrize("link", ["blobs", "refs", "refs of pull requests", "snapshot", "component", "pointer"])
@pytest.mark.parametrize("revision", [None, "pr/1"])
def test_removing_a_model_deletes_no_file_outside_the_cache(
    hub: hub_server.Hub, tmp_path: Path, link: str, revision: str | None
) -> None:
    victim = tmp_path / "victim"
    (victim / "Documents").mkdir(parents=True)
    (victim / "Documents" / "notes.txt").write_text("mine")
    hub.revisions = ("main", "pr/1")
    first = downloads.pull(hub.repo)
    hub.commit = "f" * 40
    downloads.pull(hub.repo, revision="pr/1")
    (victim / "1").write_text(hub.commit)
    (victim / hub_server.etag(UNET, hub.files[UNET])).write_text("mine")
    before = _contents(victim)
    path, target = _links(cache.repository_folder(hub.repo), hub, victim)[link]
    if path.is_symlink():
        path.unlink()
    else:
        path.rename(path.with_name("moved"))
    _plant(path, target)
    with contextlib.suppress(RefusedError, ModelUnavailableError):
        cache.remove_model(hub.repo, revision)
    assert _contents(victim) == before
    assert revision is None or first.exists()


def test_a_fifo_is_not_opened_in_the_cache(hub: hub_server.Hub) -> None:
    root = cache.repository_folder(hub.repo)
    partial = root / "blobs" / f"{hub_server.etag(UNET, hub.files[UNET])}.incomplete"
    for path in (partial, root / "refs" / "main"):
        path.parent.mkdir(parents=True)
        os.mkfifo(path)
    assert cache.resolve_commit(hub.repo, None) is None
    with pytest.raises(RefusedError, match="not a regular file"):
        downloads.pull(hub.repo)


REVISIONS = [
    "main",
    "v1.0",
    "feature/x",
    "v1.0+build",
    "refs/pr/1",
    "a-b_c",
    "\u00fcn\u00ef",
    "x@y",
    "#1",
    "a.b",
    "-x",
    hub_server.COMMIT,
]


@pytest.mark.parametrize("revision", REVISIONS)
def test_branches_and_tags_are_revisions(hub: hub_server.Hub, revision: str) -> None:
    hub.revisions = (revision,)
    downloads.pull(hub.repo, revision=revision)
    assert cache.resolve_commit(hub.repo, revision) == hub.commit
    assert registry.parse_reference(f"{hub.repo}@{revision}").revision == revision


@pytest.mark.parametrize(
    "revision",
    ["..", "../x", "a/../b", "a..b", "/x", "/etc/passwd", "a//b", "a/", ".x", "a/.x", "a b", "a\\b", "a\tb", "a:b",
    "x.lock", "a~1", "a^", "a?", "a*", "a[b", "a@{1}", "x" * 300, "\ud800"],
)  # fmt: skip
def test_other_texts_are_not_revisions(hub: hub_server.Hub, revision: str) -> None:
    assert not is_revision(revision)
    for call in (downloads.pull, lambda repo, revision: registry.parse_reference(f"{repo}@{revision}")):
        with pytest.raises(UsageError) as caught:
            call(hub.repo, revision=revision)
        assert caught.value.exit_code == 2
    assert cache.resolve_commit(hub.repo, revision) is None
    assert hub.requests == []


ADDRESSES = [
    "huggingface.co", "ftp://x", "file:///etc", "http://", "http:///x", "http://:80", "http://h:x", "http://h:99999",
    "http://a b",
    "http://[::1", "http://h\n", "http://h?x", "http://h#x", "http://<h>", "http://a..b", "//h", "x",
    "user:hunter2@h", "http:hunter2",
    "http://user:hunter2@h:x", "http://user:hunter2/@h:1?", "ftp://user:hunter2@h", "\udcff",
]  # fmt: skip
PROXIES = [
    "ftp://x", "socks4://x:1", "file:///x", "http://", "http://h:x", "http://h:99999", "http://[::1", "http://a b",
    "http://user:hunter2@h:x", "ftp://user:hunter2@h", "://", "h:port",
]  # fmt: skip
TOKENS = ["hf_\u00e4hunter2", "hf\nhunter2", "hf hunter2", "hf\x01hunter2", "\udcffhunter2", "hunter2" * 1000]


@pytest.mark.parametrize(
    ("name", "value"),
    [("HF_ENDPOINT", value) for value in ADDRESSES]
    + [(name, value) for name in ("ALL_PROXY", "HTTPS_PROXY", "http_proxy") for value in PROXIES]
    + [(name, value) for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") for value in TOKENS]
    + [
        ("SSL_CERT_FILE", value)
        for value in ("missing", "text", ".", "empty", "/dev/null", "/dev/zero", "fifo", "\udcff")
    ]
    + [("SSL_CERT_DIR", value) for value in ("missing", "text", "\udcff")]
    + [(name, "~nobody9/x") for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")]
    + [("HF_TOKEN_PATH", "fifo")],
)
def test_invalid_network_settings_are_rejected_before_a_connection(
    hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    Path("text").write_text("hunter2")
    Path("empty").touch()
    os.mkfifo("fifo")
    hidden = {"SSL_CERT_DIR": "SSL_CERT_FILE", "XDG_CACHE_HOME": "HF_HOME"}.get(name, "HIDDEN")
    monkeypatch.delenv(hidden, raising=False)
    if name == "HF_TOKEN_PATH":
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", value)
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was opened"))
    with pytest.raises(UsageError) as caught:
        downloads.pull(hub.repo)
    error = caught.value
    assert name in error.message
    assert error.message.count("\n") == 0
    assert error.hint
    assert "hunter2" not in f"{error.message}{error.hint}"


@pytest.mark.parametrize("name", ["ALL_PROXY", "https_proxy"])
def test_a_socks_proxy_without_its_package_is_rejected(
    hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "socks5://user:hunter2@127.0.0.1:1080")
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(UsageError, match=f"Cannot use {name}: a socks5 proxy needs the package socksio"):
        downloads.pull(hub.repo)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NO_PROXY", "*"),
        ("NO_PROXY", "[::1, a b, http://["),
        ("HF_TOKEN", "hf_x\n"),
        ("HF_TOKEN", ""),
        ("HF_ENDPOINT", ""),
        ("REQUESTS_CA_BUNDLE", "missing"),
        ("HF_HUB_USER_AGENT_ORIGIN", "ä\n"),
    ],
)
def test_harmless_network_settings_are_accepted(
    hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    from huggingface_hub.utils import close_session  # type: ignore[attr-defined]

    close_session()
    if name == "NO_PROXY":
        monkeypatch.setenv("ALL_PROXY", "ftp://x" if value == "*" else "")
    if name == "HF_ENDPOINT":
        monkeypatch.setattr("artgen.registry.hub.network_settings.DEFAULT_ENDPOINT", hub.url)
    monkeypatch.setenv(name, value)
    downloads.pull(hub.repo)


@pytest.mark.parametrize("kind", ["missing", "folder", "binary", "fifo", "loop", "below a file"])
def test_an_unreadable_token_file_is_optional(
    hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    path = Path(os.devnull, "token") if kind == "below a file" else tmp_path / "token"
    {
        "missing": lambda: None,
        "below a file": lambda: None,
        "folder": path.mkdir,
        "binary": lambda: path.write_bytes(b""),
        "fifo": lambda: os.mkfifo(path),
        "loop": lambda: path.symlink_to(path),
    }[kind]()
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(path))
    downloads.pull(hub.repo)
    assert {authorization for *_, authorization in hub.requests} == {""}


def test_passwords_of_addresses_are_not_printed(hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url.replace("//", "//user:hunter2@"))
    monkeypatch.setenv("HF_TOKEN", "hf_hunter2")
    messages = []
    for hub.status, hub.gated in (([404], 0), ([500] * 4, 0), ([418], 0), ([], 403), ([401], 0)):
        with pytest.raises(ModelUnavailableError) as caught:
            downloads.pull(hub.repo)
        messages.append(f"{caught.value.message} {caught.value.hint}")
    monkeypatch.setenv("HF_ENDPOINT", "http://user:hunter2@127.0.0.1:1")
    with pytest.raises(ModelUnavailableError) as caught:
        downloads.pull(hub.repo)
    messages.append(f"{caught.value.message} {caught.value.hint}")
    assert not [message for message in messages if "hunter2" in message]


def test_the_token_is_not_sent_after_a_redirect_to_another_host(
    hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with hub_server.serve(hub_server.Hub(tiny_files())) as other:
        hub.hostile = lambda handler, path: _send(handler, b"", 302, Location=f"{other.url}{path}")
        downloads.pull(hub.repo)
        assert {authorization for *_, authorization in other.requests} == {""}
