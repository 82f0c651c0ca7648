"""Run hostile inputs through the command line: `python tests/hostile [--cases N] [--full] [GROUP ...]`."""

import argparse
import gc
import importlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS), str(TESTS / "helpers")]
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

from hostile.grammar import Grammar  # noqa: E402
from hostile.groups import GROUPS, fill_folder  # noqa: E402
from hostile.sandbox import ACCEPTED, Case, Outcome, run_case  # noqa: E402


def warm_up() -> None:
    """Import what the commands import before torch."""
    from artgen.cli.main import COMMAND_SUMMARIES, load_command

    for name in COMMAND_SUMMARIES:
        load_command(name)
    for name in ("numpy", "PIL.PngImagePlugin", "yaml", "artgen.cli.run_requests", "artgen.cli.ledger_jobs"):
        importlib.import_module(name)
    gc.freeze()


def run_number(group: str, number: int, folder: Path, *, full: bool, baseline_bytes: int) -> tuple[Case, Outcome]:
    """Create and run one case in a new folder."""
    root = folder / f"{group}-{number}"
    fill_folder(root)
    case = GROUPS[group](Grammar(f"{group}/{number}", root))
    random.seed(0)
    return case, run_case(case, root, full=full, baseline_bytes=baseline_bytes)


def baseline(folder: Path, *, full: bool) -> int:
    """Return the peak memory of a valid command, in bytes."""
    fill_folder(folder / "baseline")
    argv = ["txt2img", "x", "--steps", "1", "-o", "x.png"] if full else ["info", "p.png"]
    return run_case(Case(argv), folder / "baseline", full=full).extra_bytes


def main() -> int:
    """Run the cases, print each failed case and a table, and return 1 if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"Groups. [all: {', '.join(GROUPS)}]")
    parser.add_argument("--cases", type=int, default=30, help="Cases of each group. [30]")
    parser.add_argument("--first", type=int, default=0, help="Number of the first case. [0]")
    parser.add_argument("--full", action="store_true", help="Continue with torch if the input passes all checks.")
    parser.add_argument("--keep", type=Path, help="Keep the folders of the cases in this folder.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object for each case.")
    options = parser.parse_args()
    warm_up()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="hostile-"))
    folder.mkdir(parents=True, exist_ok=True)
    table: dict[str, list[int]] = {}
    try:
        started = baseline(folder, full=options.full)
        for group in options.groups or GROUPS:
            counts, begin = [0, 0, 0, 0], time.monotonic()
            for number in range(options.first, options.first + options.cases):
                case, outcome = run_number(group, number, folder, full=options.full, baseline_bytes=started)
                counts[0] += 1
                counts[2 if outcome.faults else 1] += 1
                counts[3] += outcome.code == ACCEPTED
                if options.json or outcome.faults:
                    report(group, number, case, outcome, as_json=options.json)
                if options.keep is None:
                    shutil.rmtree(folder / f"{group}-{number}", ignore_errors=True)
            table[group] = [*counts, round(time.monotonic() - begin)]
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    if not options.json:
        print(f"{'group':20} tried passed failed  (passed all checks before torch, seconds)")
        for group, (tried, passed, failed, accepted, seconds) in table.items():
            print(f"{group:20} {tried:5} {passed:6} {failed:6}  ({accepted}, {seconds} s)")
        print(f"{'all':20} {sum(row[0] for row in table.values()):5} {sum(row[1] for row in table.values()):6} "
              f"{sum(row[2] for row in table.values()):6}")  # fmt: skip
    return int(any(row[2] for row in table.values()))


def report(group: str, number: int, case: Case, outcome: Outcome, *, as_json: bool) -> None:
    """Print a case and its result."""
    tail = outcome.stderr[-1500:].encode("ascii", "backslashreplace").decode()
    if as_json:
        print(json.dumps({"group": group, "number": number, "command": case.command, "code": outcome.code,
                          "faults": outcome.faults, "stderr": tail, "seconds": outcome.seconds}))  # fmt: skip
    else:
        print(f"== {group} {number}: {'; '.join(outcome.faults)}\n   {case.command}\n   exit code {outcome.code}, "
              f"{outcome.seconds:.1f} s, {outcome.extra_bytes / 2**20:.0f} MiB\n{tail}")  # fmt: skip
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
