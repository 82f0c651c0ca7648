"""The shell scripts of `examples/scripts`, each run as it stands, on the bundled model with few steps."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

SCRIPTS = Path(__file__).parents[2] / "examples" / "scripts"


@pytest.fixture(autouse=True)
def _prompts() -> None:
    shutil.copy(SCRIPTS / "prompts.txt", "prompts.txt")


def run(name: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"ARTGEN_STEPS": "2", "ARTGEN_MODEL": "tiny", "PATH": path, **environment}
    result = subprocess.run(
        ["bash", str(SCRIPTS / name), *words],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    return result


def pictures(folder: str) -> list[str]:
    found = [path for path in Path(folder).rglob("*.png") if path.name != "sheet.png"]
    for path in found:
        Image.open(path).verify()
    return sorted(path.relative_to(folder).as_posix() for path in found)


def test_a_loop() -> None:
    assert len(run("loop.sh").stdout.splitlines()) == 2
    assert pictures("loop") == ["00001-7-a-red-fox-in-the-snow.png", "00002-8-a-blue-car.png"]


def test_prompts_through_stdin() -> None:
    run("stdin.sh")
    records = [json.loads(line) for line in Path("colours.jsonl").read_text().splitlines()]
    expected = {f"a {colour} {thing}" for colour in ("red", "green", "blue") for thing in ("apple", "car")}
    assert {record["prompt"] for record in records} == expected
    assert len(pictures("colours")) == 6


def test_a_folder() -> None:
    Path("photos/summer").mkdir(parents=True)
    Image.new("RGB", (64, 64), "red").save("photos/a.png")
    Image.new("RGB", (64, 48), "blue").save("photos/summer/b.jpg")
    run("folder.sh")
    assert pictures("paintings") == ["a.png", "summer/b.png"]
    assert Image.open("paintings/summer/b.png").size == (64, 48)


def test_a_sweep() -> None:
    run("sweep.sh")
    assert len(pictures("sweep")) == 6
    assert len(Path("sweep/sweep.csv").read_text().splitlines()) == 7
    assert Path("sweep/sheet.png").is_file()


def test_a_night() -> None:
    run("overnight.sh")
    first = pictures("night")
    assert len(first) == 4
    Path("night", first[0]).unlink()
    assert run("overnight.sh").stdout.splitlines() == [f"night/{first[0]}"]


def test_a_slurm_array() -> None:
    for task in ("0", "1"):
        run("slurm-array.sh", SLURM_ARRAY_TASK_ID=task, SLURM_ARRAY_TASK_COUNT="2")
    assert len(pictures("array")) == 4


def test_a_ray_cluster() -> None:
    run("ray-cluster.sh")
    assert len(pictures("cluster")) == 4


def test_every_script_is_tested() -> None:
    here = Path(__file__).read_text()
    for script in SCRIPTS.glob("*.sh"):
        assert f'run("{script.name}"' in here
