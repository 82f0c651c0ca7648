"""Kill a server during a batch of a client, start it again, and let the client continue from its ledger."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from artgen.metadata import read_metadata
from artgen.queue.ledger import Ledger
from artgen.queue.status import verify_files

NUM_JOBS = 40
ARTGEN = (sys.executable, "-m", "artgen")
BATCH = ("batch", "prompts.txt", "-m", "tiny", "--steps", "1", "-o", "out/")


@contextmanager
def serving(port: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([*ARTGEN, "serve", "--port", f"{port}"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert f":{port}" in process.stdout.readline()  # the address is printed when the server accepts connections
        yield process
    finally:
        process.kill()
        process.wait()


def start_client(port: int) -> subprocess.Popen[str]:
    arguments = [*ARTGEN, *BATCH, "--server", f"127.0.0.1:{port}"]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def count_images() -> int:
    return len(list(Path("out").glob("*.png")))


@pytest.mark.slow
def test_batch_continues_after_its_server_was_killed() -> None:
    Path("prompts.txt").write_text("".join(f"a fox number {i}\n" for i in range(NUM_JOBS)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with serving(port) as server:
        client = start_client(port)
        deadline = time.monotonic() + 300
        while count_images() < 8 and time.monotonic() < deadline:
            time.sleep(0.02)
        server.send_signal(signal.SIGKILL)
        _, notes = client.communicate(timeout=300)
    assert client.returncode == 4, notes
    assert "ended during the job" in notes or "Cannot connect" in notes
    num_finished = count_images()
    assert 8 <= num_finished < NUM_JOBS
    names = set(Path("out").glob("*.png"))
    with serving(port):
        client = start_client(port)
        printed, notes = client.communicate(timeout=300)
    assert client.returncode == 0, notes
    assert len(printed.splitlines()) == NUM_JOBS - num_finished, "finished images are not generated again"
    assert f"{num_finished} done, {NUM_JOBS - num_finished} to generate" in notes
    files = sorted(Path("out").glob("*.png"))
    assert len(files) == NUM_JOBS
    assert names < set(files)
    prompts = [(read_metadata(file).record or {})["prompt"] for file in files]
    assert prompts == [f"a fox number {i}" for i in range(NUM_JOBS)], "each image exists once, in order"
    ledger = Ledger(Path("out"))
    ledger.refresh()
    assert [each.state for each in verify_files(ledger)] == ["intact"] * NUM_JOBS
