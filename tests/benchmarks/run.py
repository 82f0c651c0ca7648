"""Compare artgen with plain diffusers scripts that use the same weights, steps, scheduler, size and dtype.

    python tests/benchmarks/run.py [--only ROW...] [--quick] [--rounds N] [--cache FOLDER] [--profile ROW]

Each variant of a row runs once per round, in turns, in its own process. After each row, the measurements are written to
`results/run.json` and to the section `run` of `RESULTS.md`. Rows that do not run keep their earlier measurements. The
measurements of other machines are kept separately. `--cache` is the folder for full-size models with random weights:
Stable Diffusion 1.5 (4 GiB twice) and SDXL (7 GiB). Without it, the rows that need these models are skipped.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cuda_rows
import images
import memory_modes
import openvino_rows
import performance_goals
import profiling
import prompt_files
import report
import results
import startup
import worker_rows
from harness import BenchmarkError, Row, measure
from workspace import Workspace

from artgen.system import hardware

SECTION = "run"
INTRODUCTION = """
artgen and a plain diffusers script (`from_pretrained`, `.to(device)`, call, `image.save`) with the same weights, steps,
scheduler, size and dtype unless the row states otherwise, in turns. Values are medians, with the minimum and the
maximum in parentheses. `x` is the speedup relative to the first line: the median of the ratios per round. Pixels are
compared with the first line. Memory is the peak of the largest process, including mapped files. Load is the load
average before and after the row; the latter includes the measured processes.
"""


def main() -> int:
    args = _parse_arguments()
    os.environ["ARTGEN_WORKER"] = "off"
    with tempfile.TemporaryDirectory(prefix="artgen-benchmark-") as scratch:
        workspace = Workspace(Path(scratch), args.cache, _log)
        rows = all_rows(workspace)
        selected = args.only or ([args.profile] if args.profile else list(rows))
        if unknown := [name for name in selected if name not in rows]:
            _log(f"Unknown row: {', '.join(unknown)}. Rows: {', '.join(rows)}.")
            return 2
        exit_code = 0
        for name in selected:
            reason = _skip_reason(rows[name], workspace)
            if reason:
                _log(f"{name}: skipped: {reason}")
                continue
            try:
                if args.profile:
                    print(profiling.profile(rows[name], Path(scratch)))
                else:
                    _run(rows[name], args)
            except BenchmarkError as error:
                _log(f"{name}: {error}")
                exit_code = 1
    if not args.profile:
        _write(args.page, results.read(SECTION, args.page) or {})
    return exit_code


def all_rows(workspace: Workspace) -> dict[str, Row]:
    """Return all rows by name, in the order of the runs."""
    modules = (startup, images, prompt_files, worker_rows, openvino_rows, memory_modes, cuda_rows)
    return {row.name: row for module in modules for row in module.rows(workspace)}


def _parse_arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="ROW", help="run only these rows")
    parser.add_argument("--quick", action="store_true", help="one round, or N rounds, without warm-up")
    parser.add_argument("--rounds", type=int, metavar="N", help="runs per variant, instead of the row's number")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="folder for full-size models")
    parser.add_argument("--profile", metavar="ROW", help="profile a row instead of measuring it")
    parser.add_argument("--page", type=Path, default=results.PAGE, metavar="FILE", help="page to write")
    return parser.parse_args()


def _skip_reason(row: Row, workspace: Workspace) -> str:
    """Build the models that a row needs. Return the reason if the row cannot run; otherwise, an empty string."""
    if "cuda" in row.needs and not hardware.cuda_device_count():
        return "it needs a CUDA device"
    if "openvino" in row.needs and not importlib.util.find_spec("openvino"):
        return "it needs OpenVINO; run `pip install 'artgen[openvino]'`"
    for name in row.needs:
        if name in ("cuda", "openvino"):
            continue
        if name != "tiny" and workspace.cache is None:
            return f"it needs {name}; pass --cache FOLDER"
        workspace.build_model(name)
    return ""


def _run(row: Row, args: Any) -> None:
    load_before = os.getloadavg()[0]
    rounds = args.rounds or (1 if args.quick else row.rounds)
    measured = measure(row, rounds, _log, warm_up=not args.quick)
    result = report.Result.from_measured(row, measured, results.today(), (load_before, os.getloadavg()[0]))
    data = results.read(SECTION, args.page) or {}
    data.setdefault(results.machine(_gpu_name()), {})[row.name] = result.to_json()
    _write(args.page, data)
    print(result.table(), end="\n\n", flush=True)


def _write(page: Path, data: dict[str, dict[str, Any]]) -> None:
    by_machine = {
        machine: {name: report.Result.from_json(row) for name, row in rows.items()} for machine, rows in data.items()
    }
    latest = {name: row for rows in by_machine.values() for name, row in rows.items()}
    parts = ["## `run.py`: artgen and plain diffusers", INTRODUCTION.strip()]
    parts.append(report.goals_table(performance_goals.lines(latest)))
    for machine, rows in by_machine.items():
        parts += [f"{machine}:", *(row.table() for row in rows.values())]
    results.write(SECTION, "\n\n".join(parts), data, page)


def _gpu_name() -> str | None:
    if not hardware.cuda_device_count():
        return None
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
