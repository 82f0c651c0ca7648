"""LoRAs: what plain diffusers draws with them, and off again without a trace."""

import shutil
from pathlib import Path
from typing import Any

import diffusers
import plain_scripts as plain
import pytest
import tiny_loras
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from artgen import Denoise, Img2Img, Inpaint, Txt2Img, generate, generate_all
from artgen.engine.loading import lora as engine_lora
from artgen.engine.loading import pipeline_cache
from artgen.errors import ModelUnavailableError, UsageError
from artgen.events import Loading

FAST: dict[str, Any] = {"prompt": "a red fox", "seed": 3, "steps": 2, "guidance_scale": 4.0}
CLASSES = {"sd1": "StableDiffusion", "sdxl": "StableDiffusionXL", "sd3": "StableDiffusion3"}


@pytest.fixture(scope="module")
def loras(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """LoRAs by architecture and form."""
    root = tmp_path_factory.mktemp("loras")
    made = {}
    for kind in CLASSES:
        made[f"{kind}-diffusers"] = tiny_loras.diffusers_lora(root / f"{kind}-diffusers.safetensors", models[kind])
        if kind != "sd3":
            path = root / f"{kind}-kohya.safetensors"
            made[f"{kind}-kohya"] = tiny_loras.kohya_lora(path, models[kind], seed=1)
    parts = {"unet": tiny_loras.UNET}
    made["unet"] = tiny_loras.diffusers_lora(root / "unet.safetensors", models["sd1"], seed=2, parts=parts)
    words = {"text_encoder": tiny_loras.TEXT}
    made["words"] = tiny_loras.diffusers_lora(root / "words.safetensors", models["sd1"], seed=3, parts=words)
    return made


def plain_with(kind: str, folder: Path, loras: dict[Path, float], **more: Any) -> Image.Image:
    """What a plain script draws: LoRAs loaded one after the other, then weighed."""
    with plain.quiet():
        absent = dict.fromkeys(plain.ABSENT) if kind == "sd3" else {}
        pipe = getattr(diffusers, f"{CLASSES[kind]}{more.pop('task', '')}Pipeline").from_pretrained(folder, **absent)
        for number, path in enumerate(loras):
            pipe.load_lora_weights(str(path), adapter_name=f"lora{number}")
        pipe.set_adapters([f"lora{number}" for number in range(len(loras))], list(loras.values()))
        pipe.set_progress_bar_config(disable=True)
        arguments = {"prompt": FAST["prompt"], "num_inference_steps": FAST["steps"], "guidance_scale": 4.0, **more}
        return pipe(generator=torch.Generator("cpu").manual_seed(FAST["seed"]), **arguments).images[0]


def asked(loras: dict[Path, float]) -> tuple[str, ...]:
    return tuple(f"{path}:{scale}" for path, scale in loras.items())


@pytest.mark.parametrize("scale", [1.0, 0.6, -0.5])
@pytest.mark.parametrize("name", ["sd1-diffusers", "sd1-kohya", "sdxl-diffusers", "sdxl-kohya", "sd3-diffusers"])
def test_the_picture_is_plain_diffusers_byte_for_byte(
    models: dict[str, Path], loras: dict[str, Path], name: str, scale: float
) -> None:
    kind = name.partition("-")[0]
    request = Txt2Img(model=str(models[kind]), **FAST)
    ours = generate(request.replace(lora=(f"{loras[name]}:{scale}",))).image
    assert plain.same(ours, plain_with(kind, models[kind], {loras[name]: scale}))
    assert not plain.same(ours, generate(request).image)


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_two_at_once_are_too(models: dict[str, Path], loras: dict[str, Path], kind: str) -> None:
    both = {loras[f"{kind}-diffusers"]: 0.7, loras[f"{kind}-kohya"]: 0.4}
    ours = generate(Txt2Img(model=str(models[kind]), lora=asked(both), **FAST)).image
    assert plain.same(ours, plain_with(kind, models[kind], both))
    assert not plain.same(ours, plain_with(kind, models[kind], {loras[f"{kind}-diffusers"]: 0.7}))


def test_other_tasks_are_too(models: dict[str, Path], loras: dict[str, Path]) -> None:
    photo = plain.photo(Path("photo.png"))
    given = {loras["sd1-diffusers"]: 0.7}
    ours = generate(Img2Img(model=str(models["sd1"]), image=photo, strength=1.0, lora=asked(given), **FAST)).image
    theirs = plain_with("sd1", models["sd1"], given, task="Img2Img", image=Image.open(photo), strength=1.0)
    assert plain.same(ours, theirs)


def test_attached_changed_and_taken_off_without_reading_the_model_again(
    models: dict[str, Path], loras: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = Txt2Img(model=str(models["sd1"]), **FAST)
    first = generate(bare).image
    monkeypatch.setattr(pipeline_cache, "_read_pipeline", lambda *_: pytest.fail("the model was read again"))
    one, two = loras["sd1-diffusers"], loras["sd1-kohya"]
    steps = [{one: 1.0}, {one: 0.5}, {one: 0.5, two: 0.3}, {two: 0.3}, {two: 0.3, one: 0.5}, {one: 1.0}]
    drawn = []
    for step in steps:
        drawn.append(generate(bare.replace(lora=asked(step))).image)
        assert plain.same(drawn[-1], plain_with("sd1", models["sd1"], step)), step
        assert not plain.same(drawn[-1], first)
    assert plain.same(drawn[0], drawn[-1])
    assert plain.same(generate(bare).image, first)
    weights = [
        name for pipe in pipeline_cache._cache.values() for name, _ in pipe.unet.named_parameters() if "lora" in name
    ]
    assert not weights


def test_pipelines_of_every_task_see_them_and_lose_them(models: dict[str, Path], loras: dict[str, Path]) -> None:
    photo, mask = plain.photo(Path("photo.png")), plain.mask(Path("mask.png"))
    model = str(models["sd1"])
    requests = [
        Txt2Img(model=model, **FAST),
        Img2Img(model=model, image=photo, strength=1.0, **FAST),
        Inpaint(model=model, image=photo, mask=mask, **FAST),
        Denoise(model=model, image=photo, method="latent", sigma="30", steps=2),
    ]
    before = [generate(request).image for request in requests]
    lora = (f"{loras['unet']}:1",)
    with_lora = [generate(request.replace(lora=lora)).image for request in requests]
    assert not any(map(plain.same, before, with_lora))
    assert all(map(plain.same, before, [generate(request).image for request in requests]))


def test_a_lora_of_the_text_encoder_does_not_get_a_cached_embedding(
    models: dict[str, Path], loras: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = Txt2Img(model=str(models["sd1"]), **FAST)
    pipeline_cache.clear_cache()
    encoded: list[Any] = []

    def counted(original: Any, self: Any, *arguments: Any, **more: Any) -> Any:
        if isinstance(more.get("prompt"), list):  # artgen's own; pipelines call it again with what that gave
            encoded.append(more["prompt"])
        return original(self, *arguments, **more)

    plain.around(monkeypatch, diffusers.StableDiffusionPipeline, "encode_prompt", counted)
    first = generate(bare).image
    words = generate(bare.replace(lora=(str(loras["words"]),))).image
    assert plain.same(words, plain_with("sd1", models["sd1"], {loras["words"]: 1.0}))
    assert not plain.same(words, first)
    assert encoded == [[FAST["prompt"]]] * 2, "once without, once with"
    generate(bare.replace(lora=(str(loras["unet"]),)))
    assert plain.same(generate(bare).image, first)
    assert len(encoded) == 2, "a LoRA of the UNet needs no new embedding"


def test_neighbours_share_a_device_batch_only_with_the_same_loras(
    models: dict[str, Path], loras: dict[str, Path]
) -> None:
    bare = Txt2Img(model=str(models["sd1"]), **FAST)
    lora = (f"{loras['unet']}:0.8",)
    requests = [
        bare, bare.replace(seed=4), bare.replace(lora=lora), bare.replace(seed=4, lora=lora),
        bare.replace(lora=(f"{loras['unet']}:0.7",)),
    ]  # fmt: skip
    together = list(generate_all(requests, batch_size=8))
    assert [picture.record["batch_size"] for picture in together] == [2, 2, 2, 2, 1]
    for request, picture in zip(requests, together, strict=True):
        assert plain.difference(generate(request).image, picture.image) <= 1


def test_a_kohya_loras_alphas_of_text_encoders_count(models: dict[str, Path]) -> None:
    """diffusers 0.42 drops them under transformers 5 when they differ; a LoRA scaled by hand says what is right."""
    alphas = {"fc1": 4.0, "q_proj": 0.5}
    path = tiny_loras.kohya_lora(Path("alphas.safetensors"), models["sd1"], alphas=alphas)
    state = load_file(path)
    for name in list(state):
        if name.endswith("lora_up.weight"):
            alpha = f"{name.partition('.')[0]}.alpha"
            state[name] = state[name] * (state[alpha] / 2)
            state[alpha] = torch.tensor(2.0)
    save_file(state, "folded.safetensors")
    request = Txt2Img(model=str(models["sd1"]), **FAST)
    found, right = (generate(request.replace(lora=(name,))).image for name in ("alphas", "folded"))
    assert plain.difference(found, right) <= 1


@pytest.mark.parametrize("layer", ["q_proj", "fc2"])
def test_a_kohya_lora_of_any_layer_of_the_text_encoder(models: dict[str, Path], layer: str) -> None:
    """diffusers 0.42 takes few of them by itself; the same in peft's names must give the same."""
    parts = {"text_encoder": [layer], "unet": ["to_q"]}
    kohya = tiny_loras.kohya_lora(Path("kohya.safetensors"), models["sd1"], alphas=2.0, parts=parts)
    peft = tiny_loras.diffusers_lora(Path("peft.safetensors"), models["sd1"], parts=parts)
    request = Txt2Img(model=str(models["sd1"]), **FAST)
    assert plain.same(*(generate(request.replace(lora=(str(path),))).image for path in (kohya, peft)))


def test_the_record_names_them_without_their_folder(models: dict[str, Path], loras: dict[str, Path]) -> None:
    made = generate(Txt2Img(model=str(models["sd1"]), lora=(f"{loras['unet']}:0.5",), **FAST))
    assert made.record["lora"] == ["unet.safetensors:0.5"]
    assert str(loras["unet"].parent) not in str({**made.record, "model": ""})
    assert len(made.record["lora_sha256"][0]) == 64
    assert made.request.lora == (f"{loras['unet']}:0.5",)
    bare = generate(Txt2Img(model=str(models["sd1"]), **FAST))
    assert not [name for name in bare.record if "lora" in name]


def test_half_a_lora_is_never_left_behind(
    models: dict[str, Path], loras: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = Txt2Img(model=str(models["sd1"]), **FAST)
    first = generate(bare).image
    heard = plain.Heard()

    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the disk went away\nlong story")

    with monkeypatch.context() as patch:  # the LoRA is on the UNet by then
        patch.setattr(diffusers.StableDiffusionPipeline, "load_lora_into_text_encoder", fails)
        both = (str(loras["unet"]), str(loras["sd1-kohya"]))
        with pytest.raises(ModelUnavailableError, match=r"unet\.safetensors cannot be attached: the disk went away"):
            generate(bare.replace(lora=both))
    assert plain.same(generate(bare, listener=heard).image, first)
    assert not [event for event in heard.events if isinstance(event, Loading)]
    given = {loras["sd1-kohya"]: 0.5}
    assert plain.same(generate(bare.replace(lora=asked(given))).image, plain_with("sd1", models["sd1"], given))


def test_what_diffusers_passes_over_is_refused(
    models: dict[str, Path], loras: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the check of the headers, a LoRA for a layer that is not there would be dropped with a log line."""
    state = load_file(loras["unet"])
    state |= {name.replace("down_blocks.1", "down_blocks.7"): values.clone() for name, values in state.items()}
    save_file(state, "more.safetensors")
    monkeypatch.setattr("artgen.registry.lora.check_compatible", lambda *_: None)
    with pytest.raises(ModelUnavailableError, match=r"more\.safetensors cannot be attached: "):
        generate(Txt2Img(model=str(models["sd1"]), lora=("more.safetensors",), **FAST))
    pipe = next(iter(pipeline_cache._cache.values()))
    assert engine_lora.active_loras(pipe) == ()
    assert not [name for name, _ in pipe.unet.named_parameters() if "lora" in name]


def test_the_same_lora_twice_is_a_slip(models: dict[str, Path], loras: dict[str, Path]) -> None:
    shutil.copy(loras["unet"], "copy.safetensors")
    with pytest.raises(UsageError, match="given twice"):
        generate(Txt2Img(model=str(models["sd1"]), lora=(str(loras["unet"]), "copy.safetensors"), **FAST))
