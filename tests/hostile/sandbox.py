"""Run one artgen command in a forked process and check its exit code, its messages, its memory and its files.

The parent process has imported the commands and no torch, so that a case takes milliseconds. In the fast mode an import
of torch ends the process: the input passed all checks. In the full mode the command continues with torch.
"""

import contextlib
import os
import re
import resource
import shlex
import signal
import stat
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

EXIT_CODES = {0, 2, 3, 4, 5, 6, 7, 8, 9, 71, 74, 130, 141}
"""Documented exit codes, without 1, which is reserved for bugs."""

ACCEPTED = 250
"""Exit code of a process that tried to import torch in the fast mode."""

MAX_EXTRA_BYTES = 500 * 2**20
MAX_SECONDS = 60.0
MAX_CPU_SECONDS = 20
MAX_MESSAGE_CHARS = 2000
SECRET = "hunter2secret"
"""Password or token of a case. No output may contain it."""

PYTHON_OUTPUT = re.compile(r"Traceback \(most|File \"[^\"]+\", line \d|\.py:\d+: |Fatal Python error|Exception ignored")
# C0 and C1 controls except line feed, bidirectional controls, lone surrogates
UNSAFE = re.compile("[\0-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass
class Case:
    """Describe a command. Its files are already in the folder of the case.

    Attributes:
        argv: arguments of artgen.
        env: additional environment variables.
        stdin: content of stdin; None closes stdin.
        lists_errors: the command may print one error for each invalid line or file.
        mutable: folders, relative to the case, whose existing files the command may change.
        raw_stdout: stdout contains paths, which are not sanitized.
        hub: starts a server and returns its address.
    """

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    stdin: bytes | None = b""
    lists_errors: bool = False
    mutable: tuple[str, ...] = ("home/.cache", "home/.config", "home/.local")
    raw_stdout: bool = False
    hub: Callable[[], contextlib.AbstractContextManager[str]] | None = None

    @property
    def command(self) -> str:
        """Return the command to reproduce the case in its folder."""
        shown = [f"{name}={shlex.quote(value)}" for name, value in self.env.items()]
        text = " ".join([*shown, "artgen", *map(shlex.quote, self.argv)])
        return ascii(text)[1:-1] if len(text) < 600 else f"{ascii(text[:300])[1:-1]}...({len(text)} characters)"


@dataclass(frozen=True)
class Outcome:
    """Store the result of a case; `faults` is empty if it passed."""

    code: int
    faults: tuple[str, ...]
    stderr: str
    seconds: float
    extra_bytes: int


def run_case(case: Case, root: Path, *, full: bool, baseline_bytes: int = 0) -> Outcome:
    """Run a case in its folder, which contains `home`, `work`, `tmp` and `outside`."""
    before = snapshot(root)
    output = {name: root.parent / f"{root.name}-{name}" for name in ("stdout", "stderr")}
    with case.hub() if case.hub else contextlib.nullcontext("http://127.0.0.1:9") as endpoint:
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _run_child(case, root, endpoint, output, full=full)
        status, usage, timed_out = _wait(pid, MAX_SECONDS * (3 if full else 1))
        seconds = time.monotonic() - started
    code = os.waitstatus_to_exitcode(status)
    stdout, stderr = (output[name].read_bytes().decode("utf-8", "surrogateescape") for name in output)
    extra_bytes = usage.ru_maxrss * 1024 - baseline_bytes
    faults = [f"timeout after {seconds:.0f} s"] if timed_out else list(_check_messages(case, code, stdout, stderr))
    if usage.ru_utime + usage.ru_stime > MAX_CPU_SECONDS and not full:
        faults.append(f"{usage.ru_utime + usage.ru_stime:.0f} s of CPU time")
    if extra_bytes > MAX_EXTRA_BYTES:
        faults.append(f"{extra_bytes / 2**20:.0f} MiB more than the baseline")
    faults += _check_files(case, before, snapshot(root))
    return Outcome(code, tuple(faults), stderr, seconds, extra_bytes)


def snapshot(root: Path) -> dict[str, tuple[int, int, int]]:
    """Return type, size and time of each file in a folder, by relative path. Folders have only a type."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            status = path.lstat()
            is_folder = stat.S_ISDIR(status.st_mode)
            found[path.relative_to(root).as_posix()] = (
                status.st_mode, *((0, 0) if is_folder else (status.st_size, status.st_mtime_ns))
            )  # fmt: skip
    return found


def _check_messages(case: Case, code: int, stdout: str, stderr: str) -> Iterator[str]:
    if code not in {*EXIT_CODES, ACCEPTED}:
        yield f"exit code {code}"
    for name, text in (("stdout", stdout), ("stderr", stderr)):
        if found := PYTHON_OUTPUT.search(text):
            yield f"{name} contains {found[0]!r}"
        if (found := UNSAFE.search(text)) and not (case.raw_stdout and name == "stdout"):
            yield f"{name} contains {found[0]!a}"
        if SECRET in text:
            yield f"{name} contains a secret"
    lines = stderr.splitlines()
    errors = [line for line in lines if line.lower().startswith("error: ")]
    if code in (0, ACCEPTED):
        if errors and not case.lists_errors:
            yield "exit code 0 with an error message"
        return
    lists_errors = case.lists_errors or any(part.startswith(("batch", "train", "--sweep")) for part in case.argv)
    if len(errors) != 1 and not (errors and lists_errors) and "doctor" not in case.argv:
        yield f"{len(errors)} error messages"
    if sum(line.startswith("  ") for line in lines) > len(errors):
        yield "more than one hint"
    if bad := [line for line in errors if not re.fullmatch(r"[Ee]rror: \S.*[.?!]", line)]:
        yield f"not a sentence: {bad[0][-120:]!a}"
    if any(len(line) > MAX_MESSAGE_CHARS for line in lines):
        yield f"a message of {max(map(len, lines))} characters"


def _check_files(case: Case, before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    for path in sorted({*before, *after}):
        if before.get(path) == after.get(path) or path.startswith(case.mutable):
            continue
        if path in before:
            yield f"{'changed' if path in after else 'removed'} {path}"
        elif not path.startswith(("work/", "tmp/")):
            yield f"created {path}"


def _wait(pid: int, seconds: float) -> tuple[int, resource.struct_rusage, bool]:
    """Wait for a process. Kill its process group after `seconds`."""
    deadline, pause = time.monotonic() + seconds, 0.002
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # processes that the command left behind
            return status, usage, False
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            return status, usage, True
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def _run_child(case: Case, root: Path, endpoint: str, output: dict[str, Path], *, full: bool) -> None:
    """Replace the process state by that of a new process, and run the command. Does not return."""
    code: object = 1
    try:
        os.setsid()
        os.chdir(root / "work")
        os.environ.clear()
        os.environ.update(_environment(root, endpoint) | case.env)
        for descriptor, path in zip((1, 2), output.values(), strict=True):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
        _set_stdin(case.stdin, root)
        limit = 60 * 2**30 if full else 4 * 2**30  # protects the machine; the check is that of the peak
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**30, 2**30))
        _shorten_waits(uses_hub=case.hub is not None)
        _reject_other_hosts()
        if not full:
            sys.meta_path.insert(0, _StopAtTorch())
        sys.argv = ["artgen", *case.argv]
        from artgen.__main__ import run

        run()
        code = 0
    except SystemExit as system_exit:
        code = system_exit.code
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _environment(root: Path, endpoint: str) -> dict[str, str]:
    return {
        "HOME": str(root / "home"), "TMPDIR": str(root / "tmp"), "PATH": os.defpath, "LANG": "C.UTF-8",
        "HF_ENDPOINT": endpoint, "HF_HUB_DOWNLOAD_TIMEOUT": "2", "HF_HUB_ETAG_TIMEOUT": "2", "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    }  # fmt: skip


def _set_stdin(data: bytes | None, root: Path) -> None:
    if data is None:
        os.close(0)
        sys.stdin = None  # type: ignore[assignment]
        return
    path = root.parent / f"{root.name}-stdin"
    path.write_bytes(data)
    os.dup2(os.open(path, os.O_RDONLY), 0)


def _shorten_waits(*, uses_hub: bool) -> None:
    """Shorten the times that artgen waits for the writer of a pipe and for a slow hub."""
    if uses_hub:
        from artgen.registry.hub import transfer

        transfer.READ_SECONDS = transfer.ANSWER_SECONDS = transfer.SLOW_WINDOW_SECONDS = 2.0
    from artgen.system import external_data

    external_data.PIPE_IDLE_SECONDS, external_data.PIPE_TOTAL_SECONDS = 0.5, 2.0


def _reject_other_hosts() -> None:
    import socket

    resolve = socket.getaddrinfo

    def resolve_locally(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in ("127.0.0.1", "localhost", "::1", b"127.0.0.1", b"localhost"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *args, **kwargs)

    socket.getaddrinfo = resolve_locally


class _StopAtTorch(Loader):
    """End the process when torch is imported. It can still be located: artgen reads its version and its libraries."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name in ("torch", "artgen.engine.fast_import") else None
        if spec:
            spec.loader = self
        return spec

    def exec_module(self, module: ModuleType) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ACCEPTED)
