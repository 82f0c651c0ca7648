"""Test the bundled model: file hashes, size, parity with plain diffusers, all tasks, and golden images."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import artgen
from artgen import Img2Img, Inpaint, Outpaint, Txt2Img, generate, registry

TINY = Path(artgen.__file__).parent / "assets" / "tiny"
GOLDEN = Path(__file__).parents[1] / "golden"
MAX_MODEL_BYTES = 40_000_000


def test_files_have_the_recorded_hashes() -> None:
    lines = (TINY / "SHA256SUMS").read_text("utf-8").splitlines()
    recorded = {name.lstrip("*"): digest for digest, name in (line.split(maxsplit=1) for line in lines)}
    for name, digest in recorded.items():
        assert hashlib.sha256((TINY / name).read_bytes()).hexdigest() == digest, name
    weights = {str(path.relative_to(TINY)) for path in TINY.rglob("*.safetensors")}
    assert weights <= set(recorded)
    assert not [check for check in registry.verify_model_files("tiny") if not check.ok]


def test_model_is_small_and_has_provenance() -> None:
    assert sum(path.stat().st_size for path in TINY.rglob("*") if path.is_file()) <= MAX_MODEL_BYTES
    sources = json.loads((TINY / "provenance.json").read_text("utf-8"))
    text = json.dumps(sources)
    for word in ("licence", "sha256", "version"):
        assert word in text
    card = (TINY / "README.md").read_text("utf-8")
    for word in ("license", "limits", "people"):
        assert word in card.casefold()


def test_image_equals_plain_diffusers() -> None:
    import torch
    from diffusers import StableDiffusionPipeline

    generated = generate(Txt2Img(prompt="a red apple", seed=3, steps=4, model="tiny"))
    pipe = StableDiffusionPipeline.from_pretrained(TINY, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    plain = pipe(
        "a red apple",
        num_inference_steps=4,
        guidance_scale=generated.request.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(3),
    )
    image = generate(Txt2Img(prompt="a red apple", seed=3, steps=4, model="tiny", scheduler=_model_scheduler()))
    assert np.array_equal(np.asarray(image.image), np.asarray(plain.images[0]))


def _model_scheduler() -> str:
    from artgen.spec.schedulers import identify_scheduler

    name, _ = identify_scheduler(json.loads((TINY / "scheduler" / "scheduler_config.json").read_text("utf-8")))
    assert name is not None
    return name


def test_any_prompt_gives_a_non_uniform_image() -> None:
    for prompt in ("quixotic floccinaucinihilipilification", "狐狸 в снегу 🦊", "", "a" * 2000):
        generated = generate(Txt2Img(prompt=prompt, seed=1, steps=2, model="tiny"))
        assert np.asarray(generated.image).std() > 1


def test_every_task_works_with_the_bundled_model(tmp_path: Path) -> None:
    size = registry.resolve_model("tiny").native_size
    Image.new("RGB", size, "orange").save(tmp_path / "in.png")
    mask = Image.new("L", size)
    mask.paste(255, (size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2))
    mask.save(tmp_path / "mask.png")
    common = {"image": tmp_path / "in.png", "prompt": "a fox", "seed": 1, "steps": 3, "model": "tiny"}
    assert generate(Img2Img(**common)).image.size == size
    assert generate(Inpaint(**common, mask=tmp_path / "mask.png")).image.size == size
    assert generate(Outpaint(**common, expand="right=20")).image.size == (size[0] + 20, size[1])


def test_inpaint_with_16_latent_channels_changes_only_the_mask(tmp_path: Path) -> None:
    """The inpainting pipeline of diffusers supports 4 or 9 channels. artgen masks 16 channels itself."""
    source = generate(Txt2Img(prompt="two apples", seed=0, steps=8, model="tiny")).image
    source.save(tmp_path / "in.png")
    width, height = source.size
    mask = Image.new("L", source.size)
    mask.paste(255, (width // 2, 0, width, height))
    mask.save(tmp_path / "mask.png")
    request = Inpaint(
        image=tmp_path / "in.png", mask=tmp_path / "mask.png", prompt="a blue car", seed=1, steps=8, model="tiny"
    )
    before = np.asarray(source, dtype=int)
    inpainted = np.asarray(generate(request).image, dtype=int)
    assert np.array_equal(inpainted[:, : width // 2], before[:, : width // 2])
    assert np.abs(inpainted[:, width // 2 :] - before[:, width // 2 :]).mean() > 5
    assert np.array_equal(np.asarray(generate(request).image), inpainted)
    # Without `keep_original` the pixels outside the mask are decoded. They are close to the source, because the
    # source latents were restored outside the mask.
    decoded = np.asarray(generate(request.replace(keep_original=False)).image, dtype=int)
    unmasked = np.asarray(generate(Txt2Img(prompt="a blue car", seed=1, steps=8, model="tiny")).image, dtype=int)
    quarter = width // 4

    def distance(image: np.ndarray) -> float:
        return float(np.abs(image[:, :quarter] - before[:, :quarter]).mean())

    assert distance(decoded) < 12
    assert distance(decoded) < distance(unmasked)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["red-apple", "fox", "blue-car"])
def test_images_are_close_to_the_golden_images(name: str) -> None:
    """Other builds of torch round differently, so the images are not compared byte by byte."""
    expected = np.asarray(Image.open(GOLDEN / f"{name}.png").convert("RGB"), dtype=float)
    prompt = f"a {name.replace('-', ' ')}"
    actual = np.asarray(generate(Txt2Img(prompt=prompt, seed=0, model="tiny")).image, dtype=float)
    error = float(((actual - expected) ** 2).mean())
    psnr = 10 * np.log10(255**2 / max(error, 1e-9))
    ssim = _ssim(actual, expected)
    assert psnr > 30, f"PSNR {psnr:.1f} dB, SSIM {ssim:.3f}"
    assert ssim > 0.95, f"PSNR {psnr:.1f} dB, SSIM {ssim:.3f}"


def _ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Return the structural similarity over 8x8 blocks (Wang et al. 2004, with a block window)."""

    def blocks(x: np.ndarray) -> np.ndarray:
        gray = x.mean(-1)
        high, wide = gray.shape[0] // 8 * 8, gray.shape[1] // 8 * 8
        return gray[:high, :wide].reshape(high // 8, 8, wide // 8, 8).swapaxes(1, 2).reshape(-1, 64)

    x, y = blocks(a), blocks(b)
    mx, my = x.mean(1), y.mean(1)
    covariance = ((x - mx[:, None]) * (y - my[:, None])).mean(1)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mx * my + c1) * (2 * covariance + c2)
    bottom = (mx**2 + my**2 + c1) * (x.var(1) + y.var(1) + c2)
    return float((top / bottom).mean())
