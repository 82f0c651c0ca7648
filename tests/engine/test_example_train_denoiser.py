"""Run the denoiser recipe on a few synthetic images, up to a folder that diffusers loads."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bits import same
from PIL import Image

pytest.importorskip("matplotlib")

RECIPE = Path(__file__).parents[2] / "examples" / "train_denoiser"


def run(script: str, *arguments: object) -> str:
    """Run a script and return its output; fail if the script fails."""
    command = [sys.executable, RECIPE / script, *arguments]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    completed = subprocess.run(
        [*map(str, command)], env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert completed.returncode == 0, f"{script}:\n{completed.stderr[-3000:]}"
    return completed.stdout


def write_images(raw: Path) -> None:
    """Write a color and a gray image, a panorama for training, and the two for validation."""
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, shape in (("garden", (150, 170, 3)), ("stones", (160, 150))):
        Image.fromarray(random.integers(0, 256, shape).astype(np.uint8)).save(raw / f"{name}.png")
    for name in ("hall", "forest", "venice"):
        np.save(raw / f"{name}.npy", random.random((256, 192, 3)).astype(np.float16))


@pytest.mark.slow
def test_recipe_exports_a_denoiser_that_diffusers_loads(tmp_path: Path) -> None:
    import torch
    from diffusers import DDIMPipeline

    raw, work, copy, out = (tmp_path / name for name in ("raw", "training", "copy", "model"))
    write_images(raw)
    work.mkdir()
    assert "3 images" in run("dead_leaves.py", "--data", raw, "--work", work, "--images", 3)
    assert np.load(work / "leaves.npy").shape == (3, 256, 256, 3)
    shutil.copytree(work, copy)

    small = ("--data", raw, "--width", 8, 16, "--batch", 2, "--threads", 1, "--validate-every", 2, "--steps", 4)
    run("train_denoiser.py", "--work", work, *small)
    run("train_denoiser.py", "--work", copy, *small, "--until", 2)
    halfway = torch.load(copy / "denoiser.pt", weights_only=False)
    run("train_denoiser.py", "--work", copy, *small)
    uninterrupted, resumed = (torch.load(folder / "denoiser.pt", weights_only=False) for folder in (work, copy))
    assert (halfway["step"], resumed["step"]) == (2, 4)
    assert not same(halfway["module"], resumed["module"])
    for part in ("module", "average", "optimiser", "numpy"):
        assert same(uninterrupted[part], resumed[part]), part
    with (work / "denoiser.csv").open() as lines:
        rows = list(csv.reader(lines))
    assert [int(row[0]) for row in rows] == [2, 4]
    assert all(5 < float(value) < 60 for row in rows for value in row[5:8])
    assert (work / "denoiser.png").is_file()

    run("export_denoiser.py", "--work", work, "--out", out)
    pipeline = DDIMPipeline.from_pretrained(out)
    alpha_bar = pipeline.scheduler.alphas_cumprod.double()
    sigmas = ((1 - alpha_bar) / alpha_bar).sqrt() * 127.5
    assert torch.allclose(sigmas[[9, 149, 249, 999]], torch.tensor([1.0, 15.0, 25.0, 100.0]).double(), rtol=0.01)
    state = torch.zeros(1, 3, 64, 64)
    assert pipeline.unet.to(torch.float32)(state, 14.5).sample.shape == state.shape
