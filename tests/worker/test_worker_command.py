"""Test `artgen worker`, the start by the first command, and workers that cannot be used."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import run

import artgen
from artgen.worker_process.client import settings, socket_file, start

TIMEOUT_SECONDS = 300.0

REFUSED = ("txt2img", "x", "--steps", "0")
"""A command that is refused before a library is imported. So tests without an image take milliseconds."""


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Use an empty runtime folder with a short path, and end its worker after the test."""
    folder = Path(tempfile.mkdtemp(prefix="artgen-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    yield folder / "artgen"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        folder.chmod(0o700)
        with contextlib.suppress(artgen.ArtgenError):
            artgen.stop_worker()
    shutil.rmtree(folder, ignore_errors=True)


def command(*arguments: str, code: int = 2, **kwargs: Any) -> "subprocess.CompletedProcess[str]":
    """Run a command in a process of its own, as a user does."""
    environment = {**os.environ, **kwargs.pop("env", {})}
    result = subprocess.run(
        [sys.executable, "-m", "artgen", *arguments],
        capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False, env=environment, **kwargs,
    )  # fmt: skip
    assert result.returncode == code, result.stderr
    return result


def num_commands() -> int:
    return artgen.worker_status().num_commands


def wait_until(is_reached: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not is_reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def process_id() -> int:
    pid = artgen.worker_status().pid
    assert pid is not None
    return pid


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_start_status_stop() -> None:
    assert run("worker", "status").stdout == "No worker runs.\n"
    assert run("worker", "stop").stdout == "No worker runs.\n"
    assert json.loads(run("worker", "status", "--json").stdout)["running"] is False
    pid = int(run("worker", "start").stdout.removeprefix("The worker runs: process ").rstrip(".\n"))
    assert run("worker", "start").stdout == f"The worker runs already: process {pid}.\n"
    command(*REFUSED)
    status = json.loads(command("worker", "status", "--json", code=0).stdout)
    assert (status["running"], status["pid"], status["num_commands"]) == (True, pid, 1)
    assert (status["max_loaded"], status["keep_alive_seconds"], status["models"]) == (2, 600, [])
    assert status["version"] == artgen.__version__
    assert status["difference"] is None
    printed = run("worker", "status").stdout
    assert f"process     {pid}\n" in printed
    assert run("worker", "stop").stdout == "The worker has ended.\n"
    assert not is_alive(pid)
    assert not artgen.worker_status().running


def test_options_have_precedence_over_variables_and_files(monkeypatch: pytest.MonkeyPatch) -> None:
    run("config", "set", "keep_alive", "3m")
    run("config", "set", "max_loaded", "4")
    monkeypatch.setenv("ARTGEN_MAX_LOADED", "5")
    run("worker", "start", "--keep-alive", "2h")
    status = artgen.worker_status()
    assert (status.max_loaded, status.keep_alive_seconds) == (5, 7200)


def test_options_of_a_second_start_are_not_ignored_silently() -> None:
    run("worker", "start", "--max-loaded", "3")
    assert "no effect" not in run("worker", "start", "--max-loaded", "3").stderr
    assert "The options have no effect" in run("worker", "start", "--max-loaded", "4").stderr
    assert "The options have no effect" in run("worker", "start", "--keep-alive", "1m").stderr


@pytest.mark.parametrize("options", [("--max-loaded", "0"), ("--keep-alive", "5"), ("--keep-alive", "1s5")])
def test_invalid_options_start_nothing(options: tuple[str, ...], runtime: Path) -> None:
    run("worker", "start", *options, code=2)
    assert not runtime.exists()


@pytest.mark.parametrize("name", ["start", "stop", "status"])
def test_windows_has_no_worker(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "IS_SUPPORTED", False)
    result = run("worker", name, code=2 if name == "start" else 0)
    if name == "start":
        assert result.stderr.startswith("error: The worker is not supported on Windows.\n")


def test_modules_of_the_client_can_be_imported_without_modules_of_unix() -> None:
    code = (
        "import sys, os, socket\nfor name in ('fcntl', 'resource', 'pwd', 'grp'): sys.modules[name] = None\n"
        "for name in ('AF_UNIX', 'SO_PEERCRED', 'send_fds', 'recv_fds'): delattr(socket, name)\n"
        "import artgen.spec.config\n"
        "for name in ('getuid', 'geteuid', 'getgid', 'uname', 'getsid'): delattr(os, name)\n"
        "import artgen.worker_process.client.command, artgen.worker_process.client.start\n"
        "import artgen.worker_process.client.control\n"
        "import artgen.cli.worker, artgen.api.worker_functions\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=TIMEOUT_SECONDS)


def test_the_first_command_starts_the_worker(monkeypatch: pytest.MonkeyPatch, runtime: Path) -> None:
    command(*REFUSED)
    assert not runtime.exists()
    monkeypatch.setenv("ARTGEN_WORKER", "off")
    command(*REFUSED)
    assert not runtime.exists()
    monkeypatch.setenv("ARTGEN_WORKER", "on")
    monkeypatch.setenv("ARTGEN_KEEP_ALIVE", "4m")
    command(*REFUSED)
    assert num_commands() == 1
    assert artgen.worker_status().keep_alive_seconds == 240
    monkeypatch.setenv("ARTGEN_WORKER", "off")
    command(*REFUSED)
    assert num_commands() == 1
    monkeypatch.delenv("ARTGEN_WORKER")
    command("a fox", "--steps", "0")
    assert num_commands() == 2


def test_the_setting_of_a_file_starts_the_worker() -> None:
    run("config", "set", "worker", "on")
    command(*REFUSED)
    assert num_commands() == 1
    run("config", "set", "worker", "off", "--project")
    command(*REFUSED)
    assert num_commands() == 1


def test_commands_that_start_at_the_same_time_share_one_worker() -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "artgen", *REFUSED, "--verbose"],
            env={**os.environ, "ARTGEN_WORKER": "on"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for process in processes:
        _, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
        assert process.returncode == 2
        assert "Not using the worker" not in stderr
    assert num_commands() == 6


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("nice", "its priority is different"),
        ("ulimit -n 100;", "its resource limit NOFILE is different"),
        ("ulimit -v 90000000;", "its resource limit AS is different"),
        ("export HF_HOME=/x;", "its environment variable HF_HOME has another value"),
        ("export ARTGEN_STEPS=3;", "its environment variable ARTGEN_STEPS has another value"),
        ("unset LANG; export LC_ALL=C;", "its "),
        ("exec <&-;", "stdin, stdout or stderr is closed"),
        ("exec >&-;", "stdin, stdout or stderr is closed"),
    ],
)
def test_a_different_worker_is_not_used(program: str, reason: str) -> None:
    """Check a command in a shell, with and without `--verbose`."""
    run("worker", "start")
    script = f'{program} "$0" -m artgen "$@"'
    for options in ((), ("--verbose",), ("-q",), ("-v", "--quiet")):
        result = subprocess.run(
            ["bash", "-c", script, sys.executable, *REFUSED, *options],
            capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
        assert result.returncode == 2
        lines = result.stderr.splitlines()
        if "--verbose" in options:
            assert lines.pop(0).startswith(f"Not using the worker: {reason}")
        assert lines == ["error: steps must be 1 to 1,000, not 0.", "  --steps 1"]
    assert num_commands() == 0


def test_variables_of_the_terminal_are_passed() -> None:
    run("worker", "start")
    command(*REFUSED, env={"TERM": "dumb", "COLUMNS": "40", "NO_COLOR": "1", "TZ": "Asia/Tokyo", "ANY": "x"})
    assert num_commands() == 1


@pytest.mark.parametrize("path", ["/dev/fd/9", "/proc/self/fd/0", "/dev/tty"])
def test_files_of_the_process_are_not_opened_by_the_worker(path: str) -> None:
    run("worker", "start")
    command("img2img", path, "x", "--steps", "0")
    assert num_commands() == 0


def test_changed_code_is_not_run_by_the_old_worker(tmp_path: Path) -> None:
    """Copy artgen, start its worker, and change a file."""
    copy = tmp_path / "copy" / "artgen"
    shutil.copytree(Path(artgen.__file__).parent, copy, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    env = {"PYTHONPATH": str(copy.parent)}
    assert command("worker", "start", code=0, env=env).stdout.startswith("The worker runs: ")
    command(*REFUSED, env=env)
    assert command("worker", "start", code=0, env=env).stderr == ""
    version_file = copy / "_version.py"
    version_file.write_text(version_file.read_text().replace(artgen.__version__, "99.0"))
    reason = f"its version of artgen is {artgen.__version__}, not 99.0"
    assert command(*REFUSED, "-v", env=env).stderr.startswith(f"Not using the worker: {reason}.\n")
    assert f"Your commands cannot use it: {reason}." in command("worker", "start", code=0, env=env).stderr
    assert json.loads(command("worker", "status", "--json", code=0, env=env).stdout)["difference"] == reason
    version_file.write_text(version_file.read_text().replace("99.0", artgen.__version__) + "\n")
    assert "its files of artgen are different" in command(*REFUSED, "-v", env=env).stderr
    assert json.loads(command("worker", "status", "--json", code=0, env=env).stdout)["num_commands"] == 1
    command("worker", "stop", code=0, env=env)


def test_a_killed_worker_is_replaced(runtime: Path) -> None:
    run("worker", "start")
    pid = process_id()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid))
    assert (runtime / "worker.sock").exists()
    assert run("worker", "status").stdout == "No worker runs.\n"
    assert "no worker runs" in command(*REFUSED, "--verbose").stderr
    assert "already" not in run("worker", "start").stdout
    command(*REFUSED)
    assert num_commands() == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_worker_and_removes_its_socket(number: int, runtime: Path) -> None:
    run("worker", "start")
    pid = process_id()
    os.kill(pid, number)
    wait_until(lambda: not is_alive(pid))
    assert not (runtime / "worker.sock").exists()


def test_a_stopped_process_is_not_waited_for_and_can_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    run("worker", "start")
    pid = process_id()
    os.kill(pid, signal.SIGSTOP)
    assert "it does not answer within" in command(*REFUSED, "--verbose").stderr
    monkeypatch.setattr(socket_file, "HELLO_SECONDS", 0.1)
    monkeypatch.setattr("artgen.worker_process.client.control.STOP_SECONDS", 0.5)
    assert run("worker", "status", code=74).stderr.splitlines()[1] == "  To end the worker: artgen worker stop"
    assert "Cannot use the worker" in run("worker", "start", code=74).stderr
    assert run("worker", "stop").stdout == "The worker has ended.\n"
    assert not is_alive(pid)


def test_the_worker_exits_after_the_idle_time(runtime: Path) -> None:
    run("worker", "start", "--keep-alive", "3s")
    pid = process_id()
    wait_until(lambda: not is_alive(pid))
    assert sorted(path.name for path in runtime.iterdir()) == ["start.lock", "worker.lock", "worker.log"]
    assert not artgen.worker_status().running


def test_no_command_fails_while_workers_exit() -> None:
    """Start commands around the idle exits of their workers."""
    env = {"ARTGEN_WORKER": "on", "ARTGEN_KEEP_ALIVE": "1s"}
    for delay in (0.0, 0.7, 0.8, 0.9, 1.0, 1.1):
        time.sleep(delay)
        assert command(*REFUSED, env=env).stderr == "error: steps must be 1 to 1,000, not 0.\n  --steps 1\n"


def test_clients_that_connect_and_wait_do_not_keep_the_worker_alive() -> None:
    run("worker", "start", "--keep-alive", "3s")
    pid = process_id()
    connection = socket_file.connect()
    assert connection is not None
    wait_until(lambda: not is_alive(pid))
    assert (connection.receive() or {})["type"] == "hello"
    with pytest.raises((OSError, StopIteration)):
        raise StopIteration if connection.receive() is None else AssertionError
    connection.close()


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"{}\n", b"[]\n", b'{"type": 3}\n', b'{"type": "run"}\n', b'{"type": "written"}\n', b"\xff\n",
     b'{"type": "run", "arguments": [], "environment": {}, "umask": 0, "entropy": 0}\n', b"x" * 100_000,
     b'{"type": "interrupt"}\n',
     b"[" * 100_000 + b"\n"],
)  # fmt: skip
def test_invalid_messages_close_their_connection_only(data: bytes) -> None:
    run("worker", "start")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connected:
        connected.connect(socket_file.socket_path())
        connected.sendall(data)
        connected.shutdown(socket.SHUT_WR)
        connected.settimeout(TIMEOUT_SECONDS)
        while connected.recv(1 << 16):
            pass
    command(*REFUSED)
    assert num_commands() == 1


def test_many_connections_do_not_exhaust_the_worker() -> None:
    run("worker", "start")
    sockets = []
    for _ in range(300):
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connected.setblocking(False)
        try:
            connected.connect(socket_file.socket_path())
        except BlockingIOError:
            connected.close()
            break
        sockets.append(connected)
    for connected in sockets:
        connected.close()
    wait_until(lambda: artgen.worker_status().running)
    command(*REFUSED)
    assert num_commands() == 1


def test_the_files_of_the_worker_are_private(runtime: Path) -> None:
    os.umask(0)
    try:
        run("worker", "start")
    finally:
        os.umask(0o022)
    assert runtime.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in runtime.iterdir()} == dict.fromkeys(
        ("start.lock", "worker.lock", "worker.log", "worker.sock"), 384
    )


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o777])
def test_a_folder_that_others_can_open_is_refused(mode: int, runtime: Path) -> None:
    run("worker", "start")
    runtime.chmod(mode)
    assert "other users have access to the folder" in command(*REFUSED, "-v").stderr
    for name in ("start", "status", "stop"):
        assert (
            f"Cannot {'use' if name != 'stop' else 'stop'} the worker: other users have access"
            in run("worker", name, code=5).stderr
        )
    runtime.chmod(0o700)
    assert num_commands() == 0


def test_a_link_in_place_of_the_folder_is_refused(runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir(mode=0o700)
    runtime.symlink_to(tmp_path / "other")
    assert "is not a folder" in run("worker", "start", code=5).stderr
    assert (
        command(*REFUSED, env={"ARTGEN_WORKER": "on"}).stderr
        == "error: steps must be 1 to 1,000, not 0.\n  --steps 1\n"
    )
    assert list((tmp_path / "other").iterdir()) == []


def test_links_in_place_of_the_files_are_not_followed(runtime: Path, tmp_path: Path) -> None:
    runtime.mkdir(mode=0o700)
    victim = tmp_path / "victim"
    victim.write_text("content")
    for name in ("worker.log", "worker.lock", "start.lock"):
        (runtime / name).unlink(missing_ok=True)
        (runtime / name).symlink_to(victim)
        assert "cannot be written" in run("worker", "start", code=None).stderr
        (runtime / name).unlink()
    assert victim.read_text() == "content"


def test_a_long_path_is_refused_with_its_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    error = run("worker", "start", code=74).stderr
    assert "and at most 107 are possible" in error or sys.platform != "linux"
    assert "XDG_RUNTIME_DIR" in error
    assert run("worker", "status").stdout == "No worker runs.\n"
    assert run("worker", "stop").stdout == "No worker runs.\n"
    result = command(*REFUSED, "-v", env={"ARTGEN_WORKER": "on"})
    assert result.stderr.startswith("Not using the worker: the path of its socket has")
    command(*REFUSED)


def test_an_unwritable_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setenv("TMPDIR", "/proc")
    assert "cannot be created" in run("worker", "start", code=74).stderr
    assert command(*REFUSED, "-v", env={"ARTGEN_WORKER": "on"}).stderr.startswith("Not using the worker: the folder")


@pytest.mark.parametrize("folder", ["", "relative", "/missing"])
def test_the_temporary_folder_is_used_without_a_runtime_folder(
    folder: str, monkeypatch: pytest.MonkeyPatch, runtime: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
    monkeypatch.setenv("TMPDIR", str(runtime.parent))
    run("worker", "start")
    assert (runtime.parent / f"artgen-{os.getuid()}" / "worker.sock").exists()
    command(*REFUSED)
    assert num_commands() == 1
    artgen.stop_worker()


def test_a_worker_that_cannot_start_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "START_SECONDS", 60.0)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert "it could not start: it wrote no message" in run("worker", "start", code=1).stderr
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if '-m' in sys.orig_argv and 'artgen.worker_process.server' in sys.orig_argv: raise SystemExit('broken')\n"
    )
    monkeypatch.undo()
    env = {
        "ARTGEN_WORKER": "on",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    env["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="artgen-")
    result = command(*REFUSED, "-v", env=env)
    assert result.stderr.startswith("Not using the worker: it could not start: SystemExit: broken.\n")
    shutil.rmtree(env["XDG_RUNTIME_DIR"])


_READ_ALL = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
"""Options that allow the other users to read the code of artgen, also in the home folder of root."""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")
def test_two_users_cannot_reach_the_workers_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run clients of two other users with the same temporary folder and the same environment."""
    shared = Path(tempfile.mkdtemp(prefix="artgen-"))
    shared.chmod(0o1777)
    env = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    env |= {"TMPDIR": str(shared), "HOME": str(shared), "PYTHONDONTWRITEBYTECODE": "1"}

    def as_user(user: int, *arguments: str, code: int, **extra: str) -> str:
        result = subprocess.run(
            ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *_READ_ALL,
             sys.executable, "-m", "artgen", *arguments],
            env={**env, **extra}, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False, cwd=shared,
        )  # fmt: skip
        assert result.returncode == code, result.stderr
        return result.stdout + result.stderr

    try:
        assert "The worker runs: process" in as_user(12345, "worker", "start", code=0)
        as_user(12345, *REFUSED, code=2)
        assert '"num_commands": 1' in as_user(12345, "worker", "status", "--json", code=0)
        # another user has a worker of its own
        assert as_user(12346, "worker", "status", code=0) == "No worker runs.\n"
        as_user(12346, *REFUSED, code=2)
        # with the runtime folder of the first user, which the second user can neither use nor open
        mine = shared / "run"
        mine.mkdir(mode=0o700)
        os.chown(mine, 12345, 12345)
        as_user(12345, "worker", "start", code=0, XDG_RUNTIME_DIR=str(mine))
        assert "No worker runs" in as_user(12346, "worker", "status", code=0, XDG_RUNTIME_DIR=str(mine))
        # a folder that another user created in advance
        trap = shared / "artgen-12346"
        trap.mkdir(mode=0o777)
        os.chown(trap, 12345, 12345)
        assert "belongs to another user" in as_user(12346, "worker", "start", code=5)
        as_user(12346, *REFUSED, code=2, ARTGEN_WORKER="on")
        # root is another user too: the worker and the client check the user of the other side
        socket_path = mine / "artgen" / "worker.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connected:
            connected.connect(str(socket_path))
            connected.settimeout(TIMEOUT_SECONDS)
            assert connected.recv(100) == b""
        monkeypatch.setattr(socket_file, "socket_path", lambda: str(socket_path))
        monkeypatch.setattr(socket_file, "check_folder", lambda: None)
        with pytest.raises(socket_file.UnsafeFolder, match="it belongs to another user"):
            socket_file.connect()
        monkeypatch.undo()
        as_user(12345, "worker", "stop", code=0, XDG_RUNTIME_DIR=str(mine))
        assert '"num_commands": 1' in as_user(12345, "worker", "status", "--json", code=0)
    finally:
        as_user(12345, "worker", "stop", code=0)
        shutil.rmtree(shared)
