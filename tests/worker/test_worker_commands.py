"""Run the tests of `worker_commands.py` in a process of their own: they replace its streams and signal handlers."""

import subprocess
import sys
from pathlib import Path


def test_worker_commands() -> None:
    path = Path(__file__).with_name("worker_commands.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", str(path)]
    result = subprocess.run(
        command, cwd=path.parents[2], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout
