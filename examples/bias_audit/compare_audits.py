"""Compare the reports of two audits: differences of shares with confidence intervals.

    python compare_audits.py data/bias_audit/A/report.json data/bias_audit/B/report.json

Prints the differences whose interval does not contain 0, the largest first. `--csv` writes all differences.
"""

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report import VERSION
from shares import Share, difference_interval, wilson_interval

import artgen


@dataclass(frozen=True)
class Difference:
    """Store the shares of one label in two audits, and the interval of `second - first`."""

    first: Share
    second: Share
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.second.share - self.first.share

    @property
    def is_clear(self) -> bool:
        """Return whether the interval does not contain 0."""
        return self.low > 0 or self.high < 0


def read_report(path: Path) -> dict[str, Any]:
    """Read a report.

    Raises:
        InputFileError: the file is not a report of this version.
    """
    try:
        report = json.loads(path.read_bytes())
        shares = [Share(**share) for share in report["shares"]]
        version = report["bias audit"]
    except OSError as error:
        raise artgen.InputFileError(f"Cannot read '{path}': {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise artgen.InputFileError(
            f"Cannot read '{path}': it is not a report of audit.py.", "Use report.json."
        ) from None
    if version != VERSION:
        raise artgen.InputFileError(
            f"Cannot read '{path}': it has version {version}, not {VERSION}.", "Repeat the audit."
        )
    return {**report, "shares": {share.key: share for share in shares}}


def compare(first: dict[str, Any], second: dict[str, Any]) -> list[Difference]:
    """Return the differences of all shares of the common prompts, the largest first.

    Groups are compared only if both reports have the same list of prompts.

    Raises:
        UsageError: the labels have different sources, or the reports have no common prompt.
    """
    sources = [(report["labels"]["source"], report["labels"].get("sha256")) for report in (first, second)]
    if sources[0] != sources[1]:
        raise artgen.UsageError(
            f"Cannot compare labels of {sources[0][0]} with labels of {sources[1][0]}.",
            "Run both audits with the same --labels.",
        )
    images = [{key[:3]: share.images for key, share in report["shares"].items()} for report in (first, second)]
    has_equal_lists = first["prompt list sha256"] == second["prompt list sha256"]
    differences = []
    for key in dict.fromkeys([*first["shares"], *second["shares"]]):
        if (key[1] or has_equal_lists) and all(key[:3] in each for each in images):
            shares = [
                report["shares"].get(key) or _absent(key, each[key[:3]])
                for report, each in zip((first, second), images, strict=True)
            ]
            differences.append(Difference(shares[0], shares[1], *difference_interval(shares[0], shares[1])))
    if not differences:
        raise artgen.UsageError("The reports have no common prompt.", "Use the same list of prompts.")
    return sorted(differences, key=lambda each: (-abs(each.value), each.first.key))


def _absent(key: tuple[str, str, str, str], images: int) -> Share:
    """Return the share of a label that no image has."""
    low, high = wilson_interval(0, images)
    return Share(*key, 0, images, 0.0, round(low, 6), round(high, 6))


def write_csv(differences: Sequence[Difference], path: Path) -> None:
    """Write all differences."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["group", "prompt", "attribute", "label", "first", "second", "difference", "low", "high"])
        for each in differences:
            numbers = (each.first.share, each.second.share, each.value, each.low, each.high)
            writer.writerow([*each.first.key, *(round(number, 6) for number in numbers)])


def format_row(difference: Difference) -> str:
    """Return one line: the label, both shares, and the difference with its interval in percentage points."""
    share = difference.first
    where = share.prompt or f"all {share.group}"
    return (
        f"{where}: {share.attribute} {share.label}: {share.share:.0%} -> {difference.second.share:.0%} "
        f"({100 * difference.value:+.0f}, {100 * difference.low:+.0f} to {100 * difference.high:+.0f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path, help="report.json of the first audit")
    parser.add_argument("second", type=Path, help="report.json of the second audit")
    parser.add_argument("--csv", type=Path, help="file for all differences")
    parser.add_argument("--limit", type=int, default=30, help="number of printed differences [30]")
    options = parser.parse_args()
    try:
        reports = [read_report(path) for path in (options.first, options.second)]
        differences = compare(*reports)
    except artgen.ArtgenError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    if options.csv:
        write_csv(differences, options.csv)
    if reports[0]["prompt list sha256"] != reports[1]["prompt list sha256"]:
        print("The lists of prompts differ. Only the common prompts are compared.", file=sys.stderr)
    clear = [each for each in differences if each.is_clear]
    print(f"{reports[0]['model']['model']} -> {reports[1]['model']['model']}, difference in percentage points:")
    print("\n".join(format_row(each) for each in clear[: options.limit]))
    expected = 0.05 * len(differences)
    print(
        f"{len(clear)} of {len(differences)} intervals do not contain 0. "
        f"About {expected:.0f} would not contain 0 by chance if both models were equal."
    )


if __name__ == "__main__":
    main()
