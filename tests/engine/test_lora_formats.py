"""Test that images with adapters of all formats equal images of models with merged weights, for each family."""

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import adapter_layers as adapters
import pytest
import sample_images
import single_files
import torch
from adapter_layers import Layer
from command_line import run
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_adapters import kohya_key, prefixed_key, save_adapter, xlabs_key

from artgen import Img2Img, Inpaint, Txt2Img, generate, registry, replay
from artgen.engine.loading.adapter_weights import product_of
from artgen.errors import UsageError
from artgen.registry import lora as lora_files
from artgen.registry.lora_layers.shapes import layer_shape
from artgen.registry.safetensors_header import read_header
from artgen.spec.base_requests import PromptRequest

SETTINGS: dict[str, Any] = {"prompt": "a red fox", "seed": 3, "steps": 2, "width": 32, "height": 32}
Key = Callable[[Layer, str], str]

FORMATS: dict[str, tuple[str, Sequence[Layer], Key]] = {
    "flux-diffusers": ("flux-dev", adapters.DOUBLE_BLOCK, prefixed_key("transformer.")),
    "flux-kohya": ("flux-dev", adapters.FLUX_ORIGINAL, kohya_key),
    "flux-schnell-kohya": ("flux-schnell", adapters.FLUX_DOUBLE_ORIGINAL, kohya_key),
    "flux-comfyui": ("flux-dev", adapters.FLUX_ORIGINAL, prefixed_key("diffusion_model.", matrices="down")),
    "flux-fal": ("flux-dev", adapters.FLUX_ORIGINAL, prefixed_key("base_model.model.")),
    "flux-bfl": ("flux-dev", adapters.FLUX_ORIGINAL, prefixed_key("")),
    "flux-onetrainer": (
        "flux-dev", adapters.DOUBLE_BLOCK, lambda layer, factor: kohya_key(layer, factor).replace("unet", "transformer")
    ),
    "flux-xlabs": ("flux-dev", adapters.XLABS, xlabs_key),
    "flux-xlabs-comfyui": ("flux-dev", adapters.XLABS, lambda *key: f"diffusion_model.{xlabs_key(*key)}"),
    "sd3-diffusers": ("sd3", adapters.DOUBLE_BLOCK, prefixed_key("transformer.")),
    "sd3-kohya": ("sd3", adapters.SD3_ORIGINAL, kohya_key),
    "sd3-comfyui": ("sd3", adapters.SD3_ORIGINAL, prefixed_key("diffusion_model.")),
    "qwen-diffusers": ("qwen-image", adapters.QWEN, prefixed_key("transformer.")),
    "qwen-kohya": ("qwen-image", adapters.QWEN, kohya_key),
    "qwen-ai-toolkit": ("qwen-image", adapters.QWEN, prefixed_key("diffusion_model.")),
    "qwen-bare": ("qwen-image", adapters.QWEN, prefixed_key("", matrices="down")),
    "qwen-lycoris": (
        "qwen-image", adapters.QWEN, lambda *key: kohya_key(*key).replace("lora_unet_", "lycoris_")
    ),
    "z-image-diffusers": ("z-image", adapters.Z_IMAGE, prefixed_key("transformer.")),
    "z-image-kohya": ("z-image", adapters.Z_IMAGE, kohya_key),
    "z-image-ai-toolkit": ("z-image-turbo", adapters.Z_IMAGE, prefixed_key("diffusion_model.")),
    "z-image-original": ("z-image", adapters.Z_IMAGE_ORIGINAL, prefixed_key("diffusion_model.")),
    "flux2-kohya": ("flux2-klein", adapters.FLUX2_ORIGINAL, kohya_key),
    "flux2-ai-toolkit": ("flux2-klein", adapters.FLUX2_ORIGINAL, prefixed_key("diffusion_model.")),
    "lumina2-comfyui": ("lumina2", adapters.LUMINA2_ORIGINAL, prefixed_key("diffusion_model.")),
    "chroma-kohya": ("chroma", adapters.CHROMA_ORIGINAL, kohya_key),
}  # fmt: skip
"""Name of the test -> model, layers and names of the tensors."""


def assert_equals_merged(path: Path, model: Path | PromptRequest, scale: float = 1.0) -> None:
    """Compare the images with the adapter, with merged weights (see `save_adapter`), and without the adapter."""
    request = Txt2Img(model=str(model), **SETTINGS) if isinstance(model, Path) else model
    with_adapter = generate(request.replace(lora=(f"{path}:{scale}",))).image
    merged = generate(request.replace(model=str(path.with_suffix("")))).image
    assert sample_images.difference(with_adapter, merged) <= 1
    assert sample_images.difference(generate(request).image, merged) > 5


@pytest.mark.parametrize("name", FORMATS)
def test_lora_of_each_format_equals_merged_weights(zoo: Mapping[str, Path], name: str) -> None:
    model, layers, key = FORMATS[name]
    alpha = None if "xlabs" in name else 1.5
    path = save_adapter(Path(f"{name}.safetensors"), zoo[model], layers, key=key, alpha=alpha, scale=0.7)
    lora_files.check_compatible(lora_files.read_lora(path), registry.resolve_model(str(zoo[model])))
    assert_equals_merged(path, zoo[model], 0.7)


SD_UNET = (
    "to_q", "attn2.to_k", "to_out.0", "proj_in", "ff.net.2", "conv1", "time_emb_proj", "conv_shortcut", "conv_in",
    "conv2", "downsamplers.0.conv",
)  # fmt: skip
SD_TEXT = ("q_proj", "out_proj", "fc1")


def stable_diffusion_layers(folder: Path) -> list[Layer]:
    """Return layers of the UNet (also convolutions) and of the text encoders of a Stable Diffusion model."""
    found = []
    for component in ("unet", "text_encoder", "text_encoder_2"):
        ends = SD_UNET if component == "unet" else SD_TEXT
        for file in (folder / component).glob("*.safetensors"):
            names = [name.removesuffix(".weight") for name in read_header(file).tensors if name.endswith(".weight")]
            found += adapters.same(*(name for name in names if name.endswith(ends)), component=component)
    return found


@pytest.mark.parametrize(
    "name",
    ["flux2-klein", "flux2-dev", "sana", "sana-sprint", "lumina2", "auraflow", "cogview4", "hidream", "kandinsky5",
     "ernie-image", "krea2", "flux-fill", "flux-kontext"],
)  # fmt: skip
def test_lora_with_the_names_of_diffusers_equals_merged_weights(zoo: Mapping[str, Path], name: str) -> None:
    (file,) = (zoo[name] / "transformer").glob("*.safetensors")
    matrices = (key for key, (_, shape) in read_header(file).tensors.items() if len(shape) == 2)
    linear = [key.removesuffix(".weight") for key in matrices if key.endswith(".weight")]
    layers = adapters.same(*(layer for layer in linear if not layer.endswith(".gate")))  # HiDream's gate has no layer.
    path = save_adapter(Path("a.safetensors"), zoo[name], layers, key=prefixed_key("transformer."))
    lora_files.check_compatible(lora_files.read_lora(path), registry.resolve_model(str(zoo[name])))
    settings = {"model": str(zoo[name]), **{key: SETTINGS[key] for key in ("prompt", "seed", "steps")}}
    photo, mask = sample_images.photo(Path("photo.png")), sample_images.mask(Path("mask.png"))
    if name == "flux-kontext":
        assert_equals_merged(path, Img2Img(image=photo, **settings))
    elif name == "flux-fill":
        assert_equals_merged(path, Inpaint(image=photo, mask=mask, **settings))
    else:
        assert_equals_merged(path, zoo[name])


@pytest.mark.parametrize("name", ["flux-kohya", "sd3-kohya"])
def test_lora_of_a_transformer_and_text_encoders_equals_merged_weights(zoo: Mapping[str, Path], name: str) -> None:
    model, layers, key = FORMATS[name]
    components = ("text_encoder", "text_encoder_2") if model == "sd3" else ("text_encoder",)
    text = [layer for layer in stable_diffusion_layers(zoo[model]) if layer.component in components]
    assert len(text) >= 6 * len(components)
    path = save_adapter(Path("a.safetensors"), zoo[model], [*layers, *text], kinds=KINDS, key=key)
    assert lora_files.read_lora(path).components == ("transformer", *components)
    assert_equals_merged(path, zoo[model])


KINDS = ("lora", "loha", "lokr", "lokr-full", "lokr-w1")
CONVOLUTION_KINDS = ("locon-tucker", "loha-tucker", "lokr-tucker")
KIND_NAMES = {"lora": "LoRA", "locon": "LoRA", "loha": "LoHa", "lokr": "LoKr"}


@pytest.mark.parametrize("dora", ["", "outputs"])
@pytest.mark.parametrize("kind", [*KINDS, *CONVOLUTION_KINDS])
def test_adapter_of_each_kind_equals_merged_weights(models: dict[str, Path], kind: str, dora: str) -> None:
    layers = stable_diffusion_layers(models["sd1"])
    path = save_adapter(Path("a.safetensors"), models["sd1"], layers, kinds=[kind], dora=dora, key=kohya_key, scale=0.5)
    lora = lora_files.read_lora(path)
    expected = KIND_NAMES[kind.partition("-")[0]]
    assert lora.kinds == (f"{expected} with DoRA".removeprefix("LoRA with ") if dora else expected,)
    lora_files.check_compatible(lora, registry.resolve_model(str(models["sd1"])))
    assert_equals_merged(path, models["sd1"], 0.5)


@pytest.mark.parametrize("with_metadata", [False, True])
def test_dora_of_peft_equals_merged_weights(models: dict[str, Path], with_metadata: bool) -> None:
    """diffusers 0.42 loads the magnitudes of the UNet and ignores the magnitudes of text encoders."""
    ends = ("to_q", "to_out.0", "fc1")
    layers = [layer for layer in stable_diffusion_layers(models["sd1"]) if layer.name.endswith(ends)]
    path = save_adapter(Path("a.safetensors"), models["sd1"], layers, dora="outputs", alpha=None, key=peft_key)
    tensors = {name: values.flatten() if values.shape[-1] == 1 else values for name, values in load_file(path).items()}
    configs = {f"{part}.{name}": value for part in ("unet", "text_encoder") for name, value in DORA_CONFIG.items()}
    save_file(tensors, path, {"lora_adapter_metadata": json.dumps(configs)} if with_metadata else None)
    assert lora_files.read_lora(path).kinds == ("DoRA",)
    assert_equals_merged(path, models["sd1"])


DORA_CONFIG = {"r": 2, "lora_alpha": 2, "use_dora": True, "target_modules": ["to_q", "to_out.0", "fc1"]}


def peft_key(layer: Layer, factor: str) -> str:
    """Return a name as in files that diffusers saves."""
    names = {"lora_down.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight"}
    name = layer.name.removeprefix("text_model.")
    return f"{layer.component}.{name}.{names.get(factor, 'lora_magnitude_vector')}"


@pytest.mark.parametrize("dora", ["", "outputs", "inputs"])
@pytest.mark.parametrize("name", ["sdxl", "flux-kohya", "sd3-kohya", "qwen-ai-toolkit", "z-image-original"])
def test_file_with_layers_of_all_kinds_equals_merged_weights(
    models: dict[str, Path], zoo: Mapping[str, Path], name: str, dora: str
) -> None:
    if name == "sdxl":
        folder, layers, key = models[name], stable_diffusion_layers(models[name]), kohya_key
    else:
        model, layers, key = FORMATS[name]
        folder = zoo[model]
    if dora == "inputs":  # The magnitudes of the inputs of a layer that is several layers in diffusers do not exist.
        layers = [layer for layer in layers if len(layer.modules) == 1]
    kinds = [*KINDS, *CONVOLUTION_KINDS]
    path = save_adapter(Path("a.safetensors"), folder, layers, kinds=kinds, dora=dora, key=key, scale=-0.6)
    assert_equals_merged(path, folder, -0.6)


def merge_two(first: Path, second: Path, original: Path, component: str) -> Path:
    """Save a copy of the model `first` with the changes of both models."""
    merged = shutil.copytree(first, Path("merged"))
    (file,) = (merged / component).glob("*.safetensors")
    weights, added, base = (load_file(folder / component / file.name) for folder in (first, second, original))
    save_file({name: values + added[name] - base[name] for name, values in weights.items()}, file, {"format": "pt"})
    return merged


def test_adapters_of_two_kinds_equal_the_sum_of_their_changes(zoo: Mapping[str, Path]) -> None:
    model, layers, key = FORMATS["qwen-kohya"]
    folder = zoo[model]
    first = save_adapter(Path("first.safetensors"), folder, layers, key=key, scale=0.7)
    second = save_adapter(Path("second.safetensors"), folder, layers, kinds=KINDS[1:], dora="outputs", key=key, seed=8)
    request = Txt2Img(model=str(folder), **SETTINGS)
    merged = merge_two(first.with_suffix(""), second.with_suffix(""), folder, "transformer")
    expected = generate(request.replace(model=str(merged))).image
    without = generate(request).image
    for loras in ((f"{first}:0.7", f"{second}:1"), (f"{second}:1", f"{first}:0.7")):
        assert sample_images.difference(generate(request.replace(lora=loras)).image, expected) <= 1
    for loras in ((f"{first}:0.7",), (f"{second}:1",), ()):
        assert sample_images.difference(generate(request.replace(lora=loras)).image, expected) > 1
    assert sample_images.same(generate(request).image, without), "the model is unchanged after the LoRAs are unloaded"
    assert sample_images.same(generate(request.replace(lora=(f"{second}:0",))).image, without)


def test_scale_of_text_encoders_is_separate(models: dict[str, Path]) -> None:
    layers = stable_diffusion_layers(models["sd1"])
    both = save_adapter(Path("both.safetensors"), models["sd1"], layers, kinds=KINDS, key=kohya_key)
    request = Txt2Img(model=str(models["sd1"]), **SETTINGS)

    def image(*loras: str) -> Any:
        return generate(request.replace(lora=loras)).image

    parts = {}
    for part in ("unet", "te"):
        tensors = {name: values for name, values in load_file(both).items() if name.startswith(f"lora_{part}")}
        save_file(tensors, f"{part}.safetensors")
        parts[part] = tensors
    assert parts["unet"]
    assert parts["te"]
    expected = image("unet.safetensors:0.8", "te.safetensors:0.3")
    assert sample_images.difference(image("both.safetensors:0.8:0.3"), expected) <= 1
    assert sample_images.difference(image("both.safetensors:0:0.3"), image("te.safetensors:0.3")) <= 1
    assert sample_images.difference(image("both.safetensors:0.8:0"), image("unet.safetensors:0.8")) <= 1
    assert sample_images.difference(image("both.safetensors:0.8"), expected) > 1
    with pytest.raises(UsageError, match="'unet' does not change text encoders"):
        image("unet.safetensors:0.8:0.3")


def test_batch_and_replay_use_adapters_of_new_families(zoo: Mapping[str, Path]) -> None:
    model, layers, key = FORMATS["z-image-original"]
    path = save_adapter(Path("style.safetensors"), zoo[model], layers, kinds=["lokr"], key=key)
    Path("prompts.txt").write_text("a red fox --lora style.safetensors:0.7\na red fox\n")
    run("batch", "prompts.txt", "-m", str(zoo[model]), "--steps", "2", "--size", "32x32", "--seed", "3", "-o", "out/")
    first, second = sorted(Path("out").glob("*.png"))
    request = Txt2Img(model=str(zoo[model]), **SETTINGS)
    assert sample_images.difference(Image.open(first), generate(request.replace(lora=("style:0.7",))).image) <= 1
    assert sample_images.difference(Image.open(first), Image.open(second)) > 5
    path.rename("out/style.safetensors")
    replayed = replay(first, model=str(zoo[model]))
    assert replayed.record["lora"] == ["style.safetensors:0.7"]
    assert sample_images.difference(replayed.image, Image.open(first)) <= 1


FACTOR_SETS = (
    ("down", "up"), ("down", "mid", "up"), ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),
    ("hada_t1", "hada_t2", "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), ("lokr_w1", "lokr_w2"),
    ("lokr_w1", "lokr_w2_a", "lokr_w2_b"), ("lokr_w1_a", "lokr_w1_b", "lokr_w2"),
    ("lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"), ("lokr_w1", "lokr_t2", "lokr_w2_a", "lokr_w2_b"),
)  # fmt: skip
SIZES = st.lists(st.integers(0, 2), max_size=5).map(tuple) | st.sampled_from([(2, 2), (2, 2, 1, 1), (2, 2, 3, 3)])


@given(st.sampled_from(FACTOR_SETS).flatmap(lambda names: st.fixed_dictionaries(dict.fromkeys(names, SIZES))))
def test_any_factors_are_refused_or_have_the_shape_of_their_product(
    shapes: dict[str, tuple[int, ...]],
) -> None:
    shape = layer_shape(shapes)
    if shape is not None:
        change = product_of({name: torch.ones(sizes) for name, sizes in shapes.items()})
        assert change.shape[0] == shape.outputs
        assert change.numel() == math.prod(shape.weight)


@pytest.mark.parametrize("name", ["flux-kohya", "qwen-ai-toolkit", "z-image-original"])
def test_image_with_an_adapter_is_the_same_for_single_file_and_folder(zoo: Mapping[str, Path], name: str) -> None:
    model, layers, key = FORMATS[name]
    path = save_adapter(Path("style.safetensors"), zoo[model], layers, kinds=KINDS, dora="outputs", key=key)
    state = single_files.component_state(zoo[model], "transformer")
    file = single_files.write_single_file(model, state, zoo[model])
    request = Txt2Img(model=str(file), lora=(str(path),), guidance_scale=3.0, **SETTINGS)
    assert sample_images.same(generate(request).image, generate(request.replace(model=str(zoo[model]))).image)
