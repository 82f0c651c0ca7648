"""Run a sequence of commands in one process, and each command in a process of its own.

As a program, this module imports the engine once. Each process of a run is a fork of it, so that no run takes the time
of the imports.
"""

import json
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from differential import mask_times

TIMEOUT_SECONDS = 900.0

_MINUTES = re.compile(r"\b(?:\d+:)+(?=\d\d (?:s|min|h)\b)")
"""The processes count their time from the start of the program."""


@dataclass(frozen=True)
class Run:
    """Store the result of a command.

    Attributes:
        code: exit code.
        stdout: text of stdout.
        stderr: text of stderr with masked times.
        files: name -> content of the files in the working directory.
        loaded: names and dtypes of the models that are loaded after the command, most recently used first.
        rss_bytes: anonymous memory of the process after the command.
    """

    code: int
    stdout: str
    stderr: str
    files: dict[str, bytes]
    loaded: list[tuple[str, str]]
    rss_bytes: int

    @property
    def output(self) -> tuple[Any, ...]:
        """Return all that must be equal in each process."""
        return self.code, self.stdout, self.stderr, self.files


def run_commands(
    commands: Sequence[Sequence[str]], folder: Path, *, max_loaded: int | None, orders: Sequence[Sequence[int]] = ()
) -> list[list[Run]]:
    """Run sequences of commands, each sequence in a process of its own.

    Args:
        commands: arguments of each command. Paths of inputs are absolute.
        folder: new folder for the working directories.
        max_loaded: maximum number of models that stay loaded between commands; None: as in an ordinary process.
        orders: indices of the commands of each sequence. By default, each command is a sequence.

    Returns:
        The runs of each sequence, in its order.
    """
    orders = orders or [[index] for index in range(len(commands))]
    folder.mkdir()
    task = {"commands": commands, "folder": str(folder), "max_loaded": max_loaded, "orders": orders}
    subprocess.run(
        [sys.executable, __file__], input=json.dumps(task), text=True, check=True, timeout=TIMEOUT_SECONDS,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])},
    )  # fmt: skip
    return [
        [_read_run(folder / f"{number}-{position}") for position in range(len(order))]
        for number, order in enumerate(orders)
    ]


def _read_run(folder: Path) -> Run:
    result = json.loads((folder / "result.json").read_text())
    work = folder / "work"
    return Run(
        result["code"], mask_times(result["stdout"]), mask_times(_MINUTES.sub("", result["stderr"])),
        {path.relative_to(work).as_posix(): _read(path) for path in sorted(work.rglob("*")) if path.is_file()},
        [tuple(each) for each in result["loaded"]], result["rss_bytes"],
    )  # fmt: skip


def _read(path: Path) -> bytes:
    """Return the content of a file; the lines of a ledger without their times."""
    return mask_times(path.read_text()).encode() if path.suffix == ".jsonl" else path.read_bytes()


def _run_sequence(
    commands: list[list[str]], number: int, order: list[int], folder: Path, max_loaded: int | None
) -> None:
    from artgen.engine.loading import loaded_models
    from artgen.system.command_state import reset_command_state
    from artgen.system.paths import user_cache_folder

    if max_loaded is not None:
        loaded_models.keep_loaded(max_loaded)
    for position, index in enumerate(order):
        work = folder / f"{number}-{position}" / "work"
        work.mkdir(parents=True)
        os.chdir(work)
        (user_cache_folder() / "load-times.json").unlink(missing_ok=True)  # else commands estimate their time from it
        result = _run_command(commands[index])
        if max_loaded is not None:
            reset_command_state()
        result["loaded"] = [(model.name, model.dtype) for model in loaded_models.loaded_models()]
        result["rss_bytes"] = _anonymous_bytes()
        (work.parent / "result.json").write_text(json.dumps(result))


def _run_command(arguments: list[str]) -> dict[str, Any]:
    from typer.testing import CliRunner

    from artgen.cli.main import app

    result = CliRunner().invoke(app, arguments)
    stderr = result.stderr
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        stderr += "".join(traceback.format_exception(result.exception))
    return {"code": result.exit_code, "stdout": result.stdout, "stderr": stderr}


def _anonymous_bytes() -> int:
    table = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(table["RssAnon"].split()[0]) * 1024


def _main() -> None:
    import torch

    from artgen.engine import fast_import
    from artgen.system import process

    process.configure_process()
    torch.set_num_threads(1)
    fast_import.import_engine()
    task = json.load(sys.stdin)
    for number, order in enumerate(task["orders"]):
        if (child := os.fork()) == 0:
            try:
                _run_sequence(task["commands"], number, order, Path(task["folder"]), task["max_loaded"])
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            raise SystemExit(f"sequence {number} failed")


if __name__ == "__main__":
    _main()
