"""Enlarge images with real networks at tiny sizes, and compare them with plain calls and with a reference."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
import transformers
from diffusers import DiffusionPipeline
from helpers import tiny_upscalers
from helpers.tiny_upscalers import Tensors, compact, first_release, later_release, rrdbnet, save, swin2sr
from helpers.tiny_zoo import stable_diffusion
from PIL import Image
from torch.nn import functional

from artgen.engine.loading.device import DeviceConfig
from artgen.engine.upscaling.networks import EnlargeOptions, Pixels, enlarge
from artgen.errors import NonFiniteError, UsageError
from artgen.events import no_op
from artgen.registry.upscalers import input_sizes, resolve_upscaler, size_notes

CPU = DeviceConfig("cpu", "fp32")
PHOTO: Pixels = skimage.data.astronaut()[20:92, 150:270].copy()


def run(path: Path, image: Pixels = PHOTO, options: EnlargeOptions | None = None) -> Pixels:
    return enlarge(image, resolve_upscaler(str(path)), CPU, no_op, options or EnlargeOptions())


def reference(tensors: Tensors, pixels: torch.Tensor, blocks: int = 1) -> torch.Tensor:
    """Return the output of RRDBNet, computed with the functions of torch as in the papers."""

    def conv(name: str, features: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(features, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=1)

    unshuffle = {3: 1, 12: 2, 48: 4}[tensors["conv_first.weight"].shape[1]]
    first = conv("conv_first", functional.pixel_unshuffle(pixels, unshuffle))
    trunk = first
    for block in range(blocks):
        outer = trunk
        for dense in range(1, 4):
            inner = [trunk]
            for index in range(1, 5):
                output = conv(f"body.{block}.rdb{dense}.conv{index}", torch.cat(inner, 1))
                inner.append(functional.leaky_relu(output, 0.2))
            trunk = trunk + 0.2 * conv(f"body.{block}.rdb{dense}.conv5", torch.cat(inner, 1))
        trunk = outer + 0.2 * trunk
    features = first + conv("conv_body", trunk)
    for index in range(1, 4):
        if f"conv_up{index}.weight" in tensors:
            features = functional.interpolate(features, scale_factor=2, mode="nearest")
            features = functional.leaky_relu(conv(f"conv_up{index}", features), 0.2)
    return conv("conv_last", functional.leaky_relu(conv("conv_hr", features), 0.2))


@pytest.mark.parametrize(
    ("tensors", "saved", "scale"),
    [
        (rrdbnet(2), rrdbnet(2), 4),
        (rrdbnet(2, unshuffle=2), rrdbnet(2, unshuffle=2), 2),
        (rrdbnet(2, unshuffle=4), rrdbnet(2, unshuffle=4), 1),
        (rrdbnet(1, blocks=2), first_release(rrdbnet(1, blocks=2)), 2),
        (rrdbnet(3), first_release(rrdbnet(3)), 8),
        (rrdbnet(2), later_release(rrdbnet(2)), 4),
        (rrdbnet(2), {f"params_ema.{name}": value for name, value in rrdbnet(2).items()}, 4),
    ],
    ids=["x4", "x2-unshuffle", "x1-unshuffle", "x2-first-release", "x8-first-release", "x4-later-release", "x4-ema"],
)
def test_rrdbnet_equals_a_reference_for_each_naming_scheme(
    tmp_path: Path, tensors: Tensors, saved: Tensors, scale: int
) -> None:
    found = run(save(tmp_path / "net.safetensors", saved), PHOTO[:24, :40])
    pixels = torch.from_numpy(PHOTO[:24, :40].astype(np.float32) / 255).permute(2, 0, 1)[None]
    blocks = 2 if "body.1.rdb1.conv1.weight" in tensors else 1
    expected = reference(tensors, pixels, blocks).clamp(0, 1)[0].permute(1, 2, 0).numpy() * 255
    assert found.shape == (24 * scale, 40 * scale, 3)
    assert np.abs(found - expected).max() < 0.51
    assert found.std() > 1


def test_one_tile_of_swin2sr_equals_the_plain_model(tmp_path: Path) -> None:
    for image in (PHOTO, PHOTO[:31, :45], PHOTO[:3, :1]):
        folder = swin2sr(tmp_path / "swin")
        processor = tiny_upscalers.Swin2SRImageProcessorPil.from_pretrained(folder)
        model = transformers.Swin2SRForImageSuperResolution.from_pretrained(folder).eval()
        with torch.no_grad():
            output = model(**processor(Image.fromarray(image), return_tensors="pt")).reconstruction
        plain = np.moveaxis(output[0].clamp(0, 1).numpy(), 0, -1)
        plain = (plain * 255.0).round().astype(np.uint8)[: 2 * image.shape[0], : 2 * image.shape[1]]
        assert run(folder, image).tobytes() == plain.tobytes()


@pytest.mark.parametrize(("name", "factor"), [("x4_upscaler", 4), ("latent_upscaler", 2)])
def test_one_tile_of_a_diffusion_pipeline_equals_the_plain_pipeline(tmp_path: Path, name: str, factor: int) -> None:
    getattr(stable_diffusion, name)().save_pretrained(tmp_path / "pipe", safe_serialization=True)
    pipe = DiffusionPipeline.from_pretrained(tmp_path / "pipe")
    image = PHOTO[:64, :64]
    arguments = {"noise_level": 20} if factor == 4 else {}
    plain = pipe(
        "", Image.fromarray(image), num_inference_steps=2, guidance_scale=0.0,
        generator=torch.Generator("cpu").manual_seed(5), **arguments,
    ).images[0]  # fmt: skip
    options = EnlargeOptions(seed=5, steps=2)
    found = run(tmp_path / "pipe", image, options)
    assert found.tobytes() == np.asarray(plain).tobytes()
    assert found.shape == (64 * factor, 64 * factor, 3)
    assert (run(tmp_path / "pipe", image, EnlargeOptions(seed=6, steps=2)) != found).any()


def seam_ratio(image: Pixels, columns: list[int]) -> float:
    """Return the mean step across columns, divided by the mean step 1 to 8 pixels beside them."""
    steps = np.abs(np.diff(image.astype(int), axis=1)).mean((0, 2))
    beside = [column + distance for column in columns for distance in range(-8, 9) if distance]
    return float(steps[[column - 1 for column in columns]].mean() / steps[[column - 1 for column in beside]].mean())


@pytest.mark.parametrize("kind", ["exact", "context", "swin2sr", "16bit"])
def test_tiles_have_no_seams(tmp_path: Path, kind: str) -> None:
    if kind == "swin2sr":
        path = swin2sr(tmp_path / "swin")
    elif kind == "context":
        path = save(tmp_path / "net.safetensors", rrdbnet(1, blocks=4))
    else:
        path = save(tmp_path / "net.safetensors", compact(2, convs=4))
    image = np.tile(PHOTO, (2, 2, 1))[:100, :200]
    if kind == "16bit":
        image = (image.astype(np.uint16) * 257) ^ 37
    calls: list[tuple[int, int]] = []
    whole = run(path, image, EnlargeOptions(tile_px=256))
    tiled = run(path, image, EnlargeOptions(tile_px=96, on_tile=lambda done, total: calls.append((done, total))))
    assert calls[0] == (0, calls[-1][1])
    assert calls[-1][0] == calls[-1][1] > 2
    assert tiled.dtype == image.dtype
    difference = np.abs(tiled.astype(int) - whole)
    assert difference.max() <= (1 if kind != "16bit" else 16), "rounding"
    assert seam_ratio(tiled, list(range(40, 360, 8))) < 1.2 * seam_ratio(whole, list(range(40, 360, 8)))


def test_16_bit_images_keep_their_precision(tmp_path: Path) -> None:
    path = save(tmp_path / "net.safetensors", compact())
    dark = (PHOTO.astype(np.uint16) * 257) // 64
    found = run(path, dark)
    assert found.dtype == np.uint16
    assert len(np.unique(found)) > 1000


def test_another_size_is_resized_with_lanczos(tmp_path: Path) -> None:
    path = save(tmp_path / "net.safetensors", compact())
    found = run(path, options=EnlargeOptions(size=(150, 99)))
    expected = Image.fromarray(run(path)).resize((150, 99), Image.Resampling.LANCZOS)
    assert found.tobytes() == expected.tobytes()
    path = save(tmp_path / "x4.safetensors", compact(4, convs=2))
    tall = np.tile(PHOTO[:, :20], (5, 1, 1))
    whole = run(path, tall, EnlargeOptions(size=(40, 720)))
    assert whole.tobytes() == Image.fromarray(run(path, tall)).resize((40, 720), Image.Resampling.LANCZOS).tobytes()


def test_larger_sizes_run_the_network_again(tmp_path: Path) -> None:
    path = save(tmp_path / "net.safetensors", compact())
    calls: list[tuple[int, int]] = []
    image = PHOTO[:40, :60]
    twice = run(path, run(path, image))
    assert run(path, image, EnlargeOptions(size=(240, 160))).tobytes() == twice.tobytes()
    options = EnlargeOptions(size=(200, 130), on_tile=lambda done, total: calls.append((done, total)))
    assert run(path, image, options).shape == (130, 200, 3)
    assert calls == [(0, 2), (1, 2), (2, 2)]
    assert input_sizes((60, 40), 2, (200, 130)) == [(60, 40), (100, 65)]
    assert input_sizes((60, 40), 1, (200, 130)) == [(60, 40)]
    notes = size_notes(resolve_upscaler(str(path)), (60, 40), (201, 130))
    assert "has the scale 2 and runs 2 times" in notes[0]
    assert "is resized to 201x130 with Lanczos" in notes[1]


def test_nan_and_small_tiles_are_refused(tmp_path: Path) -> None:
    tensors = compact()
    tensors["body.2.bias"][0] = float("nan")
    path = save(tmp_path / "nan.safetensors", tensors)
    with pytest.raises(NonFiniteError, match="returned NaN or infinity"):
        run(path)
    with pytest.raises(UsageError, match="at least 64 pixels"):
        run(path, options=EnlargeOptions(tile_px=8))
