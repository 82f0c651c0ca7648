"""Test the parts of the benchmarks that do not need torch: profiles, goals, and the sections of the results page."""

import sys
from pathlib import Path

import pytest
from benchmark_programs import BENCHMARKS, PAGE, judge_row, run_benchmark, save_page
from benchmarks import results


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Save a results page with a section of another program."""
    return save_page(tmp_path)


@pytest.fixture(autouse=True)
def _programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow imports of the benchmark modules."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_unknown_row_is_rejected_and_the_page_is_unchanged(page: Path) -> None:
    process = run_benchmark(page, "--only", "tyni")
    assert process.returncode == 2
    assert "Unknown row: tyni. Rows: startup, startup-compared," in process.stderr
    assert page.read_text() == PAGE


def test_profile_distinguishes_files_with_equal_names(tmp_path: Path) -> None:
    import profiling
    from harness import Row, Variant

    program = tmp_path / "program.py"
    program.write_text("import json\nimport logging\njson.loads('[1]')\n")
    variants = (Variant("loads", (sys.executable, str(program))), Variant("nothing", (sys.executable, "-c", "pass")))
    text = profiling.profile(Row("row", "A row", variants), tmp_path)
    assert "row, loads, by cumulative:" in text
    assert "row, loads, by tottime:" in text
    assert {"json/__init__.py:1(<module>)", "logging/__init__.py:1(<module>)"} <= set(text.split())
    assert "row, nothing: not a program that cProfile can run" in text


def test_writing_a_section_keeps_the_other_sections(page: Path) -> None:
    results.write("mine", "first", {"a": 1}, page)
    results.write("other", "changed", {}, page)
    results.write("mine", "second", {"a": 2}, page)
    assert page.read_text() == PAGE.replace("of another script", "changed") + (
        "\n<!-- begin mine -->\n\nsecond\n\n<!-- end mine -->\n"
    )
    assert results.read("mine", page) == {"a": 2}
    assert results.read("unknown", page) is None


def test_page_with_an_unclosed_section_is_not_changed(page: Path) -> None:
    page.write_text(PAGE.replace("<!-- end other -->\n", ""))
    with pytest.raises(ValueError, match="without the other"):
        results.write("other", "changed", {}, page)


@pytest.mark.parametrize(("ours", "verdict"), [([1.0, 1.0, 9.0], "met"), ([1.5, 1.5, 1.0], "**not met**")])
def test_speed_goal_uses_the_median_of_ratios(ours: list[float], verdict: str) -> None:
    samples = {"plain diffusers": {"wall": [2.0, 1.4, 2.0]}, "artgen": {"wall": ours}}
    assert list(judge_row("new", samples).values()) == [verdict]


@pytest.mark.parametrize(("overhead", "verdict"), [(0.02, "met"), (0.04, "**not met**")])
def test_overhead_goal_uses_the_difference(overhead: float, verdict: str) -> None:
    calls = [0.5, 0.9, 0.6]
    samples = {
        "pipeline call only": {"wall": calls},
        "artgen: `generate`, written with its record": {"wall": [call + overhead for call in calls]},
    }
    assert list(judge_row("running", samples).values()) == [verdict]


def test_cache_is_measured_and_the_cleanup_runs(tmp_path: Path) -> None:
    from harness import CACHE, Row, Variant, measure

    write = (
        "import pathlib, sys; path = pathlib.Path(sys.argv[1]); path.mkdir(); (path / 'a').write_bytes(bytes(2**20))"
    )
    variants = (
        Variant("no cache", (sys.executable, "-c", "pass")),
        Variant("cache", (sys.executable, "-c", write, CACHE)),
    )
    marker = tmp_path / "cleaned"
    cleanup = (sys.executable, "-c", "import sys; open(sys.argv[1], 'x').close()", str(marker))
    row = Row("row", "A row", variants, ("wall", "cache"), cleanup=cleanup)
    samples = measure(row, 2, lambda _: None, warm_up=False).samples
    assert samples["cache"]["cache"] == [1.0, 1.0]
    assert "cache" not in samples["no cache"]
    assert marker.exists()


def test_cleanup_runs_after_an_error(tmp_path: Path) -> None:
    from harness import BenchmarkError, Row, Variant, measure

    marker = tmp_path / "cleaned"
    cleanup = (sys.executable, "-c", "import sys; open(sys.argv[1], 'x').close()", str(marker))
    row = Row("row", "A row", (Variant("fails", (sys.executable, "-c", "raise SystemExit(3)")),), cleanup=cleanup)
    with pytest.raises(BenchmarkError, match="exited with code 3"):
        measure(row, 1, lambda _: None)
    assert marker.exists()


def test_column_that_a_variant_does_not_measure_is_empty() -> None:
    import report

    samples = {"plain": {"wall": [2.0]}, "first run": {"wall": [4.0], "cache": [25.0]}}
    lines = report.Result("title", "", ("wall", "cache"), samples, {}, "2026-01-01", 1, (0.0, 0.0)).table().splitlines()
    assert lines[-4:] == [
        "|  | wall s | x | cache MiB |",
        "| --- | --- | --- | --- |",
        "| plain | 2 | 1.00 |  |",
        "| first run | 4 | 0.50 | 25 |",
    ]


@pytest.mark.parametrize(
    ("wall", "cpu", "verdict"), [(0.5, 0.05, "met"), (0.7, 0.05, "**not met**"), (0.5, 0.2, "**not met**")]
)
def test_worker_goal_limits_both_times_of_the_client(wall: float, cpu: float, verdict: str) -> None:
    samples = {
        "artgen in a new process": {"wall": [9.0, 9.0, 9.0], "cpu": [9.0, 9.0, 9.0]},
        "artgen through the worker": {"wall": [wall, wall, 9.0], "cpu": [cpu, cpu, 9.0]},
    }
    assert list(judge_row("worker", samples).values()) == ["met", verdict]
