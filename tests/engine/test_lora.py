"""Test LoRAs: images as with plain diffusers, and the model is unchanged after a LoRA is unloaded."""

import shutil
from pathlib import Path
from typing import Any

import diffusers
import plain_scripts as plain
import pytest
import sample_images
import tiny_loras
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from artgen import Denoise, Img2Img, Inpaint, Txt2Img, generate, generate_all, registry
from artgen.engine.loading import components, lora, pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.errors import ModelUnavailableError, UsageError
from artgen.events import Loading

SETTINGS: dict[str, Any] = {"prompt": "a red fox", "seed": 3, "steps": 2, "guidance_scale": 4.0}
CLASSES = {"sd1": "StableDiffusion", "sdxl": "StableDiffusionXL", "sd3": "StableDiffusion3"}


@pytest.fixture(scope="module")
def loras(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Save LoRAs by architecture and file format."""
    root = tmp_path_factory.mktemp("loras")
    paths = {}
    for kind in CLASSES:
        paths[f"{kind}-diffusers"] = tiny_loras.diffusers_lora(root / f"{kind}-diffusers.safetensors", models[kind])
        if kind != "sd3":
            path = root / f"{kind}-kohya.safetensors"
            paths[f"{kind}-kohya"] = tiny_loras.kohya_lora(path, models[kind], seed=1)
    parts = {"unet": tiny_loras.UNET}
    paths["unet"] = tiny_loras.diffusers_lora(root / "unet.safetensors", models["sd1"], seed=2, parts=parts)
    parts = {"text_encoder": tiny_loras.TEXT}
    paths["text"] = tiny_loras.diffusers_lora(root / "text.safetensors", models["sd1"], seed=3, parts=parts)
    return paths


def generate_plain(kind: str, folder: Path, loras: dict[Path, float], **kwargs: Any) -> Image.Image:
    """Generate an image with plain diffusers: load the LoRAs one by one, then set their scales."""
    with plain.quiet():
        absent = dict.fromkeys(plain.ABSENT) if kind == "sd3" else {}
        pipe = getattr(diffusers, f"{CLASSES[kind]}{kwargs.pop('task', '')}Pipeline").from_pretrained(folder, **absent)
        for number, path in enumerate(loras):
            pipe.load_lora_weights(str(path), adapter_name=f"lora{number}")
        pipe.set_adapters([f"lora{number}" for number in range(len(loras))], list(loras.values()))
        pipe.set_progress_bar_config(disable=True)
        settings = {
            "prompt": SETTINGS["prompt"],
            "num_inference_steps": SETTINGS["steps"],
            "guidance_scale": 4.0,
            **kwargs,
        }
        return pipe(generator=torch.Generator("cpu").manual_seed(SETTINGS["seed"]), **settings).images[0]


def lora_setting(loras: dict[Path, float]) -> tuple[str, ...]:
    return tuple(f"{path}:{scale}" for path, scale in loras.items())


@pytest.mark.parametrize("scale", [1.0, 0.6, -0.5])
@pytest.mark.parametrize("name", ["sd1-diffusers", "sd1-kohya", "sdxl-diffusers", "sdxl-kohya", "sd3-diffusers"])
def test_image_with_a_lora_is_byte_identical_to_diffusers(
    models: dict[str, Path], loras: dict[str, Path], name: str, scale: float
) -> None:
    kind = name.partition("-")[0]
    request = Txt2Img(model=str(models[kind]), **SETTINGS)
    ours = generate(request.replace(lora=(f"{loras[name]}:{scale}",))).image
    assert sample_images.same(ours, generate_plain(kind, models[kind], {loras[name]: scale}))
    assert not sample_images.same(ours, generate(request).image)


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_image_with_two_loras_is_byte_identical_to_diffusers(
    models: dict[str, Path], loras: dict[str, Path], kind: str
) -> None:
    both = {loras[f"{kind}-diffusers"]: 0.7, loras[f"{kind}-kohya"]: 0.4}
    ours = generate(Txt2Img(model=str(models[kind]), lora=lora_setting(both), **SETTINGS)).image
    assert sample_images.same(ours, generate_plain(kind, models[kind], both))
    assert not sample_images.same(ours, generate_plain(kind, models[kind], {loras[f"{kind}-diffusers"]: 0.7}))


def test_img2img_with_a_lora_is_byte_identical_to_diffusers(models: dict[str, Path], loras: dict[str, Path]) -> None:
    photo = sample_images.photo(Path("photo.png"))
    scales = {loras["sd1-diffusers"]: 0.7}
    ours = generate(
        Img2Img(model=str(models["sd1"]), image=photo, strength=1.0, lora=lora_setting(scales), **SETTINGS)
    ).image
    theirs = generate_plain("sd1", models["sd1"], scales, task="Img2Img", image=Image.open(photo), strength=1.0)
    assert sample_images.same(ours, theirs)


def cached_pipeline(model: Path) -> Any:
    """Return the cached pipeline of a model; fail if it is not cached."""
    events = plain.EventLog()
    pipe = pipeline_cache.load_pipeline(
        registry.resolve_model(str(model)), DeviceConfig("cpu", "fp32"),
        offload=None, vae_tiling=False, safety_checker=True, listener=events,
    )  # fmt: skip
    assert not [event for event in events.events if isinstance(event, Loading)]
    return pipe


def test_loras_are_added_rescaled_and_unloaded_without_loading_the_model_again(
    models: dict[str, Path], loras: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_lora = Txt2Img(model=str(models["sd1"]), **SETTINGS)
    first = generate(without_lora).image
    monkeypatch.setattr(components, "load_folder_pipeline", lambda *_: pytest.fail("the model was loaded again"))
    one, two = loras["sd1-diffusers"], loras["sd1-kohya"]
    steps = [{one: 1.0}, {one: 0.5}, {one: 0.5, two: 0.3}, {two: 0.3}, {two: 0.3, one: 0.5}, {one: 1.0}]
    images = []
    for step in steps:
        images.append(generate(without_lora.replace(lora=lora_setting(step))).image)
        assert sample_images.same(images[-1], generate_plain("sd1", models["sd1"], step)), step
        assert not sample_images.same(images[-1], first)
    assert sample_images.same(images[0], images[-1])
    assert sample_images.same(generate(without_lora).image, first)
    assert not [name for name, _ in cached_pipeline(models["sd1"]).unet.named_parameters() if "lora" in name]


def test_every_task_uses_and_unloads_the_lora(models: dict[str, Path], loras: dict[str, Path]) -> None:
    photo, mask = sample_images.photo(Path("photo.png")), sample_images.mask(Path("mask.png"))
    model = str(models["sd1"])
    requests = [
        Txt2Img(model=model, **SETTINGS),
        Img2Img(model=model, image=photo, strength=1.0, **SETTINGS),
        Inpaint(model=model, image=photo, mask=mask, **SETTINGS),
        Denoise(model=model, image=photo, method="latent", sigma="30", steps=2),
    ]
    before = [generate(request).image for request in requests]
    with_lora = [generate(request.replace(lora=(f"{loras['unet']}:1",))).image for request in requests]
    assert not any(map(sample_images.same, before, with_lora))
    assert all(map(sample_images.same, before, [generate(request).image for request in requests]))


def test_lora_of_the_text_encoder_does_not_use_cached_embeddings(
    models: dict[str, Path], loras: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_lora = Txt2Img(model=str(models["sd1"]), **SETTINGS)
    pipeline_cache.clear_cache()
    encoded_prompts: list[Any] = []

    def record_prompts(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(kwargs.get("prompt"), list):  # The pipeline calls it again without prompts.
            encoded_prompts.append(kwargs["prompt"])
        return original(self, *args, **kwargs)

    plain.wrap_method(monkeypatch, diffusers.StableDiffusionPipeline, "encode_prompt", record_prompts)
    first = generate(without_lora).image
    with_text_lora = generate(without_lora.replace(lora=(str(loras["text"]),))).image
    assert sample_images.same(with_text_lora, generate_plain("sd1", models["sd1"], {loras["text"]: 1.0}))
    assert not sample_images.same(with_text_lora, first)
    assert encoded_prompts == [[SETTINGS["prompt"]]] * 2  # Once without the LoRA, once with it.
    generate(without_lora.replace(lora=(str(loras["unet"]),)))
    assert sample_images.same(generate(without_lora).image, first)
    assert len(encoded_prompts) == 2  # A LoRA of the UNet needs no new embeddings.


def test_batches_contain_only_requests_with_the_same_loras(models: dict[str, Path], loras: dict[str, Path]) -> None:
    without_lora = Txt2Img(model=str(models["sd1"]), **SETTINGS)
    loras_08 = (f"{loras['unet']}:0.8",)
    requests = [
        without_lora, without_lora.replace(seed=4),
        without_lora.replace(lora=loras_08), without_lora.replace(seed=4, lora=loras_08),
        without_lora.replace(lora=(f"{loras['unet']}:0.7",)),
    ]  # fmt: skip
    outcomes = list(generate_all(requests, batch_size=8))
    assert [generated.record["batch_size"] for generated in outcomes] == [2, 2, 2, 2, 1]
    for request, generated in zip(requests, outcomes, strict=True):
        assert sample_images.difference(generate(request).image, generated.image) <= 1


def test_alphas_of_text_encoders_in_kohya_files_are_applied(models: dict[str, Path]) -> None:
    """diffusers 0.42 with transformers 5 loses different alphas. A LoRA with scaled weights is the reference."""
    alphas = {"fc1": 4.0, "q_proj": 0.5}
    path = tiny_loras.kohya_lora(Path("alphas.safetensors"), models["sd1"], alphas=alphas)
    tensors = load_file(path)
    for name in list(tensors):
        if name.endswith("lora_up.weight"):
            alpha = f"{name.partition('.')[0]}.alpha"
            tensors[name] = tensors[name] * (tensors[alpha] / 2)
            tensors[alpha] = torch.tensor(2.0)
    save_file(tensors, "folded.safetensors")
    request = Txt2Img(model=str(models["sd1"]), **SETTINGS)
    image, reference = (generate(request.replace(lora=(name,))).image for name in ("alphas", "folded"))
    assert sample_images.difference(image, reference) <= 1


@pytest.mark.parametrize("layer", ["q_proj", "fc2"])
def test_kohya_lora_of_any_text_encoder_layer_equals_the_peft_format(models: dict[str, Path], layer: str) -> None:
    """diffusers 0.42 supports only some of these layers. The same LoRA in PEFT's format is the reference."""
    parts = {"text_encoder": [layer], "unet": ["to_q"]}
    kohya = tiny_loras.kohya_lora(Path("kohya.safetensors"), models["sd1"], alphas=2.0, parts=parts)
    peft = tiny_loras.diffusers_lora(Path("peft.safetensors"), models["sd1"], parts=parts)
    request = Txt2Img(model=str(models["sd1"]), **SETTINGS)
    assert sample_images.same(*(generate(request.replace(lora=(str(path),))).image for path in (kohya, peft)))


def test_record_contains_file_names_without_folders(models: dict[str, Path], loras: dict[str, Path]) -> None:
    generated = generate(Txt2Img(model=str(models["sd1"]), lora=(f"{loras['unet']}:0.5",), **SETTINGS))
    assert generated.record["lora"] == ["unet.safetensors:0.5"]
    assert str(loras["unet"].parent) not in str({**generated.record, "model": ""})
    assert len(generated.record["lora_sha256"][0]) == 64
    assert generated.request.lora == (f"{loras['unet']}:0.5",)
    plain_record = generate(Txt2Img(model=str(models["sd1"]), **SETTINGS)).record
    assert not [name for name in plain_record if "lora" in name]


def test_no_lora_remains_after_a_loading_error(
    models: dict[str, Path], loras: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_lora = Txt2Img(model=str(models["sd1"]), **SETTINGS)
    first = generate(without_lora).image
    events = plain.EventLog()

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("simulated error\nsecond line")

    with monkeypatch.context() as patch:  # The UNet has the LoRA when the error occurs.
        patch.setattr(diffusers.StableDiffusionPipeline, "load_lora_into_text_encoder", fail)
        both = (str(loras["unet"]), str(loras["sd1-kohya"]))
        with pytest.raises(ModelUnavailableError, match=r"Cannot load the LoRA 'unet\.safetensors': simulated error"):
            generate(without_lora.replace(lora=both))
    assert sample_images.same(generate(without_lora, listener=events).image, first)
    assert not [event for event in events.events if isinstance(event, Loading)]
    scales = {loras["sd1-kohya"]: 0.5}
    assert sample_images.same(
        generate(without_lora.replace(lora=lora_setting(scales))).image, generate_plain("sd1", models["sd1"], scales)
    )


def test_tensors_that_diffusers_ignores_are_an_error(
    models: dict[str, Path], loras: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """diffusers only logs LoRA tensors for missing layers. The test disables the check of the file's header."""
    tensors = load_file(loras["unet"])
    tensors |= {name.replace("down_blocks.1", "down_blocks.7"): values.clone() for name, values in tensors.items()}
    save_file(tensors, "more.safetensors")
    monkeypatch.setattr("artgen.registry.lora.check_compatible", lambda *_: None)
    with pytest.raises(ModelUnavailableError, match=r"Cannot load the LoRA 'more\.safetensors': "):
        generate(Txt2Img(model=str(models["sd1"]), lora=("more.safetensors",), **SETTINGS))
    pipe = cached_pipeline(models["sd1"])
    assert lora.active_loras(pipe) == ()
    assert not [name for name, _ in pipe.unet.named_parameters() if "lora" in name]


def test_duplicate_lora_is_rejected(models: dict[str, Path], loras: dict[str, Path]) -> None:
    shutil.copy(loras["unet"], "copy.safetensors")
    with pytest.raises(UsageError, match="given twice"):
        generate(Txt2Img(model=str(models["sd1"]), lora=(str(loras["unet"]), "copy.safetensors"), **SETTINGS))
