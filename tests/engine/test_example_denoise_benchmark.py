"""Test the denoiser benchmark of the examples."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "denoise_benchmark" / "benchmark.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.slow
def test_benchmark_resumes_and_prints_a_table(tmp_path: Path) -> None:
    first = run("--out", tmp_path, "--only", "noisy", "--sigma", 50, "--kind", "gray")
    assert first.returncode == 0, first.stderr
    rows = json.loads((tmp_path / "measurements.json").read_text())
    assert [row["image"] for row in rows] == ["astronaut", "chelsea", "coffee", "rocket", "camera"]
    # The PSNR is 14.15 dB without clipping; clipping removes some of the noise.
    assert all(14.1 < row["psnr"] < 16 for row in rows)
    resumed = run("--out", tmp_path, "--only", "noisy", "TV", "--sigma", 50, "--kind", "gray")
    assert json.loads((tmp_path / "measurements.json").read_text())[:5] == rows
    assert "| TV | " in resumed.stdout
    assert resumed.stdout == (tmp_path / "table.md").read_text() + "\n"


@pytest.mark.slow
def test_unknown_method_is_rejected(tmp_path: Path) -> None:
    rejected = run("--out", tmp_path, "--only", "magic")
    assert rejected.returncode == 2
    assert "magic" in rejected.stderr
