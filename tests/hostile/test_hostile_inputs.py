"""Run hostile inputs of a grammar through the command line. Each group runs in a process without torch."""

import subprocess
import sys
from pathlib import Path

import pytest
from hostile.groups import GROUPS

PROGRAM = Path(__file__).parent


def run_group(group: str, *options: str) -> None:
    completed = subprocess.run(
        [sys.executable, str(PROGRAM), group, *options], capture_output=True, text=True, timeout=3000, check=False
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr


@pytest.mark.parametrize("group", GROUPS)
def test_hostile_input_is_refused_with_one_sentence(group: str) -> None:
    run_group(group, "--cases", "25")


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_all_hostile_inputs_are_refused_or_run(group: str) -> None:
    run_group(group, "--cases", "40", "--full")
