"""Run the benchmark programs, and compare measurements with the performance goals. Does not import torch."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
PAGE = "# Results\n\nBy hand.\n\n<!-- begin other -->\n\nof another script\n\n<!-- end other -->\n\nThe end.\n"
"""Results page with a section of another program."""


def save_page(folder: Path) -> Path:
    """Save the results page in a folder. Return its path."""
    path = folder / "RESULTS.md"
    path.write_text(PAGE)
    return path


def run_benchmark(page: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmark program in a new process."""
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--page", str(page), *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


def judge_row(row: str, samples: dict[str, dict[str, list[float]]]) -> dict[str, str]:
    """Compare invented measurements with the performance goals of a row. Requires `BENCHMARKS` in `sys.path`."""
    import performance_goals
    import report

    result = report.Result("title", "", ("wall",), samples, {}, "2026-01-01", 3, (0.0, 0.0))
    assert "| --- |" in result.table()
    return {text: verdict for text, _, verdict in performance_goals.lines({row: result}) if verdict != "open"}
