"""Test the default steps and guidance scale of a model folder of each family, and the note about its variant."""

from collections.abc import Mapping
from pathlib import Path

import command_line
import pytest

from artgen.jobs.prepare import prepare_jobs
from artgen.registry import resolve_model
from artgen.spec.requests import Txt2Img

DEFAULTS = {
    "sd1": (30, 7.5),
    "sd2": (30, 7.5),
    "sd-turbo": (4, 0.0),
    "lcm": (4, 8.0),
    "sdxl": (30, 5.0),
    "sdxl-turbo": (4, 0.0),
    "sdxl-lcm": (4, 8.0),
    "sdxl-refiner": (30, 5.0),
    "sd3": (28, 4.5),
    "flux-dev": (28, 3.5),
    "flux-schnell": (4, 0.0),
    "flux-fill": (50, 30.0),
    "flux-kontext": (28, 2.5),
    "flux2-dev": (50, 4.0),
    "flux2-klein": (4, 1.0),
    "flux2-klein-base": (50, 4.0),
    "chroma": (40, 3.0),
    "z-image-turbo": (8, 0.0),
    "z-image": (50, 4.0),
    "qwen-image": (50, 4.0),
    "krea2": (28, 4.5),
    "krea2-turbo": (8, 0.0),
    "pixart-sigma": (20, 4.5),
    "sana": (20, 4.5),
    "sana-sprint": (2, 4.5),
    "lumina2": (50, 4.0),
    "auraflow": (50, 3.5),
    "hunyuandit": (50, 5.0),
    "cogview3": (50, 7.0),
    "cogview4": (50, 3.5),
    "hidream": (50, 5.0),
    "ernie-image": (50, 4.0),
    "kandinsky3": (25, 3.0),
    "kandinsky5": (50, 3.5),
}
"""Steps and guidance scale of the model cards, or of diffusers' documentation."""


@pytest.mark.parametrize("name", DEFAULTS)
def test_folder_has_the_defaults_of_its_family_and_variant(zoo: Mapping[str, Path], name: str) -> None:
    model = resolve_model(str(zoo[name]))
    assert (model.steps, model.guidance_scale) == DEFAULTS[name]


@pytest.mark.parametrize("name", ["flux-dev", "qwen-image", "z-image", "chroma", "sana-sprint"])
def test_large_transformers_generate_1024_pixels_by_default(zoo: Mapping[str, Path], name: str) -> None:
    (job,) = prepare_jobs([Txt2Img(model=str(zoo[name]))])
    assert job.size == (1024, 1024)


@pytest.mark.parametrize("name", ["z-image", "lcm", "sdxl-turbo"])
def test_dry_run_prints_the_detected_variant(zoo: Mapping[str, Path], name: str) -> None:
    done = command_line.run("txt2img", "x", "-m", str(zoo[name]), "--dry-run")
    steps, guidance = DEFAULTS[name]
    assert f": {steps} steps, guidance {guidance:g}." in done.stderr
    assert f"steps={steps}" in done.stdout
