"""Run the commands of the tests through a worker, if the environment variable ARTGEN_TEST_WORKER is set.

`command_line.run` then starts a client with pipes, and processes that a test starts use the worker too. Each process of
pytest-xdist has a worker and a home folder of its own. A test is skipped when it runs a command after it replaced an
object of its own process, because this has no effect on the worker.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result
from worker_process import WorkerProcess

from artgen.cli.main import COMMAND_SUMMARIES
from artgen.worker_process.client.settings import WORKER_COMMANDS

ACTIVE = bool(os.environ.get("ARTGEN_TEST_WORKER"))

MAX_SKIPPED_TESTS = 30
"""Maximum number of tests that replace objects of their process and then run a command of the worker."""

MIN_SHARE_IN_WORKER = 0.5
"""Minimum share of the commands that the worker runs. The others change variables or use pipes."""

SKIP_REASON = "replaces an object of the process, which has no effect on the worker"

TIMEOUT_SECONDS = 600.0

KEEP_ALIVE = "1d"
"""Idle time of the worker. Files of tests that seldom use the worker may take longer than the default."""


class _State:
    """Store the worker of this process, and facts of the test that runs."""

    folder: Path | None = None
    worker: WorkerProcess | None = None
    is_patched = False
    num_sent = 0


def home_folder() -> Path:
    """Return an empty home folder that has the same path in all tests, as the worker requires."""
    if _State.folder is None:
        _State.folder = Path(tempfile.mkdtemp(prefix="artgen-home-"))
    shutil.rmtree(_State.folder, ignore_errors=True)
    return _State.folder


@pytest.fixture(autouse=True)
def _use_worker(_no_network: None, _temporary_user_folders: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start the worker before the first test, and let the commands of a test find it.

    A library that a test imports can set variables, such as RAY_CLIENT_MODE. They are removed after the test, because
    the worker does not have them.
    """
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # no network
    if _State.worker is None:
        _State.worker = WorkerProcess(None, "2", KEEP_ALIVE)
        _load_libraries(_State.worker)
    monkeypatch.setenv("XDG_RUNTIME_DIR", _State.worker.environment["XDG_RUNTIME_DIR"])
    _State.is_patched = False
    environment = dict(os.environ)
    yield
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]


def _load_libraries(worker: WorkerProcess) -> None:
    """Let the worker import the libraries, so that the commands of the tests print no line about it."""
    command = "-m artgen txt2img x -m tiny --steps 1 --quiet -o -"
    result = subprocess.run([sys.executable, *command.split()], env=worker.environment, capture_output=True, check=True)
    assert worker.num_commands() == 1, result.stderr


@pytest.fixture(autouse=True, scope="session")
def _stop_worker() -> Iterator[None]:
    set_attribute = pytest.MonkeyPatch.setattr

    def note_patch(self: pytest.MonkeyPatch, *args: Any, **kwargs: Any) -> None:
        _State.is_patched = True
        set_attribute(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytest.MonkeyPatch, "setattr", note_patch)
        yield
    if _State.folder is not None:
        shutil.rmtree(_State.folder, ignore_errors=True)
    if _State.worker is None:
        return
    count, log = _State.worker.num_commands(), _State.worker.log
    _State.worker.close()
    assert log == ""
    assert count >= MIN_SHARE_IN_WORKER * _State.num_sent


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail if many tests are skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not hasattr(session.config, "workerinput"):
        skipped = [report for report in reporter.stats.get("skipped", ()) if SKIP_REASON in str(report.longrepr)]
        if len(skipped) > MAX_SKIPPED_TESTS:
            reporter.write_line(f"{len(skipped)} tests are skipped: {SKIP_REASON}")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def uses_worker(arguments: tuple[str, ...]) -> bool:
    """Return whether a command of a test is sent to the worker. The others run in the process of the test."""
    return ACTIVE and bool(arguments) and (arguments[0] in WORKER_COMMANDS or arguments[0] not in COMMAND_SUMMARIES)


def run_client(
    arguments: tuple[str, ...],
    input: str | bytes | None = None,  # noqa: A002 - the name of CliRunner
    env: Mapping[str, str | None] | None = None,
) -> Result:
    """Run a command with pipes through the client, and return its result in the type of `CliRunner`."""
    if _State.is_patched:
        pytest.skip(SKIP_REASON)
    environment = {**os.environ, **(env or {})}
    _State.num_sent += 1
    result = subprocess.run(
        [sys.executable, "-m", "artgen", *arguments],
        input=input.encode() if isinstance(input, str) else input or b"",
        capture_output=True,
        env={name: value for name, value in environment.items() if value is not None},
        pass_fds=[int(number) for number in re.findall(r"/fd/(\d+)", " ".join(arguments))],
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    return Result(
        CliRunner(), result.stdout, result.stderr, result.stdout + result.stderr, None, result.returncode, None
    )
