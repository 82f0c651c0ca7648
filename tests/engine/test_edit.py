"""Test `edit`: byte-identical to plain diffusers, with masks, reference images, batches and prompt syntax."""

import inspect
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import plain_scripts as plain
import pytest
import sample_images
import single_files
import torch
from PIL import Image

import artgen
from artgen import InputFileError, ModelUnavailableError, UsageError

SHARED: dict[str, Any] = {"steps": 3, "offline": True, "device": "cpu"}


def edited(zoo: Mapping[str, Path], name: str, **settings: Any) -> Image.Image:
    request = artgen.Edit(model=str(zoo[name]), **{"prompt": "make it winter", "seed": 7, **SHARED, **settings})
    return artgen.generate(request).image


def plainly_edited(
    folder: Path, class_name: str, seed: int = 7, dtype: torch.dtype = torch.float32, **arguments: Any
) -> Image.Image:
    with plain.quiet():
        pipe = getattr(diffusers, class_name).from_pretrained(folder, torch_dtype=dtype)
    pipe.set_progress_bar_config(disable=True)
    values = {"prompt": "make it winter", "num_inference_steps": 3, "width": 64, "height": 64, **arguments}
    accepted = inspect.signature(pipe.__call__).parameters
    values = {name: value for name, value in values.items() if name in accepted}
    image: Image.Image = pipe(generator=torch.Generator("cpu").manual_seed(seed), **values).images[0]
    return image


@pytest.mark.parametrize(
    ("name", "class_name"),
    [
        ("pix2pix", "StableDiffusionInstructPix2PixPipeline"),
        pytest.param("sdxl-pix2pix", "StableDiffusionXLInstructPix2PixPipeline", marks=pytest.mark.slow),
    ],
)
def test_guidance_by_the_image_equals_plain_diffusers(
    zoo: Mapping[str, Path], tmp_path: Path, name: str, class_name: str
) -> None:
    photo = sample_images.photo(tmp_path / "photo.png", 64, 64)
    settings = {"guidance_scale": 5.0, "image_guidance_scale": 2.5, "negative_prompt": "summer"}
    ours = edited(zoo, name, image=photo, **settings)
    assert sample_images.same(ours, plainly_edited(zoo[name], class_name, image=Image.open(photo), **settings))
    assert not sample_images.same(ours, edited(zoo, name, image=photo, **{**settings, "image_guidance_scale": 1.5}))


def test_reference_images_equal_plain_diffusers(zoo: Mapping[str, Path], tmp_path: Path) -> None:
    photo = sample_images.photo(tmp_path / "photo.png", 64, 64)
    chair = sample_images.mask(tmp_path / "chair.png", 64, 80)
    ours = edited(zoo, "flux2-klein", image=photo, reference=(str(chair),))
    images = [Image.open(photo), Image.open(chair).convert("RGB")]
    theirs = plainly_edited(zoo["flux2-klein"], "Flux2KleinPipeline", image=images)
    assert sample_images.same(ours, theirs)
    keywords: dict[str, Any] = {"seed": 7, "model": zoo["flux2-klein"], **SHARED}
    assert sample_images.same(artgen.edit(photo, "make it winter", reference=images[1], **keywords).image, theirs)


@pytest.mark.slow
def test_z_image_omni_in_bf16_equals_plain_diffusers(zoo: Mapping[str, Path], tmp_path: Path) -> None:
    images = [Image.open(sample_images.photo(tmp_path / f"{i}.png", 64, 64 + i)).convert("RGB") for i in (0, 16)]
    keywords: dict[str, Any] = {"seed": 7, "model": zoo["z-image-omni"], "dtype": "bf16", "guidance_scale": 5.0}
    ours = artgen.edit(images[0], "make it winter", reference=images[1], **keywords, **SHARED).image
    theirs = plainly_edited(
        zoo["z-image-omni"], "ZImageOmniPipeline", image=images, guidance_scale=5.0, dtype=torch.bfloat16
    )
    assert sample_images.same(ours, theirs)


def test_a_single_file_with_8_channels_equals_its_folder(
    zoo: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photo = sample_images.photo(Path("photo.png"), 64, 64)
    state = single_files.original_state(zoo["pix2pix"])
    base = shutil.copytree(zoo["pix2pix"], tmp_path / "base")  # as a model without the channels of the image
    for name, key, value in (
        ("model_index.json", "_class_name", "StableDiffusionPipeline"), ("unet/config.json", "in_channels", 4)
    ):  # fmt: skip
        config = json.loads((base / name).read_text())
        (base / name).write_text(json.dumps({**config, key: value}))
    file = Path(single_files.write_single_file("edits", state, base)).absolute()
    settings = {"image": photo, "scheduler": "ddim", "guidance_scale": 5.0}
    ours = edited({"file": file}, "file", **settings)
    assert sample_images.same(ours, edited(zoo, "pix2pix", **settings))


def test_pixels_outside_the_mask_do_not_change(zoo: Mapping[str, Path], tmp_path: Path) -> None:
    """The size is not a multiple of 8; the image is transparent."""
    photo = sample_images.photo(tmp_path / "photo.png", 43, 37)
    alpha = Image.linear_gradient("L").resize((43, 37))
    with Image.open(photo) as image:
        image.putalpha(alpha)
        image.save(photo)
    mask = sample_images.mask(tmp_path / "mask.png", 43, 37, (8, 8, 24, 24))
    result = edited(zoo, "pix2pix", image=photo, mask=mask)
    before, after = np.asarray(Image.open(photo)), np.asarray(result)
    inside = np.asarray(Image.open(mask).convert("L")) > 0
    assert result.size == (43, 37)
    assert np.array_equal(before[~inside], after[~inside])
    assert not np.array_equal(before[inside], after[inside])


def test_a_batch_and_a_schedule_equal_single_images(zoo: Mapping[str, Path], tmp_path: Path) -> None:
    photo = sample_images.photo(tmp_path / "photo.png", 64, 64)
    requests = [
        artgen.Edit(image=photo, prompt="make it [winter:summer:1]", seed=seed, model=str(zoo["pix2pix"]), **SHARED)
        for seed in (1, 2)
    ]
    batch = [each.image for each in artgen.generate_all(requests, batch_size=2)]
    single = [artgen.generate(request).image for request in requests]
    assert max(sample_images.difference(a, b) for a, b in zip(batch, single, strict=True)) <= 1
    constant = artgen.generate(requests[0].replace(prompt="make it winter")).image
    assert not sample_images.same(single[0], constant)


def test_replay_finds_the_reference_images(
    zoo: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photo, chair = sample_images.photo(Path("photo.png"), 64, 64), sample_images.mask(Path("chair.png"), 64, 64)
    result = artgen.edit(photo, "sit", reference=[chair], seed=3, model=zoo["flux2-klein"], **SHARED)
    assert result.record["reference"] == ["chair.png"]
    assert [len(each) for each in result.record["reference_sha256"]] == [64]
    assert sample_images.same(artgen.replay(result).image, result.image)
    chair.unlink()
    with pytest.raises(artgen.InputFileError, match=r"reference image 'chair\.png'"):
        artgen.replay(result.record)


@pytest.mark.parametrize(
    ("name", "settings", "error", "message"),
    [
        ("pix2pix", {"reference": ("photo.png",)}, UsageError, "takes one image"),
        ("flux-kontext", {"reference": ("photo.png",)}, UsageError, "takes one image"),
        ("flux-kontext", {"image_guidance_scale": 2.0}, UsageError, "does not take it"),
        ("pix2pix", {"image_guidance_scale": 2.0, "guidance_scale": 1.0}, UsageError, "no effect without guidance"),
        ("pix2pix", {"prompt": "fox AND cat"}, UsageError, "InstructPix2Pix models do not support it"),
        ("sd1", {}, ModelUnavailableError, "do not edit images according to an instruction"),
        ("flux2-klein", {"reference": ("small.png",)}, InputFileError, r"'small\.png' .* 40x90 pixels, and both sides"),
        ("flux2-klein", {"reference": ("photo.png", "thin.png")}, InputFileError, "'thin.png' .* at most 8"),
        ("flux2-klein", {"image": Path("small.png")}, InputFileError, "Cannot use the input image .* at least 64"),
        ("z-image-omni", {}, UsageError, "its pipeline encodes images in bf16"),
    ],
)
def test_unsupported_settings_and_models_are_refused(
    zoo: Mapping[str, Path],
    models: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    settings: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for file, size in {"photo.png": (64, 64), "small.png": (40, 90), "thin.png": (600, 64)}.items():
        sample_images.photo(Path(file), *size)
    known = {"sd1": models["sd1"]} if name == "sd1" else zoo
    with pytest.raises(error, match=message):
        edited(known, name, **{"image": Path("photo.png"), **settings})


def test_an_edit_needs_an_instruction() -> None:
    with pytest.raises(UsageError, match="needs an instruction"):
        artgen.Edit(image=Path("photo.png"), prompt=" ")
    with pytest.raises(UsageError, match="needs a mask"):
        artgen.Edit(image=Path("photo.png"), prompt="x", feather=4)
