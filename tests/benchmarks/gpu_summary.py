"""Collect the results of `on_gpu.sh`, write `results/cuda.json` and print a summary.

gpu_summary.py FOLDER SECONDS
"""

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

RESULT_FILE = Path(__file__).with_name("results") / "cuda.json"


def read_tests(path: Path) -> dict[str, Any]:
    """Return the numbers of tests and the names of the failed ones; an empty dict if the tests did not finish."""
    if not path.exists():
        return {}
    suite = next(ElementTree.parse(path).iter("testsuite"))
    failed = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    return {**counts, "failed": failed}


def read_optional_json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def collect(folder: Path, seconds: float) -> dict[str, Any]:
    """Return all results in a folder of `on_gpu.sh`."""
    optimizations = {
        path.stem.partition("-")[2]: read_optional_json(path) for path in sorted(folder.glob("optimizations-*.json"))
    }
    return {
        "seconds": seconds,
        "tests": read_tests(folder / "tests.xml"),
        "optimizations": optimizations,
        "rows": read_optional_json(folder / "results" / "run.json"),
    }


def summary(results: dict[str, Any]) -> str:
    """Return the summary as text."""
    tests = results["tests"]
    lines = [
        f"gpu tests: {tests['tests']} run, {tests['failures'] + tests['errors']} failed, {tests['skipped']} skipped"
        if tests
        else "gpu tests: not finished"
    ]
    lines += [f"  failed: {name}" for name in tests.get("failed", ())]
    for model, measured in results["optimizations"].items():
        lines.append(f"{model}, {measured.get('device', 'unknown device')}:")
        for name, values in measured.get("optimizations", {}).items():
            if "error" in values:
                lines.append(f"  {name}: failed: {values['error']}")
                continue
            lines.append(
                f"  {name}: {values['seconds']:.3f} s per image, {values['speedup']:.2f} x, first call "
                f"{values['first_seconds']:.1f} s, peak {values['peak_mib']:.0f} MiB, largest difference "
                f"{values['max_gray_difference']} gray levels"
            )
    for rows in results["rows"].values():
        lines += [f"row {name}: {', '.join(row['samples'])}" for name, row in rows.items()]
    return "\n".join(lines)


def main() -> None:
    results = collect(Path(sys.argv[1]), float(sys.argv[2]))
    RESULT_FILE.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print(summary(results))
    print(f"written: {RESULT_FILE}")


if __name__ == "__main__":
    main()
