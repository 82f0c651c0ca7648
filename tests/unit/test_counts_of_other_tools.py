"""Test that the prompts of all files of docs/other-tools.md are right, and that the page contains the counts."""

import re
from pathlib import Path

from tests.helpers.count_other_tools import ROOT, count, read_cases, write_cases


def test_all_prompts_are_right_and_the_page_contains_the_counts(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    cases = write_cases(folder)
    results = read_cases(cases, ROOT)
    wrong = [(case.path.name, case.group) for case, result in zip(cases, results, strict=True) if result != "right"]
    assert wrong == []
    page = (ROOT / "docs" / "other-tools.md").read_text("utf-8")
    for group, numbers in count(cases, results).items():
        row = re.search(
            rf"^\| {re.escape(group)} \| (\d+) \| \d+ \| \d+ \| \d+ \| (\d+) \| (\d+) \|$", page, re.MULTILINE
        )
        assert row is not None, group
        assert [int(number) for number in row.groups()] == [numbers.total(), numbers["right"], 0], group
