"""Test strength 0, which returns the input image unchanged, and notes about settings without an effect."""

import json
import shutil
from pathlib import Path
from typing import Any

import command_line
import numpy as np
import pytest
import sample_images
from PIL import Image

from artgen import Img2Img, Inpaint, Outpaint, Txt2Img, generate, replay
from artgen.engine.loading import pipeline_cache
from artgen.errors import UsageError
from artgen.events import Event
from artgen.jobs.prepare import prepare_jobs

MODES = ("RGB", "RGBA", "L", "LA", "16 bits", "RGB JPEG")


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> Any:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr(pipeline_cache, "cached", load)


def save_image(kind: str, name: str = "input", seed: int = 0) -> Path:
    """Save a 30x26 image with random values in all channels."""
    random = np.random.default_rng(seed)
    path = Path(f"{name}.jpg" if kind == "RGB JPEG" else f"{name}.png")
    if kind == "16 bits":
        image = Image.fromarray(random.integers(0, 65536, (26, 30), np.uint16))
    else:
        mode = kind.partition(" ")[0]
        bands = [Image.fromarray(random.integers(0, 256, (26, 30), np.uint8)) for _ in mode]
        image = Image.merge(mode, bands)
    image.save(path)
    return path


def pixels(path: Path | str) -> tuple[str, bytes]:
    with Image.open(path) as image:
        return image.mode, np.asarray(image).tobytes()


@pytest.mark.parametrize("kind", MODES)
@pytest.mark.parametrize("task", ["img2img", "inpaint"])
def test_strength_0_returns_the_image_unchanged(kind: str, task: str) -> None:
    path = save_image(kind)
    mask = ["--mask", str(sample_images.mask(Path("mask.png"), 30, 26))] if task == "inpaint" else []
    command_line.run(task, str(path), "a fox", *mask, "--strength", "0", "--seed", "1", "-o", "out.png")
    assert pixels("out.png") == pixels(path)
    record = json.loads(Image.open("out.png").info["artgen"])
    assert (record["strength"], record["prompt"], record["width"]) == (0.0, "a fox", 30)


@pytest.mark.parametrize("kind", MODES)
def test_outpaint_with_strength_0_adds_only_the_border(kind: str) -> None:
    path = save_image(kind)
    command_line.run("outpaint", str(path), "--expand", "left=8,top=4", "--strength", "0", "-o", "out.png")
    with Image.open(path) as source, Image.open("out.png") as image:
        assert (image.mode, image.size) == (source.mode, (38, 30))
        assert np.array_equal(np.asarray(image)[4:, 8:], np.asarray(source))
        assert np.asarray(image)[:4].std() > 0


def test_strength_0_in_a_sweep_a_folder_and_a_prompt_file() -> None:
    Path("photos").mkdir()
    paths = [save_image(kind, f"photos/{index}", index) for index, kind in enumerate(("RGB", "RGBA", "16 bits"))]
    command_line.run("img2img", "photos/1.png", "x", "--seed", "1", "--sweep", "strength=0,0.0", "-o", "sweep/")
    command_line.run("img2img", "photos", "x", "--seed", "1", "--strength", "0", "-o", "folder/")
    Path("jobs.txt").write_text(
        "".join(f"x --task img2img -i {path} --strength 0 --seed 1 -o {path.stem}.png\n" for path in paths)
    )
    command_line.run("batch", "jobs.txt", "-o", "batch/")
    for path in paths:
        for folder in ("folder", "batch"):
            (file,) = Path(folder).glob(f"{path.stem}*.png")
            assert pixels(file) == pixels(path)
    swept = [file for file in Path("sweep").glob("*.png") if not file.name.startswith("sheet")]
    assert swept
    assert all(pixels(file) == pixels("photos/1.png") for file in swept)


def test_strength_0_with_another_size_resizes_only() -> None:
    path = save_image("RGB")
    result = generate(Img2Img(image=path, strength=0.0, width=16, height=20))
    assert sample_images.same(result.image, Image.open(path).resize((16, 20), Image.Resampling.LANCZOS))


def test_record_of_strength_0_can_be_replayed() -> None:
    path = save_image("RGBA")
    command_line.run("img2img", str(path), "x", "--strength", "0", "--seed", "1", "-o", "out.png")
    assert np.array_equal(np.asarray(replay(Path("out.png")).image), np.asarray(Image.open(path)))


@pytest.mark.parametrize("strength", [0.01, 0.2, 0.24])
def test_fraction_without_a_step_is_refused(strength: float) -> None:
    with pytest.raises(UsageError, match="with 4 steps runs no step") as raised:
        prepare_jobs([Img2Img(image=save_image("RGB"), strength=strength, steps=4)])
    assert "Strength 0 returns the image unchanged." in raised.value.hint


def notes(request: Any) -> str:
    (job,) = prepare_jobs([request])
    return " ".join(job.notes)


NO_EFFECT = "The negative prompt has no effect"


@pytest.mark.parametrize("guidance", [0.0, 0.5, 1.0])
def test_negative_prompt_without_guidance_has_a_note(guidance: float) -> None:
    assert f"{NO_EFFECT}: the guidance scale is {guidance:g}" in notes(
        Txt2Img(prompt="x", negative_prompt="y", guidance_scale=guidance)
    )
    assert NO_EFFECT not in notes(Txt2Img(prompt="x", guidance_scale=guidance))
    assert NO_EFFECT not in notes(Txt2Img(prompt="x", negative_prompt="y", guidance_scale=1.5))


def test_negative_prompt_has_a_note_for_every_task() -> None:
    image, mask = save_image("RGB"), sample_images.mask(Path("mask.png"), 30, 26)
    settings: dict[str, Any] = {"image": image, "negative_prompt": "y", "guidance_scale": 1.0}
    for request in (Img2Img(**settings), Inpaint(mask=mask, **settings), Outpaint(expand="8", **settings)):
        assert NO_EFFECT in notes(request)


def test_negative_prompt_of_a_model_without_guidance_has_a_note(models: dict[str, Path]) -> None:
    folder = Path(shutil.copytree(models["sd1"], "model"))
    (folder / "artgen.json").write_text(json.dumps({"guidance_scale": 0.0}))
    assert NO_EFFECT in notes(Txt2Img(prompt="x", negative_prompt="y", model=str(folder)))


def test_negative_prompt_of_a_model_with_embedded_guidance_is_refused(models: dict[str, Path]) -> None:
    folder = Path(shutil.copytree(models["sd1"], "model"))
    config = json.loads((folder / "unet/config.json").read_text())
    (folder / "unet/config.json").write_text(json.dumps(config | {"time_cond_proj_dim": 32}))
    with pytest.raises(UsageError, match="Latent consistency models is an input of the denoiser"):
        notes(Txt2Img(prompt="x", negative_prompt="y", model=str(folder)))


def test_strength_0_reports_no_steps() -> None:
    events: list[Event] = []
    generate(Img2Img(image=save_image("RGB"), strength=0.0, seed=1), listener=events.append)
    assert not [event for event in events if type(event).__name__ in ("StepEvent", "Loading", "ModelSelected")]
