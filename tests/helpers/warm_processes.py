"""Start workers and clients quickly: fork them from a process that has imported the libraries and loaded the model."""

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WARM_UP = ("txt2img", "a warm-up", "-m", "tiny", "--steps", "1", "--seed", "1", "-o")


class WarmProcesses:
    """Control the process that forks the others. All its children have its environment."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        """Start the process. `folder` receives an image of the first command."""
        self.environment = dict(environment)
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(folder / "warm-up.png")], env=self.environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._reply() == {"ready": True}

    def fork(self, role: str, **values: Any) -> int:
        """Fork a `worker` or a `client`; see `_run_worker` and `_run_client`. Return its process id."""
        self._send({"role": role, **values})
        pid = self._reply()["pid"]
        assert isinstance(pid, int)
        return pid

    def wait(self, pid: int) -> int:
        """Wait for a process. Return its exit code; the negative number of the signal that ended it."""
        self._send({"role": "wait", "pid": pid})
        code = self._reply()["code"]
        assert isinstance(code, int)
        return code

    def kill(self, pid: int) -> int:
        """Kill a process with SIGKILL unless it ended. Return its exit code as in `wait`."""
        self._send({"role": "kill", "pid": pid})
        code = self._reply()["code"]
        assert isinstance(code, int)
        return code

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        reply: dict[str, Any] = json.loads(self._process.stdout.readline())
        return reply


def _main(image: str) -> None:
    """Import the libraries, load the model, and fork a process for each line of stdin."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from artgen.engine import fast_import

    fast_import.import_engine()
    _run_in_child(_run_command, [*WARM_UP, image], in_this_process=True)
    print(json.dumps({"ready": True}), file=replies, flush=True)
    ended: dict[int, int] = {}
    for line in sys.stdin:
        message = json.loads(line)
        role = message.pop("role")
        if role in ("wait", "kill"):
            pid = message["pid"]
            if role == "kill" and pid not in ended:
                os.kill(pid, signal.SIGKILL)  # the process is not reaped yet
            if pid not in ended:
                ended[pid] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            print(json.dumps({"code": ended[pid]}), file=replies, flush=True)
            continue
        pid = os.fork()
        if not pid:
            _run_in_child(_run_worker if role == "worker" else _run_client, message)
        print(json.dumps({"pid": pid}), file=replies, flush=True)


def _run_in_child(function: Any, argument: Any, *, in_this_process: bool = False) -> None:
    code: Any = 0
    try:
        function(argument)
    except SystemExit as system_exit:
        code = system_exit.code
    except BaseException:
        traceback.print_exc()
        code = 99
    if in_this_process:
        assert not code
        return
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code or 0)


def _run_command(arguments: Sequence[str]) -> None:
    """Run a command line in this process, and keep the model loaded."""
    from artgen.cli.main import run

    sys.argv = ["artgen", *arguments]
    run()


def _run_worker(message: Mapping[str, Any]) -> None:
    """Run a worker with changes of the `environment`.

    `kill_at` is the number of a message to the client, counted from 1 after `started`. The worker is killed immediately
    before it sends the message, or after it with `after`. Without `kill_at`, the messages are counted in the file
    `count`. `max_reply_seconds` replaces the limit of the module `reports`.
    """
    from artgen.worker_process.client.identity import own_identity
    from artgen.worker_process.protocol import Connection
    from artgen.worker_process.server import reports
    from artgen.worker_process.server.serve import serve

    os.environ.update(message["environment"])
    reports.MAX_REPLY_SECONDS = message.get("max_reply_seconds", reports.MAX_REPLY_SECONDS)
    count = 0
    send = Connection.send

    def send_or_kill(self: Connection, kind: str, descriptors: Sequence[int] = (), **values: Any) -> None:
        nonlocal count
        if kind not in ("hello", "position", "started"):
            count += 1
            if "count" in message:
                Path(message["count"]).write_text(str(count))
        if count == message.get("kill_at") and not message.get("after"):
            os.kill(os.getpid(), signal.SIGKILL)
        send(self, kind, descriptors, **values)
        if count == message.get("kill_at"):
            os.kill(os.getpid(), signal.SIGKILL)

    Connection.send = send_or_kill  # type: ignore[method-assign]
    serve(own_identity())


def _run_client(message: Mapping[str, Any]) -> None:
    """Run a client with `arguments` in the folder `cwd`, with changes of the `environment`.

    `stdin`, `stdout` and `stderr` are paths.
    """
    os.environ.update(message["environment"])
    os.chdir(message["cwd"])
    for number, (name, flags) in enumerate(
        (("stdin", os.O_RDONLY), ("stdout", os.O_WRONLY | os.O_CREAT), ("stderr", os.O_WRONLY | os.O_CREAT))
    ):
        descriptor = os.open(message.get(name, os.devnull), flags, 0o666)
        os.dup2(descriptor, number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    sys.argv = ["artgen", *message["arguments"]]
    from artgen.__main__ import run

    run()


if __name__ == "__main__":
    _main(sys.argv[1])
