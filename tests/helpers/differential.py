"""Run the same shell script with ordinary processes and with a worker, and describe the differences."""

import contextlib
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker_process import WorkerProcess

TIMEOUT_SECONDS = 600.0

_MASKS: tuple[tuple[str, str], ...] = (
    # the worker has loaded the libraries, so that it loads less
    (r"(?m)^Loading (?:torch|the model|models|[\w, ]+?)\b.*\n", ""),
    # measured and estimated times
    (r"\b(?:about )?\d+(?:\.\d+)?(?: |\u202f)?(?:ms|s|min|h)\b(?: \d+ s\b)?", "TIME"),
    (r"\b\d+(?:\.\d+)? images/(?:s|min|h)\b", "RATE"),
    (r"\bless than (?:a second|TIME)\b", "TIME"),
    (r", TIME on this machine\b", ""),  # a batch after other commands
    (r'"(seconds|time|created|created_at|id)": ?("[^"]*"|[-+\d.e]+)', r'"\1": X'),
)


def mask_times(text: str) -> str:
    """Replace what differs between two runs of an ordinary process: times, and the line about loading libraries.

    Masked are: the line `Loading torch, transformers and diffusers.` (an ordinary process that generates a second image
    does not print it either), durations, rates and estimates in messages, and in JSON the fields `seconds`, `time`,
    `created` and the random `id` of a ledger.
    """
    for pattern, replacement in _MASKS:
        text = re.sub(pattern, replacement, text)
    return text


@dataclass(frozen=True)
class Outcome:
    """Store what a script wrote.

    Attributes:
        code: exit code.
        stdout: bytes of stdout.
        stderr: masked text of stderr.
        files: mode and content (or target of a link) of each file in the working directory and the home folder.
    """

    code: int
    stdout: bytes
    stderr: str
    files: dict[str, tuple[str, bytes]]


class Sandbox:
    """Run scripts in a working directory and a home folder that always have the same paths and contents.

    The program `artgen` of a script is an ordinary process, or a client of the worker.
    """

    def __init__(self, root: Path, write_inputs: Callable[[Path], None]) -> None:
        """Create the inputs once.

        Args:
            root: empty folder.
            write_inputs: function that writes the inputs into a folder.
        """
        self.root = root
        for name in ("bin", "template", "tmp"):
            (root / name).mkdir()
        write_inputs(root / "template")
        program = root / "bin" / "artgen"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m artgen "$@"\n')
        program.chmod(0o755)
        home = root / "home"
        self.environment = {
            "HOME": str(home),
            "PATH": f"{root / 'bin'}:{os.environ['PATH']}",
            # no empty entry: it is the working directory, in which the worker and the scripts differ
            "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")])),
            "TMPDIR": str(root / "tmp"),
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "XDG_RUNTIME_DIR": str(root / "no-worker"),
        }
        (root / "no-worker").mkdir()
        self._worker: WorkerProcess | None = None

    @property
    def worker(self) -> WorkerProcess:
        """Return the worker. The first use starts it."""
        if self._worker is None:
            self._reset()
            self._worker = WorkerProcess(self.environment)
        return self._worker

    def run(self, script: str, *, in_worker: bool) -> Outcome:
        """Run a script of bash with new copies of the inputs."""
        self._reset()
        environment = self.worker.environment if in_worker else self.environment
        result = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script], cwd=self.root / "work", env=environment, capture_output=True,
            stdin=subprocess.DEVNULL, timeout=TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
        return Outcome(
            result.returncode,
            _mask_bytes(result.stdout),
            mask_times(result.stderr.decode("utf-8", "backslashreplace")),
            self._files(),
        )

    def close(self) -> None:
        """Stop the worker."""
        if self._worker is not None:
            self._worker.close()

    def _reset(self) -> None:
        for name in ("home", "work"):
            folder = self.root / name
            if folder.exists():
                subprocess.run(["chmod", "-R", "u+rwx", folder], check=True)
                shutil.rmtree(folder)
        (self.root / "home").mkdir()
        shutil.copytree(self.root / "template", self.root / "work", symlinks=True)

    def _files(self) -> dict[str, tuple[str, bytes]]:
        found = {}
        for name in ("home", "work"):
            for folder, folders, files in os.walk(self.root / name):
                for each in (*folders, *files):
                    path = Path(folder, each)
                    relative = path.relative_to(self.root).as_posix()
                    if not relative.endswith(_STATE_FILES) and not (name == "home" and path.is_dir()):
                        found[relative] = (stat.filemode(path.lstat().st_mode), _content(path))
        return found


_STATE_FILES = ("/load-times.json", "/history.json", "/hashes.json", "/model-index.json", "/first-run",
                "/history.db-wal", "/history.db-shm")  # fmt: skip
"""Files that store measured times, or modification times of the inputs."""

_HISTORY_ROWS = """
    SELECT image.id, sha256, path, num_bytes, width, height, parent, rating, json, data FROM image
    JOIN record ON record.image_id = image.id JOIN thumbnail ON thumbnail.image_id = image.id ORDER BY image.id
"""


def _content(path: Path) -> bytes:
    if path.is_symlink():
        return os.fsencode(path.readlink())
    if not path.is_file():
        return b""
    if path.name == "history.db":  # the entries without their times
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return repr(connection.execute(_HISTORY_ROWS).fetchall()).encode()
    mode = path.stat().st_mode
    path.chmod(0o600)
    data = path.read_bytes()
    path.chmod(mode)
    return _mask_bytes(data) if path.suffix in (".json", ".jsonl", ".csv", ".txt") else data


def _mask_bytes(data: bytes) -> bytes:
    try:
        return mask_times(data.decode()).encode()
    except UnicodeDecodeError:
        return data


def differences(expected: Outcome, actual: Outcome) -> list[str]:
    """Describe what differs between two outcomes."""
    found = []
    if expected.code != actual.code:
        found.append(f"exit code {expected.code} != {actual.code}")
    if expected.stdout != actual.stdout:
        found.append(f"stdout {expected.stdout[-2000:]!r} != {actual.stdout[-2000:]!r}")
    if expected.stderr != actual.stderr:
        found.append(f"stderr\n{expected.stderr}---\n{actual.stderr}")
    for path in sorted({*expected.files, *actual.files}):
        first, second = expected.files.get(path), actual.files.get(path)
        if first != second:
            found.append(f"file {path}: {_describe(first)} != {_describe(second)}")
    return found


def _describe(file: tuple[str, bytes] | None) -> str:
    return "absent" if file is None else f"{file[0]} {len(file[1])} bytes {file[1][:200]!r}"
