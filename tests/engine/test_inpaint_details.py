"""Test soft masks, the content of the masked area, and repainting only the masked area."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import plain_scripts as plain
import pytest
import sample_images
from PIL import Image

from artgen import Inpaint, generate, images
from artgen.errors import UsageError
from artgen.jobs.edit_checks import CROPPING_PIPELINES
from artgen.jobs.prepare import prepare_jobs
from artgen.registry.pipelines import CLASSES_BY_TASK, pipeline_entries

CALL: dict[str, Any] = {"prompt": "a red fox", "seed": 5, "steps": 4, "guidance_scale": 5.0}
BROKEN_CROPPING = {
    "ChromaInpaintPipeline", "FluxControlNetInpaintPipeline", "FluxKontextInpaintPipeline",
    "StableDiffusionPAGInpaintPipeline", "StableDiffusionXLControlNetUnionInpaintPipeline",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _input_images() -> None:
    """Save the input image and the mask."""
    sample_images.photo(Path("photo.png"))
    sample_images.mask(Path("mask.png"))


def inpaint(model: Path | str, **settings: Any) -> Inpaint:
    """Return a request for the input images."""
    return Inpaint(model=str(model), image=Path("photo.png"), **{"mask": Path("mask.png"), **CALL, **settings})


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("sd1", {}), ("sd1", {"guidance_scale": 1.0, "strength": 0.6}), ("sd1", {"pag_scale": 2, "scheduler": "heun"}),
        ("sdxl", {"feather": 3, "strength": 0.8}), ("tiny", {"scheduler": "dpm++2m"}),
        ("tiny", {"keep_original": False, "invert_mask": True}),
    ],
)  # fmt: skip
def test_soft_mask_without_gray_equals_hard_mask(models: dict[str, Path], kind: str, settings: dict[str, Any]) -> None:
    request = inpaint(models.get(kind, kind), **settings)
    hard = generate(request).image
    assert sample_images.same(generate(request.replace(soft_mask=True)).image, hard)


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "tiny"])
def test_change_rises_with_the_gray_value(models: dict[str, Path], kind: str) -> None:
    size = (128, 128) if kind == "tiny" else (64, 64)
    photo = Image.open("photo.png").convert("RGB").resize(size)
    photo.save("photo.png")
    changes = []
    for gray in (32, 96, 160, 255):
        mask = Image.new("L", size)
        mask.paste(gray, (0, 0, size[0] // 2, size[1]))
        mask.save(f"gray-{gray}.png")
        soft = inpaint(models.get(kind, kind), mask=Path(f"gray-{gray}.png"), soft_mask=True, steps=8)
        difference = np.abs(np.asarray(generate(soft).image, float) - np.asarray(photo, float))
        assert not difference[:, size[0] // 2 :].any()
        changes.append(difference[:, : size[0] // 2].mean())
    assert changes == sorted(set(changes))


def test_soft_mask_is_not_scaled() -> None:
    Image.new("L", (32, 32), 128).save("gray.png")
    loaded = images.load_mask(Path("gray.png"), (32, 32), soft=True)
    assert loaded.mask.getextrema() == (128, 128)
    inverted = images.load_mask(Path("gray.png"), (32, 32), soft=True, invert=True)
    assert inverted.mask.getextrema() == (127, 127)
    assert images.load_mask(Path("gray.png"), (32, 32)).mask.getextrema() == (255, 255)
    notes = images.load_mask(Path("mask.png"), (32, 32), soft=True).notes
    assert "The mask 'mask.png' has no gray values, so --soft-mask has no effect." in notes


@pytest.mark.parametrize(
    ("kind", "cls"),
    [
        ("sd1", "StableDiffusionInpaintPipeline"), ("sd1-inpaint", "StableDiffusionInpaintPipeline"),
        ("sdxl", "StableDiffusionXLInpaintPipeline"), ("sd3", "StableDiffusion3InpaintPipeline"),
        pytest.param("flux-dev", "FluxInpaintPipeline", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_only_masked_equals_diffusers(models: dict[str, Path], zoo: Mapping[str, Path], kind: str, cls: str) -> None:
    """The image has another size than the model, and its sides are not multiples of 8."""
    photo = Image.open("photo.png").convert("RGB").resize((101, 77))
    photo.save("photo.png")
    mask = Image.new("L", photo.size)
    mask.paste(255, (30, 20, 60, 45))
    mask.save("mask.png")
    model = models[kind] if kind in models else zoo[kind]
    request = inpaint(model, only_masked=5, strength=0.8)
    (job,) = prepare_jobs([request])
    width, height = job.model.native_size
    ours = generate(request).image
    theirs = plain.generate(
        cls, model, seed=5, image=photo, mask_image=mask, padding_mask_crop=5, width=width, height=height,
        prompt="a red fox", num_inference_steps=4, guidance_scale=5.0, strength=0.8,
    )  # fmt: skip
    assert ours.size == photo.size
    assert sample_images.same(ours, theirs)
    assert not sample_images.same(ours, generate(request.replace(only_masked=None)).image)
    assert sample_images.same(Image.composite(photo, ours, mask), photo)  # pixels outside the mask


def test_cropping_pipelines_have_the_argument() -> None:
    keys = ("tasks", *CLASSES_BY_TASK)
    tables = [getattr(entry, key) for entry in pipeline_entries().values() for key in keys]
    classes = {table["inpaint"] for table in tables if "inpaint" in table}
    found = {
        name
        for name in classes
        if "padding_mask_crop" in inspect.signature(getattr(diffusers, name).__call__).parameters
    }
    assert found == CROPPING_PIPELINES | BROKEN_CROPPING


@pytest.mark.parametrize(
    ("kind", "settings", "reason"),
    [
        ("sd1-inpaint", {"soft_mask": True}, "an inpainting model receives the mask as an input"),
        ("sd3", {"soft_mask": True}, "does not mask the latents of Stable Diffusion 3"),
        ("tiny", {"only_masked": 32}, "its inpainting pipeline cannot crop"),
        ("sd1", {"only_masked": 32, "pag_scale": 3.0}, "StableDiffusionPAGInpaintPipeline cannot crop"),
        ("tiny", {"only_masked": 32, "soft_mask": True}, "Cannot combine soft_mask and only_masked"),
        ("tiny", {"fill": "blur", "soft_mask": True}, "Cannot combine soft_mask and fill blur"),
    ],
)  # fmt: skip
def test_unsupported_details_are_refused(models: dict[str, Path], kind: str, settings: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        prepare_jobs([inpaint(models.get(kind, kind), **settings)])


@pytest.mark.parametrize("method", ["noise", "blur", "biharmonic"])
def test_fill_replaces_the_masked_pixels(models: dict[str, Path], method: str) -> None:
    photo, mask = Image.open("photo.png"), Image.open("mask.png")
    filled = images.fill_masked(photo, mask, method, seed=5)
    request = inpaint(models["sd1"], fill=method, strength=0.6, keep_original=False)
    theirs = plain.generate(
        "StableDiffusionInpaintPipeline", models["sd1"], seed=5, prompt="a red fox", image=filled, mask_image=mask,
        width=32, height=32, num_inference_steps=4, guidance_scale=5.0, strength=0.6,
    )  # fmt: skip
    assert sample_images.same(generate(request).image, theirs)
    assert sample_images.same(images.fill_masked(photo, mask, method, seed=5), filled)
    changed = np.asarray(filled) != np.asarray(photo)
    assert changed[np.asarray(mask) > 0].mean() > 0.9
    assert not changed[np.asarray(mask) == 0].any()
    assert sample_images.same(filled, images.fill_masked(photo, mask, method, seed=6)) == (method != "noise")


def test_blur_and_biharmonic_continue_the_surroundings() -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 96, dtype=np.uint8)[None, :, None], (64, 96, 3))
    photo = Image.fromarray(np.ascontiguousarray(ramp))
    mask = Image.new("L", photo.size)
    mask.paste(255, (30, 10, 66, 50))
    masked = np.asarray(mask) > 0
    errors = {}
    for method in ("noise", "blur", "biharmonic"):
        filled = np.asarray(images.fill_masked(photo, mask, method, seed=0), float)
        errors[method] = np.abs(filled - ramp)[masked].mean()
    assert errors["biharmonic"] < 3
    assert errors["biharmonic"] < errors["blur"] < 25 < errors["noise"]


def test_fill_of_a_large_area_and_of_the_whole_image() -> None:
    photo = Image.open("photo.png").convert("RGB").resize((700, 500))
    large, whole = Image.new("L", photo.size), Image.new("L", photo.size, 255)
    large.paste(255, (1, 1, 699, 499))
    for mask in (large, whole):
        for method in ("noise", "blur", "biharmonic"):
            assert images.fill_masked(photo, mask, method, seed=0).size == photo.size
