"""Run each shell script of examples/scripts unchanged, with the bundled model and few steps."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

SCRIPTS = Path(__file__).parents[2] / "examples" / "scripts"
PROMPTS = SCRIPTS.parent / "inputs" / "prompts.txt"

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _prompts() -> None:
    shutil.copy(PROMPTS, "prompts.txt")


def run(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"ARTGEN_STEPS": "2", "ARTGEN_MODEL": "tiny", "PATH": path, **environment}
    result = subprocess.run(
        ["bash", str(SCRIPTS / name), *arguments],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    return result


def images_in(folder: str) -> list[str]:
    paths = [path for path in Path(folder).rglob("*.png") if path.name != "sheet.png"]
    for path in paths:
        Image.open(path).verify()
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def test_loop_generates_each_line() -> None:
    assert len(run("loop.sh").stdout.splitlines()) == 2
    assert images_in("loop") == ["00001-7-a-red-fox-in-the-snow.png", "00002-8-a-blue-car.png"]


def test_stdin_generates_each_prompt() -> None:
    run("stdin.sh")
    records = [json.loads(line) for line in Path("colors.jsonl").read_text().splitlines()]
    expected = {f"a {color} {thing}" for color in ("red", "green", "blue") for thing in ("apple", "car")}
    assert {record["prompt"] for record in records} == expected
    assert len(images_in("colors")) == 6


def test_folder_keeps_names_and_subfolders() -> None:
    Path("photos/summer").mkdir(parents=True)
    Image.new("RGB", (64, 64), "red").save("photos/a.png")
    Image.new("RGB", (64, 48), "blue").save("photos/summer/b.jpg")
    run("folder.sh")
    assert images_in("paintings") == ["a.png", "summer/b.png"]
    assert Image.open("paintings/summer/b.png").size == (64, 48)


def test_sweep_writes_images_table_and_sheet() -> None:
    run("sweep.sh")
    assert len(images_in("sweep")) == 6
    assert len(Path("sweep/sweep.csv").read_text().splitlines()) == 7
    assert Path("sweep/sheet.png").is_file()


def test_overnight_generates_only_missing_images() -> None:
    run("overnight.sh")
    names = images_in("night")
    assert len(names) == 4
    Path("night", names[0]).unlink()
    assert run("overnight.sh").stdout.splitlines() == [f"night/{names[0]}"]


def test_slurm_array_generates_all_parts() -> None:
    for task in ("0", "1"):
        run("slurm-array.sh", SLURM_ARRAY_TASK_ID=task, SLURM_ARRAY_TASK_COUNT="2")
    assert len(images_in("array")) == 4


def test_ray_cluster_generates_all_images() -> None:
    run("ray-cluster.sh")
    assert len(images_in("cluster")) == 4


def test_every_script_is_tested() -> None:
    source = Path(__file__).read_text()
    for script in SCRIPTS.glob("*.sh"):
        assert f'run("{script.name}"' in source
