"""Test that no cache returns an object of a file that has changed: weights, configurations, tokenizers, LoRAs."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sample_images
import tiny_denoisers
import tiny_loras
import tiny_models
from PIL import Image
from safetensors.torch import load_file, save_file

from artgen import Anomaly, Denoise, Txt2Img, find_anomalies, generate, generate_all
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.sampling import prompts
from artgen.errors import ModelUnavailableError
from artgen.events import Event, Loading, no_op
from artgen.jobs.model_entries import ModelCache
from artgen.jobs.prepare import prepare_jobs
from artgen.registry.hashes import compute_sha256

WEIGHTS = {
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "text_encoder": "text_encoder/model.safetensors",
}


def scale_weights(path: Path) -> None:
    """Replace the file by another one with other weights."""
    tensors = {name: tensor * 1.5 + 0.01 for name, tensor in load_file(path).items()}
    save_file(tensors, path.with_name("new"), metadata={"format": "pt"})
    path.with_name("new").replace(path)


def scale_weights_in_place(path: Path) -> None:
    """Write other weights to the same file, with the same size and the same inode."""
    inode, size = path.stat().st_ino, path.stat().st_size
    other = Path(shutil.copy(path, path.with_name("other")))
    scale_weights(other)
    path.write_bytes(other.read_bytes())
    assert (path.stat().st_ino, path.stat().st_size) == (inode, size)


def scale_weights_keeping_time(path: Path) -> None:
    """Replace the file by another one with the same size and the same modification time."""
    time = path.stat().st_mtime_ns
    scale_weights(path)
    os.utime(path, ns=(time, time))


def edit_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def swap_tokens(path: Path) -> None:
    """Exchange the token ids of two letters."""
    data = json.loads(path.read_text())
    vocabulary = data["model"]["vocab"]
    vocabulary["a</w>"], vocabulary["x</w>"] = vocabulary["x</w>"], vocabulary["a</w>"]
    path.write_text(json.dumps(data))


CHANGES: dict[str, Callable[[Path], None]] = {
    **{name: lambda folder, file=file: scale_weights(folder / file) for name, file in WEIGHTS.items()},  # type: ignore[misc]
    "unet in place": lambda folder: scale_weights_in_place(folder / WEIGHTS["unet"]),
    "unet with the same time": lambda folder: scale_weights_keeping_time(folder / WEIGHTS["unet"]),
    "unet config": lambda folder: edit_json(folder / "unet/config.json", flip_sin_to_cos=False),
    "vae config": lambda folder: edit_json(folder / "vae/config.json", scaling_factor=1.0),
    "text encoder config": lambda folder: edit_json(folder / "text_encoder/config.json", hidden_act="gelu"),
    "scheduler config": lambda folder: edit_json(folder / "scheduler/scheduler_config.json", beta_end=0.02),
    "tokenizer": lambda folder: swap_tokens(folder / "tokenizer/tokenizer.json"),
}


@pytest.fixture
def model(models: dict[str, Path]) -> Path:
    """Return a copy of the tiny Stable Diffusion 1 model."""
    return Path(shutil.copytree(models["sd1"], "model"))


def request(model: str | Path, **settings: Any) -> Txt2Img:
    return Txt2Img(prompt="a x", model=str(model), seed=1, steps=2, guidance_scale=3.0, **settings)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("offload", [None, "text"])
def test_changed_model_is_loaded_again(model: Path, change: str, offload: str | None) -> None:
    before = generate(request(model, offload=offload))
    CHANGES[change](model)
    after = generate(request(model, offload=offload))
    expected = generate(request(shutil.copytree(model, "fresh"), offload=offload))
    assert sample_images.same(after.image, expected.image)
    assert not sample_images.same(after.image, before.image)
    assert after.record["model_hash"] == compute_sha256(model / WEIGHTS["unet"])


def test_unchanged_model_is_loaded_once(model: Path) -> None:
    events: list[Event] = []
    for _ in range(2):
        generate(request(model), listener=events.append)
    assert sum(isinstance(event, Loading) for event in events) == len(WEIGHTS)


def test_token_limit_of_a_changed_tokenizer_is_used(model: Path) -> None:
    text = "a " * 50
    (job,) = prepare_jobs([request(model)])
    assert not prompts.truncated_part(job.model, text)  # type: ignore[union-attr]
    edit_json(model / "tokenizer/tokenizer_config.json", model_max_length=20)
    (job,) = prepare_jobs([request(model)])
    assert prompts.truncated_part(job.model, text)  # type: ignore[union-attr]


def test_file_that_changes_during_a_run_stops_the_run(model: Path) -> None:
    """The prepared jobs have the hash of the former file: their record would be wrong."""
    results = generate_all([request(model), request(model).replace(seed=2)])
    next(results)
    scale_weights(model / WEIGHTS["unet"])
    with pytest.raises(ModelUnavailableError, match="'model': its files changed while it was used"):
        next(results)


def test_file_that_changes_while_it_is_loaded_is_refused(model: Path) -> None:
    def change(event: Event) -> None:
        if event == Loading("vae"):
            scale_weights(model / WEIGHTS["unet"])

    with pytest.raises(ModelUnavailableError, match="its files changed while it was used"):
        generate(request(model), listener=change)
    assert generate(request(model)).record["model_hash"] == compute_sha256(model / WEIGHTS["unet"])


def test_batch_resolves_a_changed_model_again(model: Path) -> None:
    cache = ModelCache()
    (before,) = prepare_jobs([request(model)], models=cache)
    scale_weights(model / WEIGHTS["unet"])
    (after,) = prepare_jobs([request(model)], models=cache)
    assert before.provenance["model_hash"] != after.provenance["model_hash"] == compute_sha256(model / WEIGHTS["unet"])


def test_changed_lora_is_loaded_again(model: Path) -> None:
    path = Path("style.safetensors")
    tiny_loras.diffusers_lora(path, model, seed=1)
    before = generate(request(model, lora=("style.safetensors",)))
    tiny_loras.diffusers_lora(path, model, seed=2)
    after = generate(request(model, lora=("style.safetensors",)))
    expected = generate(request(model, lora=(str(path.rename("other.safetensors")),)))
    assert sample_images.same(after.image, expected.image)
    assert not sample_images.same(after.image, before.image)
    assert after.record["lora_sha256"] == [compute_sha256(Path("other.safetensors"))]


def test_changed_single_file_is_loaded_again(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from artgen.engine.loading import pipeline_cache, preflight
    from artgen.registry.resolved import ResolvedModel

    monkeypatch.setattr(preflight, "check_loadable", lambda *_, **__: None)  # the file is only a UNet
    file = model / WEIGHTS["unet"]
    described = ResolvedModel("model", file, True, "sd1", "StableDiffusionPipeline")
    objects: Iterator[int] = iter(range(9))

    def load() -> Any:
        resolved = ResolvedModel(**{**vars(described), "files": described.file_identities()})
        return pipeline_cache.cached(("test",), resolved, DeviceConfig("cpu", "fp32"), lambda _: next(objects), no_op)

    assert [load(), load()] == [0, 0]
    scale_weights(file)
    assert [load(), load()] == [1, 1]


@pytest.mark.parametrize("task", ["denoise", "anomaly"])
def test_changed_pixel_model_is_loaded_again(task: str) -> None:
    model = tiny_denoisers.save(Path("pixel-model"))
    image = sample_images.photo(Path("photo.png"))

    def run(model: str) -> Any:
        if task == "denoise":
            return generate(Denoise(image=image, model=model, sigma="20")).image.tobytes()
        return next(find_anomalies([image], Anomaly(model=model, noise_samples=1))).score

    before = run(model)
    scale_weights(Path(model) / WEIGHTS["unet"])
    after = run(model)
    assert after != before
    assert after == run(str(shutil.copytree(model, "fresh")))


def test_changed_autoencoder_is_loaded_again(model: Path) -> None:
    from artgen import registry
    from artgen.engine import reconstruct
    from artgen.engine.loading.device import resolve_device

    image = Image.open(sample_images.photo(Path("photo.png")))

    def run(folder: Path) -> bytes:
        resolved = registry.resolve_model(str(folder))
        result = next(reconstruct.reconstruct_all(resolved, [image], resolve_device("cpu", "fp32")))
        return result.reconstructed.tobytes()

    before = run(model)
    scale_weights(model / WEIGHTS["vae"])
    after = run(model)
    assert before != after == run(Path(shutil.copytree(model, "fresh")))


def test_model_of_the_same_name_at_another_place_is_another_model(models: dict[str, Path]) -> None:
    tiny_models.sd1(Path("a/model"), seed=1)
    tiny_models.sd1(Path("b/model"), seed=2)
    images = []
    for folder in ("a", "b"):
        Path("link").unlink(missing_ok=True)
        Path("link").symlink_to(folder)
        images.append(generate(request("link/model")).image)
    assert not sample_images.same(*images)
