"""Test DDIM inversion: reconstruction, edits, records and refused settings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample_images
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from artgen import Img2Img, Txt2Img, generate, generate_all
from artgen.engine.sampling.inversion import InverseDDIMScheduler
from artgen.errors import UsageError
from artgen.jobs.edit_checks import INVERSION_CALLS_PER_STEP
from artgen.jobs.prepare import prepare_jobs
from artgen.registry import resolve_model
from artgen.spec.records import from_record

PHOTO = Path(__file__).parents[2] / "examples" / "inputs" / "fox.png"


def invert(image: Path | str = PHOTO, **settings: Any) -> Img2Img:
    """Return a request that reconstructs an image with the bundled model."""
    defaults = {"invert": True, "model": "tiny", "steps": 50, "guidance_scale": 1.0, "seed": 0}
    return Img2Img(image=Path(image), **{**defaults, **settings})


def round_trip(image: Image.Image) -> Image.Image:
    """Encode and decode an image with the autoencoder of the bundled model."""
    vae, processor = AutoencoderKL.from_pretrained(resolve_model("tiny").path / "vae"), VaeImageProcessor()
    with torch.no_grad():
        decoded = vae.decode(vae.encode(processor.preprocess(image)).latent_dist.mode()).sample
    decoded_image: Image.Image = processor.postprocess(decoded, output_type="pil")[0]
    return decoded_image


def psnr(first: Image.Image, second: Image.Image) -> float:
    """Return the peak signal-to-noise ratio of two images in dB."""
    error = float(((np.asarray(first, float) - np.asarray(second, float)) ** 2).mean())
    return 10 * float(np.log10(255**2 / max(error, 1e-9)))


def background(image: Image.Image) -> Image.Image:
    """Return the left and right 24 columns of an image with 128x128 pixels: sky and snow."""
    return Image.fromarray(np.concatenate([np.asarray(image)[:, :24], np.asarray(image)[:, -24:]], axis=1))


def test_reconstruction_of_a_batch_reaches_35_db(tmp_path: Path) -> None:
    """Two images of one pipeline call, each compared with the round trip through the autoencoder."""
    photo = Image.open(PHOTO).convert("RGB")
    photo.rotate(90).save(tmp_path / "other.png")
    first, second = generate_all([invert(), invert(tmp_path / "other.png")], batch_size=2)
    assert first.record["batch_size"] == 2
    assert psnr(first.image, round_trip(photo)) >= 35
    assert psnr(second.image, round_trip(photo.rotate(90))) >= 35


@pytest.mark.slow
@pytest.mark.parametrize("size", [(96, 160), (101, 77)])
def test_reconstruction_of_other_sizes_reaches_35_db(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "photo.png"
    photo = Image.open(PHOTO).convert("RGB").resize(size)
    photo.save(path)
    (job,) = prepare_jobs([invert(path)])
    assert job.padded_image is not None
    expected = round_trip(job.padded_image).crop((0, 0, *size))
    assert psnr(generate(invert(path)).image, expected) >= 35


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_inverse_steps_undo_ddim_steps(prediction: str, spacing: str) -> None:
    """The denoiser is a contraction, so that the fixed-point iterations converge."""
    config = {"clip_sample": False, "prediction_type": prediction, "timestep_spacing": spacing, "steps_offset": 1}
    ddim, inverse = DDIMScheduler(**config), InverseDDIMScheduler(**config)
    clean = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def denoiser(sample: torch.Tensor) -> torch.Tensor:
        return 0.05 * torch.sin(sample)

    latents = clean
    inverse.set_timesteps(30)
    assert len(inverse.timesteps) == 30 * INVERSION_CALLS_PER_STEP
    for timestep in inverse.timesteps:
        latents = inverse.step(denoiser(latents), timestep, latents, return_dict=False)[0]
    ddim.set_timesteps(30)
    for timestep in ddim.timesteps:
        latents = ddim.step(denoiser(latents), timestep, latents, return_dict=False)[0]
    assert (latents - clean).abs().max() < 1e-3


def test_edit_keeps_the_background_and_guidance_sets_its_strength() -> None:
    photo = Image.open(PHOTO).convert("RGB")
    settings: dict[str, Any] = {"prompt": "a blue fox", "source_prompt": "a red fox", "steps": 20}
    inverted = [generate(invert(guidance_scale=scale, **settings)).image for scale in (1.0, 4.0)]
    plain = generate(Img2Img(image=PHOTO, prompt="a blue fox", model="tiny", steps=20, strength=0.6, seed=0)).image
    weak, strong, redrawn = (psnr(background(image), background(photo)) for image in (*inverted, plain))
    assert weak > strong
    assert weak > redrawn + 3
    for image in inverted:  # blue in the center
        red, _, blue = np.asarray(image, float)[48:80, 48:80].mean(axis=(0, 1))
        assert blue > red


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_other_architectures_record_the_settings(models: dict[str, Path], kind: str) -> None:
    sample_images.photo(Path("photo.png"))
    request = invert("photo.png", model=str(models[kind]), steps=4, source_prompt="noise", guidance_scale=3.0)
    (job,) = prepare_jobs([request])
    assert ("The scheduler is ddim, which --invert needs." in job.notes) == (kind == "sdxl")
    first = generate(request)
    record = json.loads(json.dumps(first.record))
    assert (record["invert"], record["source_prompt"], record["scheduler"]) == (True, "noise", "ddim")
    assert "strength" not in record
    again = from_record(record).replace(image=Path("photo.png"), model=str(models[kind]))
    assert sample_images.same(generate(again).image, first.image)
    assert not sample_images.same(generate(request.replace(source_prompt="")).image, first.image)


def test_text_offload_gives_the_same_image(models: dict[str, Path]) -> None:
    sample_images.photo(Path("photo.png"))
    request = invert("photo.png", model=str(models["sd1"]), steps=2, source_prompt="noise", prompt="a fox")
    assert sample_images.same(generate(request.replace(offload="text")).image, generate(request).image)


@pytest.mark.parametrize(
    ("kind", "settings", "reason"),
    [
        ("tiny", {"strength": 0.5}, "Cannot combine invert and strength"),
        ("tiny", {"invert": False, "source_prompt": "a fox"}, "no effect without invert"),
        ("tiny", {"scheduler": "euler"}, "Cannot combine --invert and --scheduler euler"),
        ("sd1", {"sigmas": "karras"}, "Cannot combine --invert and --sigmas karras"),
        ("tiny", {"fast": "cache"}, "Cannot combine --invert and --fast"),
        ("tiny", {"source_prompt": "a [red:blue:0.5] fox"}, "changes during sampling"),
        ("sd3", {}, "it is a flow-matching model"),
    ],
)
def test_unsupported_settings_are_refused(
    models: dict[str, Path], kind: str, settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        prepare_jobs([invert(**{"model": str(models.get(kind, kind)), **settings})])


def test_without_inversion_the_image_does_not_depend_on_it() -> None:
    request = Txt2Img(prompt="a fox", model="tiny", steps=2, seed=0)
    before = generate(request).image
    generate(invert(steps=2))
    assert sample_images.same(generate(request).image, before)
