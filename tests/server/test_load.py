"""Test a server on a real socket: slow clients, incomplete requests, many requests, signals and memory."""

import contextlib
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from server_jobs import at_once

from artgen.server.job_queue import JobQueue
from artgen.server.run_server import Server, run_server
from artgen.server.settings import ServerSettings

JOB = json.dumps({"prompt": "a red fox", "model": "tiny", "steps": 2})
HEAD = "POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
MIB = 1 << 20


@contextlib.contextmanager
def running_server(png: bytes = b"png", **settings: Any) -> Iterator[int]:
    """Run a server without the engine in a thread. Yield its port."""
    used = ServerSettings(port=0, **settings)
    started = threading.Event()
    found: dict[str, Any] = {}

    def on_start(url: str) -> None:
        found["port"] = int(url.rpartition(":")[2])
        started.set()

    def on_server(server: Server) -> None:
        found["server"] = server

    thread = threading.Thread(
        target=run_server,
        args=(used, on_start),
        kwargs={"queue": JobQueue(used, at_once(png)), "on_server": on_server},
        daemon=True,
    )
    thread.start()
    assert started.wait(60)
    yield found["port"]
    found["server"].should_exit = True
    thread.join(60)
    assert not thread.is_alive()


def exchange(port: int, data: bytes, timeout: float = 60) -> bytes:
    """Send bytes, and return all bytes until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # the server has answered before the end
            connection.sendall(data)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                received += chunk
    return received


def request(port: int, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response.status, data


def test_slow_clients_are_disconnected() -> None:
    limits = {"header_seconds": 0.3, "idle_body_seconds": 0.3, "body_seconds": 0.6, "send_seconds": 0.3}
    with running_server(**limits) as port:
        assert exchange(port, b"") == b""
        assert exchange(port, b"GET /health HTTP/1.1\r\nHost: loc") == b""
        half_body = exchange(port, f"{HEAD}Content-Length: 100\r\n\r\n{{".encode())
        assert half_body.startswith(b"HTTP/1.1 408")
        assert b"connection: close" in half_body.lower()
        assert exchange(port, f"{HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\n".encode()).startswith(b"HTTP/1.1 408")
        # A keep-alive connection has the same limits for its second request.
        assert exchange(port, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea").count(b"HTTP/1.1 200") == 1
        # A body whose parts arrive in time, but not within the limit of the complete body.
        with socket.create_connection(("127.0.0.1", port), 30) as connection:
            connection.sendall(f"{HEAD}Content-Length: 100\r\n\r\n".encode())
            start = time.monotonic()
            with contextlib.suppress(OSError):
                while time.monotonic() - start < 20:
                    connection.sendall(b" ")
                    time.sleep(0.1)
                    if select.select([connection], [], [], 0)[0]:
                        break
            assert connection.recv(100).startswith(b"HTTP/1.1 408")
        assert request(port, "GET", "/health")[0] == 200


def test_a_client_that_does_not_read_is_disconnected() -> None:
    with running_server(b"x" * 16 * MIB, send_seconds=0.3) as port:
        status, data = request(port, "POST", "/api/jobs", JOB, **{"Content-Type": "application/json"})
        assert status == 202
        url = f"/api/jobs/{json.loads(data)['id']}/images/0"
        while request(port, "GET", url)[0] != 200:
            time.sleep(0.02)
        with socket.create_connection(("127.0.0.1", port), 30) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
            connection.sendall(f"GET {url} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            time.sleep(1.5)
            received = 0
            with contextlib.suppress(ConnectionResetError):
                while chunk := connection.recv(MIB):
                    received += len(chunk)
        assert received < 16 * MIB


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", b"403"),
        (b"GET /health HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", b"400"),
        (b"GET /health HTTP/1.0\r\n\r\n", b"403"),
        (b"GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"404"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 1_000_000, b"400"),
        (b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", b"400"),
        (f"{HEAD}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n".encode(), b"4"),
        (f"{HEAD}Content-Length: 99999999999999999999999\r\n\r\n".encode(), b"4"),
    ],
)
def test_malformed_requests_get_an_error(data: bytes, status: bytes) -> None:
    with running_server(idle_body_seconds=0.3, header_seconds=0.5) as port:
        assert exchange(port, data).startswith(b"HTTP/1.1 " + status)
        assert request(port, "GET", "/health")[0] == 200


def start_server(folder: Path, *options: str) -> tuple[subprocess.Popen[str], int]:
    """Start `artgen serve` in a process. Return the process and its port."""
    command = [sys.executable, "-m", "artgen", "serve", "--port", "0", *options]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.fullmatch(r"http://127\.0\.0\.1:(\d+)\n", line)
    assert match is not None, line
    return process, int(match[1])


def resident_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_server_survives_load_with_bounded_memory(tmp_path: Path) -> None:
    process, port = start_server(tmp_path, "--max-queue", "12", "--max-per-client", "12", "--max-results", "8")
    json_type = {"Content-Type": "application/json"}
    try:
        first = json.loads(request(port, "POST", "/api/jobs", JOB, **json_type)[1])["id"]
        wait_for_state(port, first, "done")
        before = resident_mib(process.pid)
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(30)]
        for number, connection in enumerate(idle):
            connection.sendall((f"{HEAD}Content-Length: 90000000\r\n\r\n" if number % 2 else "GET /he").encode())
        large = f"{HEAD}Content-Length: {100 * MIB}\r\n\r\n".encode() + bytes(100 * MIB)

        def client(number: int) -> int:
            if number % 10 == 0:
                return int(exchange(port, large, 120).split(b" ")[1])
            if number % 10 == 1:
                return request(port, "GET", "/health", Host="evil.example")[0]
            return request(port, "POST", "/api/jobs", JOB, **json_type)[0]

        with ThreadPoolExecutor(50) as pool:
            statuses = list(pool.map(client, range(50)))
        peak = resident_mib(process.pid)
        assert {statuses[number] for number in range(0, 50, 10)} == {413}
        assert {statuses[number] for number in range(1, 50, 10)} == {403}
        rest = [status for number, status in enumerate(statuses) if number % 10 > 1]
        assert set(rest) == {202, 429}
        assert rest.count(202) >= 12
        for connection in idle:
            connection.close()
        last = time.monotonic() + 300
        while json.loads(request(port, "GET", "/health")[1])["waiting"]:
            assert time.monotonic() < last
            time.sleep(0.2)
        last_id = json.loads(request(port, "POST", "/api/jobs", JOB, **json_type)[1])["id"]
        wait_for_state(port, last_id, "done")
        assert request(port, "GET", f"/api/jobs/{first}")[0] == 404  # the oldest results are removed
        print(f"RSS before: {before:.0f} MiB, peak: {peak:.0f} MiB, end: {resident_mib(process.pid):.0f} MiB")
        assert peak < before + 400
        assert resident_mib(process.pid) < before + 200
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_stops_after_the_step_and_the_second_one_at_once(tmp_path: Path) -> None:
    json_type = {"Content-Type": "application/json"}
    long_job = json.dumps({"prompt": "a fox", "model": "tiny", "steps": 1000})
    process, port = start_server(tmp_path)
    job_id = json.loads(request(port, "POST", "/api/jobs", long_job, **json_type)[1])["id"]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", f"/api/jobs/{job_id}/events")
    response = connection.getresponse()
    while b"event: step" not in response.readline():
        pass
    assert request(port, "GET", f"/api/jobs/{job_id}/preview")[1].startswith(b"\x89PNG")
    process.send_signal(signal.SIGINT)
    assert b"event: canceled" in response.read()  # the stream of events ends
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, "Stopping after this step." in errors) == (0, True)
    assert "127.0.0.1 0 images, canceled" in errors
    process, port = start_server(tmp_path)
    request(port, "POST", "/api/jobs", long_job, **json_type)
    time.sleep(1)  # the libraries are being imported, which takes longer than the test waits
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode in (0, 130)
    assert time.monotonic() - start < 30


def wait_for_state(port: int, job_id: str, state: str) -> None:
    last = time.monotonic() + 300
    while (found := json.loads(request(port, "GET", f"/api/jobs/{job_id}")[1]))["state"] != state:
        assert time.monotonic() < last, found
        time.sleep(0.1)
