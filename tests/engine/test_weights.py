"""Weights read in another precision than that of their files: the same numbers, and not the memory of the files."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny_models
import torch
import transformers
from original_layout import to_original_sd1
from safetensors.torch import load_file, save_file

from artgen import Txt2Img, generate, registry
from artgen.engine.loading import components, pipeline_cache, weights
from artgen.engine.loading.device import DTYPES, DeviceConfig
from artgen.errors import ModelUnavailableError
from artgen.events import no_op

FAST: dict[str, Any] = {"prompt": "a fox", "seed": 1, "steps": 1, "guidance_scale": 1.0}

PARTS = [
    ("sd1", "unet", diffusers.UNet2DConditionModel),
    ("sd1", "vae", diffusers.AutoencoderKL),
    ("sd1", "text_encoder", transformers.CLIPTextModel),
    ("sdxl", "unet", diffusers.UNet2DConditionModel),
    ("sdxl", "text_encoder_2", transformers.CLIPTextModelWithProjection),
    ("sd3", "transformer", diffusers.SD3Transformer2DModel),
    ("sd3", "vae", diffusers.AutoencoderKL),
]


def stored(source: Path, folder: Path, dtype: torch.dtype, variant: str | None = None, shard: str = "1GB") -> Path:
    """A copy of a component with its weights in another precision, whole or in shards."""
    config = json.loads((source / "config.json").read_text())
    library = diffusers if "_class_name" in config else transformers
    module = getattr(library, config.get("_class_name") or config["architectures"][0]).from_pretrained(source)
    module.to(dtype).save_pretrained(folder, variant=variant, max_shard_size=shard)
    return folder


def theirs(cls: Any, folder: Path, dtype: torch.dtype, **more: Any) -> Any:
    return cls.from_pretrained(folder, dtype=dtype, use_safetensors=True, local_files_only=True, **more)


def check_same(one: torch.nn.Module, other: torch.nn.Module) -> None:
    """Every parameter and every buffer, those that no file has too: name, kind, precision, shape, layout, bytes."""
    for kind in ("named_parameters", "named_buffers"):
        ours, plainly = dict(getattr(one, kind)()), dict(getattr(other, kind)())
        assert list(ours) == list(plainly)
        for name, tensor in ours.items():
            expected = plainly[name]
            facts = [(t.dtype, t.shape, t.stride(), t.device, t.requires_grad, type(t)) for t in (tensor, expected)]
            assert facts[0] == facts[1], name
            assert torch.equal(tensor.contiguous().view(torch.uint8), expected.contiguous().view(torch.uint8)), name
    assert list(one.state_dict()) == list(other.state_dict())
    assert one.training is other.training is False


def every(_: str) -> bool:
    return True


def tied(module: torch.nn.Module) -> list[set[str]]:
    """The groups of names that stand for one tensor."""
    groups: dict[int, set[str]] = {}
    for name, tensor in module.named_parameters(remove_duplicate=False):
        groups.setdefault(tensor.data_ptr(), set()).add(name)
    return [group for group in groups.values() if len(group) > 1]


@pytest.mark.parametrize(("kind", "part", "cls"), PARTS)
@pytest.mark.parametrize(("file", "wanted"), [("fp32", "bf16"), ("fp16", "fp32")])
def test_every_tensor_is_the_one_that_the_libraries_load(
    models: dict[str, Path], tmp_path: Path, kind: str, part: str, cls: Any, file: str, wanted: str
) -> None:
    for shard in ("1GB", "20KB"):
        folder = stored(models[kind] / part, tmp_path / shard, DTYPES[file], shard=shard)
        assert len(list(folder.glob("*.safetensors"))) > (0 if shard == "1GB" else 2)
        module, missing = weights.load_converted_component(cls, folder, None, DTYPES[wanted])
        assert not missing
        check_same(module, theirs(cls, folder, DTYPES[wanted]))


@pytest.mark.parametrize(("kind", "part", "cls"), [PARTS[0], PARTS[3], PARTS[5]])
@pytest.mark.parametrize(("file", "wanted"), [("fp32", "fp32"), ("fp32", "bf16"), ("fp16", "fp16")])
def test_every_weight_in_8_bits_is_the_one_that_diffusers_makes(
    models: dict[str, Path], tmp_path: Path, kind: str, part: str, cls: Any, file: str, wanted: str
) -> None:
    folder = stored(models[kind] / part, tmp_path / part, DTYPES[file])
    module, _ = weights.load_converted_component(cls, folder, None, DTYPES[wanted], fp8=True)
    before = {name: tensor.data_ptr() for name, tensor in module.named_parameters()}
    weights.cast_to_fp8(module, DTYPES[wanted])
    plainly = theirs(cls, folder, DTYPES[wanted])
    plainly.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=DTYPES[wanted])
    check_same(module, plainly)
    assert before == {name: tensor.data_ptr() for name, tensor in module.named_parameters()}, "all was stored as read"
    assert {tensor.dtype for tensor in module.parameters()} == {torch.float8_e4m3fn, DTYPES[wanted]}


def test_the_variant_asked_for_is_read(models: dict[str, Path], tmp_path: Path) -> None:
    cls = diffusers.UNet2DConditionModel
    folder = stored(models["sd1"] / "unet", tmp_path / "unet", torch.float32)
    rough = load_file(folder / "diffusion_pytorch_model.safetensors")
    halves = {name: (tensor * 2).half() for name, tensor in rough.items()}
    save_file(halves, folder / "diffusion_pytorch_model.fp16.safetensors", metadata={"format": "pt"})
    for variant in (None, "fp16"):
        module, _ = weights.load_converted_component(cls, folder, variant, torch.bfloat16)
        check_same(module, theirs(cls, folder, torch.bfloat16, variant=variant))


@pytest.mark.parametrize("wanted", ["fp16", "bf16"])
def test_layers_that_stay_in_fp32_and_tied_ones(tmp_path: Path, wanted: str) -> None:
    """T5: its last projections overflow in fp16, and its embedding has two names and is stored under one."""
    torch.manual_seed(0)
    config = transformers.T5Config(vocab_size=64, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4)
    encoder = transformers.T5EncoderModel(config)
    encoder.save_pretrained(tmp_path)
    module, missing = weights.load_converted_component(transformers.T5EncoderModel, tmp_path, None, DTYPES[wanted])
    expected = theirs(transformers.T5EncoderModel, tmp_path, DTYPES[wanted])
    check_same(module, expected)
    assert not missing
    assert tied(module) == tied(expected) == [{"shared.weight", "encoder.embed_tokens.weight"}]
    kept = {name for name, tensor in module.named_parameters() if tensor.dtype == torch.float32}
    assert bool(kept) is (wanted == "fp16")
    for name in kept:
        assert torch.equal(module.get_parameter(name), encoder.get_parameter(name))


def test_numbers_that_are_whole_stay_so(models: dict[str, Path], tmp_path: Path) -> None:
    """Files of older versions of transformers hold the positions, as int64."""
    folder = stored(models["sd1"] / "text_encoder", tmp_path, torch.float32)
    tensors = load_file(folder / "model.safetensors")
    positions = torch.arange(77)[None]
    named = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in tensors.items()}
    named["text_model.embeddings.position_ids"] = positions
    save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
    assert weights.load_converted((folder / "model.safetensors",), torch.bfloat16)[
        "text_model.embeddings.position_ids"
    ].equal(positions)
    module, missing = weights.load_converted_component(transformers.CLIPTextModel, folder, None, torch.bfloat16)
    assert not missing
    check_same(module, theirs(transformers.CLIPTextModel, folder, torch.bfloat16))


def test_what_is_more_than_filling_in_is_left_to_the_libraries(models: dict[str, Path], tmp_path: Path) -> None:
    cls = diffusers.AutoencoderKL
    folder = stored(models["sd1"] / "vae", tmp_path, torch.float32)
    assert weights.load_converted_component(cls, folder, None, torch.float32)[0] is None  # mapped, at no cost
    file = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for name, tensor in tensors.items():
        for new, before in old.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{before}.")
        renamed[name] = tensor
    assert renamed.keys() != tensors.keys()
    save_file(renamed, file, metadata={"format": "pt"})
    assert weights.load_converted_component(cls, folder, None, torch.bfloat16)[0] is None  # names of the oldest files
    device_config = DeviceConfig("cpu", "bf16")
    model = registry.resolve_model(str(tiny_models.sd1(tmp_path / "model")), offline=True)
    save_file(renamed, model.path / "vae" / file.name, metadata={"format": "pt"})
    check_same(
        components.load_component(cls, model, "vae", device_config), theirs(cls, model.path / "vae", torch.bfloat16)
    )


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_what_lacks_a_tensor_is_refused_in_every_precision(tmp_path: Path, part: str) -> None:
    folder = tiny_models.sd1(tmp_path / "model")
    (file,) = (folder / part).glob("*.safetensors")
    tensors = load_file(file)
    lost = next(name for name in sorted(tensors) if name.endswith("weight") and tensors[name].ndim > 1)
    del tensors[lost]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ModelUnavailableError, match=f"The {part} of .* lacks 1 of its tensors") as raised:
        generate(Txt2Img(model=str(folder), dtype="bf16", device="cpu", **FAST))
    assert lost in raised.value.message
    assert not pipeline_cache._cache


@pytest.mark.parametrize("part", ["vae", "text_encoder"])
def test_what_has_another_shape_is_refused_in_every_precision(tmp_path: Path, part: str) -> None:
    folder = tiny_models.sd1(tmp_path / "model")
    (file,) = (folder / part).glob("*.safetensors")
    tensors = load_file(file)
    wide = next(name for name in sorted(tensors) if name.endswith("weight") and tensors[name].ndim > 1)
    tensors[wide] = tensors[wide][1:].contiguous()
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ModelUnavailableError, match="cannot be loaded"):
        generate(Txt2Img(model=str(folder), dtype="bf16", device="cpu", **FAST))


@pytest.fixture
def single_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> registry.ResolvedModel:
    """A tiny model as one file in fp32 with the averages that some have, and its own configuration for it."""
    folder = tiny_models.sd1(tmp_path / "model")
    parts = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    state = to_original_sd1(*(getattr(parts, name).state_dict() for name in ("unet", "vae", "text_encoder")))
    averages = {f"model_ema.{name.replace('.', '')}": tensor for name, tensor in list(state.items())[:5]}
    file = tmp_path / "whole.safetensors"
    save_file({**state, **{name: tensor.clone() for name, tensor in averages.items()}}, file)
    found = registry.resolve_model(str(folder), offline=True)
    monkeypatch.setattr(components, "single_file_config", lambda _: folder)
    return dataclasses.replace(found, path=file, is_file=True)


@pytest.mark.parametrize("wanted", ["bf16", "fp16"])
def test_a_single_file_gives_the_same_tensors(single_file: registry.ResolvedModel, wanted: str) -> None:
    config, dtype = components.single_file_config(single_file), DTYPES[wanted]
    assert weights.load_converted_single_file(single_file.path, config, torch.float32, every) == {}
    assert weights.load_converted_single_file(single_file.path, config, dtype, every).keys() == {"unet", "vae"}
    pipe = components.load_single_file_pipeline(single_file, DeviceConfig("cpu", wanted), no_op, every)
    whole = diffusers.StableDiffusionPipeline.from_single_file(
        str(single_file.path), config=str(config), torch_dtype=dtype, local_files_only=True
    )
    for name in ("unet", "vae", "text_encoder"):
        check_same(getattr(pipe, name), getattr(whole, name))


def test_a_single_file_that_lacks_a_tensor_is_refused(single_file: registry.ResolvedModel) -> None:
    tensors = load_file(single_file.path)
    lost = "model.diffusion_model.middle_block.0.in_layers.2.weight"
    del tensors[lost]
    save_file(tensors, single_file.path)
    with pytest.raises(ModelUnavailableError):
        pipeline_cache.cached(
            ("a file",),
            single_file,
            lambda: components.load_single_file_pipeline(single_file, DeviceConfig("cpu", "bf16"), no_op, every),
        )


MEASURED = """
import sys
from pathlib import Path
import diffusers, torch, transformers
from artgen.engine import weights

def status(field):
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) // 1024

for way in ("ours", "theirs"):
    for folder in map(Path, sys.argv[1:]):
        cls = diffusers.UNet2DModel if folder.name == "unet" else transformers.CLIPTextModel
        Path("/proc/self/clear_refs").write_text("5")  # the most begins anew
        before = status("VmRSS")
        if way == "ours":
            module, _ = weights.read(cls, folder, None, torch.bfloat16)
        else:
            module = cls.from_pretrained(folder, dtype=torch.bfloat16, use_safetensors=True)
        print(way, folder.name, status("VmHWM") - before)
        del module
cls, folder = diffusers.UNet2DModel, Path(sys.argv[2])
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
module, _ = weights.read(cls, folder, None, torch.float32, eighths=True)
weights.in_8_bits(module, torch.float32)
print("ours", "eighths", status("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux how much memory a process took at most")
def test_the_file_does_not_stay_in_memory(tmp_path: Path) -> None:
    """About 100 MiB in fp32, half of that in bf16; diffusers and transformers take the sum of both meanwhile."""
    shape = {"hidden_size": 512, "intermediate_size": 4096, "num_hidden_layers": 6}
    with torch.device("meta"):
        config = transformers.CLIPTextConfig(**shape, vocab_size=64, bos_token_id=0, eos_token_id=1)
        reader = transformers.CLIPTextModel(config)
        unet = diffusers.UNet2DModel(
            block_out_channels=(256, 256), layers_per_block=2, norm_num_groups=8, add_attention=False,
            down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
        )  # fmt: skip
    sizes = {}
    for name, module in (("reader", reader), ("unet", unet)):
        filled = module.to_empty(device="cpu")
        for tensor in filled.state_dict().values():
            tensor.fill_(0)
        filled.save_pretrained(tmp_path / name)
        sizes[name] = sum(tensor.nbytes for tensor in filled.state_dict().values()) >> 20
        assert sizes[name] > 90
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURED, *(str(tmp_path / name) for name in sizes)],
        capture_output=True, text=True, check=True, timeout=600,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"},  # what is let go of goes back to the system
    )  # fmt: skip
    taken = {(way, name): int(most) for way, name, most in map(str.split, ran.stdout.splitlines())}
    assert taken["ours", "eighths"] < 0.25 * sizes["unet"] + 40, (taken, sizes)
    for name, size in sizes.items():
        assert taken["ours", name] < 0.5 * size + 40, (taken, sizes)
        assert taken["theirs", name] > 1.3 * size, (taken, sizes)  # else the test could not fail
