"""The benchmark: it measures what it says, judges by it, and writes its own section of the page alone."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks import results

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
PAGE = "# Results\n\nBy hand.\n\n<!-- begin other -->\n\nof another script\n\n<!-- end other -->\n\nThe end.\n"


def run(page: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--page", str(page), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "RESULTS.md"
    path.write_text(PAGE)
    return path


def test_a_row_is_measured_and_written_in_its_section(page: Path) -> None:
    ran = run(page, "--only", "tiny", "cuda-sd15", "--quick")
    assert ran.returncode == 0, ran.stderr
    text = page.read_text()
    assert text.startswith(PAGE.rstrip())
    section = text.partition("<!-- begin run -->")[2].partition("<!-- end run -->")[0]
    assert "### One image in a new process: a tiny model" in section
    assert section.count("| plain diffusers |") == section.count("| artgen |") == 1
    assert "the same |" in section  # artgen's picture and the plain script's
    (numbers,) = json.loads((page.parent / "results" / "run.json").read_text()).values()
    samples = numbers["tiny"]["samples"]
    assert samples.keys() == {"plain diffusers", "artgen"}
    for measured in samples.values():
        assert 0.5 < measured["wall"][0] < 300
        assert 0.5 < measured["cpu"][0] < 300
        assert 200 < measured["peak"][0] < 3000
    if "cuda-sd15: skipped" in ran.stderr:
        assert "needs a CUDA device" in ran.stderr or "needs sd15" in ran.stderr


def test_a_row_that_is_not_there_is_refused_and_nothing_is_written(page: Path) -> None:
    ran = run(page, "--only", "tyni")
    assert ran.returncode == 2
    assert "Unknown row: tyni. Rows: startup, new," in ran.stderr
    assert page.read_text() == PAGE


def test_a_profile_tells_files_of_one_name_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import profiling
    from harness import Row, Variant

    program = tmp_path / "program.py"
    program.write_text("import json\nimport logging\njson.loads('[1]')\n")
    ways = (Variant("loads", (sys.executable, str(program))), Variant("nothing", (sys.executable, "-c", "pass")))
    told = profiling.profile(Row("row", "A row", ways), tmp_path)
    assert "row, loads, by cumulative:" in told
    assert "row, loads, by tottime:" in told
    assert {"json/__init__.py:1(<module>)", "logging/__init__.py:1(<module>)"} <= set(told.split())
    assert "row, nothing: not a program that cProfile can run" in told


def test_png_files_are_measured_and_written_in_their_section(page: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "encoding.py"), "--rounds", "1", "--sides", "32", "--page", str(page)]
    subprocess.run(command, check=True, timeout=600)
    text = page.read_text()
    assert text.startswith(PAGE.rstrip())
    section = text.partition("<!-- begin encoding -->")[2].partition("<!-- end encoding -->")[0]
    assert "| | drawings 128 | photographs 32 | drawings 32 | noise 32 |" in section
    numbers = results.read("encoding", page)
    assert section.count("\n| ") == 1 + len(numbers)
    assert all(size == 1 for _, size in numbers["Pillow, default"].values())
    sizes = {way: by_kind["drawings 128"][1] for way, by_kind in numbers.items()}
    assert 0.5 < sizes["Pillow, level 9 (`--png-level 9`)"] <= 1 < sizes["Pillow, level 1"] < 3
    assert all(ms > 0 for by_kind in numbers.values() for ms, _ in by_kind.values())


def test_a_section_replaces_itself_alone(page: Path) -> None:
    results.write("mine", "first", {"a": 1}, page)
    results.write("other", "changed", {}, page)
    results.write("mine", "second", {"a": 2}, page)
    assert page.read_text() == PAGE.replace("of another script", "changed") + (
        "\n<!-- begin mine -->\n\nsecond\n\n<!-- end mine -->\n"
    )
    assert results.read("mine", page) == {"a": 2}
    assert results.read("unknown", page) is None


def test_a_page_with_half_a_section_is_left_alone(page: Path) -> None:
    page.write_text(PAGE.replace("<!-- end other -->\n", ""))
    with pytest.raises(ValueError, match="without the other"):
        results.write("other", "changed", {}, page)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The verdicts on made-up numbers: seconds of the plain script and of artgen, by row."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import performance_goals
    import report

    def judge(row: str, samples: dict[str, dict[str, list[float]]]) -> dict[str, str]:
        result = report.Result("title", "", ("wall",), samples, {}, "2026-01-01", 3, (0.0, 0.0))
        assert "| --- |" in result.table()
        return {says: verdict for says, _, verdict in performance_goals.lines({row: result}) if verdict != "open"}

    return judge


@pytest.mark.parametrize(("ours", "verdict"), [([1.0, 1.0, 9.0], "met"), ([1.5, 1.5, 1.0], "**not met**")])
def test_a_target_is_judged_by_the_median_of_ratios(judged: Any, ours: list[float], verdict: str) -> None:
    samples = {"plain diffusers": {"wall": [2.0, 1.4, 2.0]}, "artgen": {"wall": ours}}
    assert list(judged("new", samples).values()) == [verdict]


@pytest.mark.parametrize(("over", "verdict"), [(0.02, "met"), (0.04, "**not met**")])
def test_the_overhead_of_a_running_process_is_a_difference(judged: Any, over: float, verdict: str) -> None:
    calls = [0.5, 0.9, 0.6]
    samples = {
        "pipeline call only": {"wall": calls},
        "artgen: `generate`, written with its record": {"wall": [call + over for call in calls]},
    }
    assert list(judged("running", samples).values()) == [verdict]


def test_every_target_is_judged_by_a_way_that_its_row_has(
    judged: Any, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers of a row that no machine has measured yet must find their verdict when one does."""
    import performance_goals
    from harness import run as measured
    from run import all_rows
    from workspace import Workspace, running_process

    rows = all_rows(Workspace(tmp_path, None, print))
    drawn = {"steps": 1, "guidance_scale": 3.0, "width": 32, "height": 32, "device": "cpu", "dtype": "fp32"}
    for target in performance_goals.GOALS:
        ways = [variant.name for variant in rows[target.row].variants]
        if ways == ["in turns"]:
            (tmp_path / target.row).mkdir()
            level = next((level for level in ("exact", "full") if target.row.endswith(level)), None)
            way = running_process(models["sd1"], 1, **drawn, acceleration=level)
            ways = list(measured(way, tmp_path / target.row)["variants"])
        samples = {name: {column: [1.0] for column in ("wall", "cpu", "step", "peak", "gpu", "limit")} for name in ways}
        assert judged(target.row, samples).keys() >= {target.text}
