"""Test that the benchmark programs measure with tiny models and write their sections of the results page."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmark_programs import BENCHMARKS, PAGE, judge_row, run_benchmark, save_page
from benchmarks import results

pytestmark = pytest.mark.slow


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Save a results page with a section of another program."""
    return save_page(tmp_path)


def test_row_is_measured_and_written_to_its_section(page: Path) -> None:
    process = run_benchmark(page, "--only", "tiny", "cuda-sd15", "--quick")
    assert process.returncode == 0, process.stderr
    text = page.read_text()
    assert text.startswith(PAGE.rstrip())
    section = text.partition("<!-- begin run -->")[2].partition("<!-- end run -->")[0]
    assert "### One image in a new process: a tiny model" in section
    assert section.count("| plain diffusers |") == section.count("| artgen |") == 1
    assert "the same |" in section  # the images of artgen and of plain diffusers are equal
    (numbers,) = json.loads((page.parent / "results" / "run.json").read_text()).values()
    samples = numbers["tiny"]["samples"]
    assert samples.keys() == {"plain diffusers", "artgen"}
    for sample in samples.values():
        assert 0.5 < sample["wall"][0] < 300
        assert 0.5 < sample["cpu"][0] < 300
        assert 200 < sample["peak"][0] < 3000
    if "cuda-sd15: skipped" in process.stderr:
        assert "needs a CUDA device" in process.stderr or "needs sd15" in process.stderr


def test_png_encoding_is_measured_and_written_to_its_section(page: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "encoding.py"), "--rounds", "1", "--sides", "32", "--page", str(page)]
    subprocess.run(command, check=True, timeout=600)
    text = page.read_text()
    assert text.startswith(PAGE.rstrip())
    section = text.partition("<!-- begin encoding -->")[2].partition("<!-- end encoding -->")[0]
    assert "| | drawings 128 | photographs 32 | drawings 32 | noise 32 |" in section
    numbers = results.read("encoding", page)
    assert section.count("\n| ") == 1 + len(numbers)
    assert all(size == 1 for _, size in numbers["Pillow, default"].values())
    sizes = {variant: by_kind["drawings 128"][1] for variant, by_kind in numbers.items()}
    assert 0.5 < sizes["Pillow, level 9 (`--png-level 9`)"] <= 1 < sizes["Pillow, level 1"] < 3
    assert all(ms > 0 for by_kind in numbers.values() for ms, _ in by_kind.values())


def test_restoration_is_measured_and_written_to_its_section(page: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "upscale.py"), "--quick", "--page", str(page)]
    subprocess.run([*command, "--methods", "lanczos", "network"], check=True, timeout=600)
    section = page.read_text().partition("<!-- begin upscale -->")[2].partition("<!-- end upscale -->")[0]
    rows = results.read("upscale", page)["rows"]
    assert [(row["factor"], row["method"]) for row in rows] == [
        (2, "lanczos"), (2, "tiny-x2"), (4, "lanczos"), (4, "tiny-x2"),
    ]  # fmt: skip
    assert section.count("| tiny-x2 |") == 2
    assert all(row["psnr"] > 15 and row["seconds"] > 0 for row in rows)


def test_every_goal_uses_variants_that_its_row_measures(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that was not measured yet gets a verdict as soon as it is measured."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import performance_goals
    from harness import run as run_variant
    from run import all_rows
    from workspace import Workspace, running_process

    rows = all_rows(Workspace(tmp_path, None, print))
    settings = {"steps": 1, "guidance_scale": 3.0, "width": 32, "height": 32, "device": "cpu", "dtype": "fp32"}
    for goal in performance_goals.GOALS:
        variants = [variant.name for variant in rows[goal.row].variants]
        if variants == ["in turns"]:
            (tmp_path / goal.row).mkdir()
            level = next((level for level in ("exact", "full") if goal.row.endswith(level)), None)
            variant = running_process(models["sd1"], 1, **settings, acceleration=level)
            variants = list(run_variant(variant, tmp_path / goal.row)["variants"])
        samples = {
            name: {column: [1.0] for column in ("wall", "cpu", "step", "step_cpu", "peak", "gpu", "limit")}
            for name in variants
        }
        assert judge_row(goal.row, samples).keys() >= {goal.text}
