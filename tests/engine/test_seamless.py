"""Test circular padding and panoramas: equivariance, restored pipelines, refused models, and wrapped windows."""

from pathlib import Path
from typing import Any

import numpy as np
import plain_scripts as plain
import pytest
import sample_images
import tiny_loras
import torch

from artgen import GeneratedImage, Img2Img, Txt2Img, generate
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.pipeline_cache import load_pipeline
from artgen.engine.sampling import panorama
from artgen.engine.sampling.seamless import with_seamless_padding
from artgen.errors import UsageError
from artgen.events import Event, StepEvent, no_op
from artgen.jobs.job import GenerationJob
from artgen.jobs.prepare import prepare_jobs

SHARED: dict[str, Any] = {"prompt": "a red fox", "guidance_scale": 5.0}


def request(model: Path | str, **settings: Any) -> Txt2Img:
    """Return a request for a small image."""
    return Txt2Img(**{"model": str(model), "seed": 3, "steps": 3, "device": "cpu", **SHARED, **settings})


def outputs(pipe: Any, shift: int, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the outputs of the UNet and of the VAE decoder for shifted latents, shifted back."""
    generator = torch.Generator().manual_seed(0)
    channels = pipe.unet.config.in_channels
    latents = torch.randn(1, channels, 16, 16, generator=generator).roll(shift, axis)
    text = torch.randn(1, 4, pipe.unet.config.cross_attention_dim, generator=generator)
    factor = pipe.vae_scale_factor
    with torch.no_grad():
        noise = pipe.unet(latents, 10, encoder_hidden_states=text).sample
        pixels = pipe.vae.decode(latents[:, : pipe.vae.config.latent_channels]).sample
    return noise.roll(-shift, axis), pixels.roll(-shift * factor, axis)


@pytest.mark.parametrize(("seamless", "axes"), [("x", {-1}), ("y", {-2}), ("both", {-1, -2}), (None, set())])
def test_networks_have_no_border_along_seamless_axes(
    models: dict[str, Path], seamless: str | None, axes: set[int]
) -> None:
    """A shift of the latents shifts the result, including the seam, with a LoRA on the convolutions."""
    job = prepare_jobs([request(models["sd1"], seamless=seamless)])[0]
    assert isinstance(job, GenerationJob)
    pipe = load_pipeline(
        job.model, DeviceConfig("cpu", "fp32"), offload=None, vae_tiling=False, safety_checker=False, listener=no_op
    )
    before = outputs(pipe, 0, -1)
    for axis in (-1, -2):
        with with_seamless_padding(pipe, job):
            pairs = zip(outputs(pipe, 0, axis), outputs(pipe, 8, axis), strict=True)
            is_equivariant = [bool(torch.allclose(first, second, atol=1e-4)) for first, second in pairs]
        assert is_equivariant == [axis in axes] * 2
    assert all(torch.equal(first, second) for first, second in zip(before, outputs(pipe, 0, -1), strict=True))


def test_pipeline_is_restored_after_a_seamless_image(models: dict[str, Path], tmp_path: Path) -> None:
    """The same cached pipeline generates the bytes of plain diffusers, also after an interrupted call."""

    class Interrupted(BaseException):
        """Stand for Ctrl-C in a step."""

    def interrupt(event: Event) -> None:
        if isinstance(event, StepEvent):
            raise Interrupted

    theirs = plain.generate("StableDiffusionPipeline", models["sd1"], seed=3, num_inference_steps=3, **SHARED)
    seamless = generate(request(models["sd1"], seamless="both"))
    assert seamless.record["seamless"] == "both"
    assert not sample_images.same(seamless.image, theirs)
    with pytest.raises(Interrupted):
        generate(request(models["sd1"], seamless="both"), listener=interrupt)
    assert sample_images.same(generate(request(models["sd1"])).image, theirs)
    lora = tiny_loras.diffusers_lora(tmp_path / "lora.safetensors", models["sd1"], seed=1)
    both = [generate(request(models["sd1"], seamless="both", lora=(str(tmp_path / "lora.safetensors"),)))]
    assert not sample_images.same(both[0].image, seamless.image), lora
    sample_images.photo(tmp_path / "photo.png")
    img2img = Img2Img(image=tmp_path / "photo.png", model=str(models["sd1"]), seed=3, steps=3, **SHARED)
    assert not sample_images.same(generate(img2img).image, generate(img2img.replace(seamless="x")).image)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seamless": "x", "vae_tiling": True}, "--seamless and --vae-tiling"),
        ({"seamless": "x", "acceleration": "full"}, "--seamless and --acceleration full"),
        ({"panorama": True}, "a width of more than"),
        ({"panorama": True, "width": 96, "hires": "2"}, "--hires and --panorama"),
        ({"panorama": True, "width": 96, "steps": 8, "fast": "cache"}, "--panorama and --fast cache"),
    ],
)
def test_refused_combinations(models: dict[str, Path], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prepare_jobs([request(models["sd1"], **settings)])


def test_windows_cover_each_width_and_wrap() -> None:
    for width in (33, 48, 64, 100):
        for wraps in (False, True):
            starts = panorama.window_starts(width, 16, wraps=wraps)
            covered = np.zeros(width, int)
            for start in starts:
                covered[np.arange(start, start + 16) % width] += 1
            assert covered.min() >= 1
            assert max(np.diff(starts)) <= 8
            assert wraps or (starts[0], starts[-1]) == (0, width - 16)
    assert float(panorama.window_weights(16).min()) > 0


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_one_window_equals_the_plain_pipeline(
    models: dict[str, Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A window of the width of the image gives the plain image; smaller windows repeat the content."""
    wide = request(models[kind], width=96, height=32)
    expected = generate(wide).image
    windows = generate(wide.replace(panorama=True))
    assert isinstance(windows, GeneratedImage)
    assert windows.image.size == (96, 32)
    assert not sample_images.same(windows.image, expected)
    if kind == "sd1":  # The windows of SDXL have another size in its conditioning.
        with_window = panorama.WindowHook.__init__

        def whole(self: Any, window: int, **settings: Any) -> None:
            with_window(self, 3 * window, **settings)

        monkeypatch.setattr(panorama.WindowHook, "__init__", whole)
        one = generate(wide.replace(panorama=True)).image
        assert np.abs(np.asarray(one, int) - np.asarray(expected, int)).max() <= 1
    monkeypatch.undo()
    wrapped = generate(wide.replace(panorama=True, seamless="x")).image
    assert not sample_images.same(wrapped, windows.image)
