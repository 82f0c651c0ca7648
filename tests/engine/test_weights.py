"""Test weights that are loaded in another dtype: identical tensors, and no memory for the mapped files."""

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
from artgen.engine.loading import components, pipeline_cache, single_files, weights
from artgen.engine.loading.device import DTYPES, DeviceConfig
from artgen.errors import ModelUnavailableError
from artgen.events import no_op

FAST: dict[str, Any] = {"prompt": "a fox", "seed": 1, "steps": 1, "guidance_scale": 1.0}

COMPONENTS = [
    ("sd1", "unet", diffusers.UNet2DConditionModel),
    ("sd1", "vae", diffusers.AutoencoderKL),
    ("sd1", "text_encoder", transformers.CLIPTextModel),
    ("sdxl", "unet", diffusers.UNet2DConditionModel),
    ("sdxl", "text_encoder_2", transformers.CLIPTextModelWithProjection),
    ("sd3", "transformer", diffusers.SD3Transformer2DModel),
    ("sd3", "vae", diffusers.AutoencoderKL),
]


def save_as(source: Path, folder: Path, dtype: torch.dtype, variant: str | None = None, shard: str = "1GB") -> Path:
    """Save a component in another dtype, in one file or in shards."""
    config = json.loads((source / "config.json").read_text())
    library = diffusers if "_class_name" in config else transformers
    module = getattr(library, config.get("_class_name") or config["architectures"][0]).from_pretrained(source)
    module.to(dtype).save_pretrained(folder, variant=variant, max_shard_size=shard)
    return folder


def from_pretrained(cls: Any, folder: Path, dtype: torch.dtype, **kwargs: Any) -> Any:
    return cls.from_pretrained(folder, dtype=dtype, use_safetensors=True, local_files_only=True, **kwargs)


def check_identical(first: torch.nn.Module, second: torch.nn.Module) -> None:
    """Compare all parameters and buffers: name, class, dtype, shape, strides and bytes."""
    for kind in ("named_parameters", "named_buffers"):
        ours, expected_tensors = dict(getattr(first, kind)()), dict(getattr(second, kind)())
        assert list(ours) == list(expected_tensors)
        for name, tensor in ours.items():
            expected = expected_tensors[name]
            properties = [
                (t.dtype, t.shape, t.stride(), t.device, t.requires_grad, type(t)) for t in (tensor, expected)
            ]
            assert properties[0] == properties[1], name
            assert torch.equal(tensor.contiguous().view(torch.uint8), expected.contiguous().view(torch.uint8)), name
    assert list(first.state_dict()) == list(second.state_dict())
    assert first.training is second.training is False


def any_component(_: str) -> bool:
    return True


def tied_names(module: torch.nn.Module) -> list[set[str]]:
    """Return the groups of names that refer to one tensor."""
    groups: dict[int, set[str]] = {}
    for name, tensor in module.named_parameters(remove_duplicate=False):
        groups.setdefault(tensor.data_ptr(), set()).add(name)
    return [group for group in groups.values() if len(group) > 1]


@pytest.mark.parametrize(("kind", "part", "cls"), COMPONENTS)
@pytest.mark.parametrize(("file_dtype", "dtype"), [("fp32", "bf16"), ("fp16", "fp32")])
def test_converted_tensors_equal_those_of_from_pretrained(
    models: dict[str, Path], tmp_path: Path, kind: str, part: str, cls: Any, file_dtype: str, dtype: str
) -> None:
    for shard in ("1GB", "20KB"):
        folder = save_as(models[kind] / part, tmp_path / shard, DTYPES[file_dtype], shard=shard)
        assert len(list(folder.glob("*.safetensors"))) > (0 if shard == "1GB" else 2)
        module, missing = weights.load_converted_component(cls, folder, None, DTYPES[dtype])
        assert not missing
        check_identical(module, from_pretrained(cls, folder, DTYPES[dtype]))


@pytest.mark.parametrize(("kind", "part", "cls"), [COMPONENTS[0], COMPONENTS[3], COMPONENTS[5]])
@pytest.mark.parametrize(("file_dtype", "dtype"), [("fp32", "fp32"), ("fp32", "bf16"), ("fp16", "fp16")])
def test_fp8_weights_equal_those_of_diffusers(
    models: dict[str, Path], tmp_path: Path, kind: str, part: str, cls: Any, file_dtype: str, dtype: str
) -> None:
    folder = save_as(models[kind] / part, tmp_path / part, DTYPES[file_dtype])
    module, _ = weights.load_converted_component(cls, folder, None, DTYPES[dtype], fp8=True)
    addresses = {name: tensor.data_ptr() for name, tensor in module.named_parameters()}
    weights.cast_to_fp8(module, DTYPES[dtype])
    expected = from_pretrained(cls, folder, DTYPES[dtype])
    expected.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=DTYPES[dtype])
    check_identical(module, expected)
    assert addresses == {name: tensor.data_ptr() for name, tensor in module.named_parameters()}  # No tensor was copied.
    assert {tensor.dtype for tensor in module.parameters()} == {torch.float8_e4m3fn, DTYPES[dtype]}


def test_requested_variant_is_loaded(models: dict[str, Path], tmp_path: Path) -> None:
    cls = diffusers.UNet2DConditionModel
    folder = save_as(models["sd1"] / "unet", tmp_path / "unet", torch.float32)
    tensors = load_file(folder / "diffusion_pytorch_model.safetensors")
    doubled = {name: (tensor * 2).half() for name, tensor in tensors.items()}
    save_file(doubled, folder / "diffusion_pytorch_model.fp16.safetensors", metadata={"format": "pt"})
    for variant in (None, "fp16"):
        module, _ = weights.load_converted_component(cls, folder, variant, torch.bfloat16)
        check_identical(module, from_pretrained(cls, folder, torch.bfloat16, variant=variant))


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_fp32_layers_and_tied_weights_of_t5(tmp_path: Path, dtype: str) -> None:
    """The output projections of T5 overflow in fp16. Its embedding has two names and is stored under one name."""
    torch.manual_seed(0)
    config = transformers.T5Config(vocab_size=64, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4)
    encoder = transformers.T5EncoderModel(config)
    encoder.save_pretrained(tmp_path)
    module, missing = weights.load_converted_component(transformers.T5EncoderModel, tmp_path, None, DTYPES[dtype])
    expected = from_pretrained(transformers.T5EncoderModel, tmp_path, DTYPES[dtype])
    check_identical(module, expected)
    assert not missing
    assert tied_names(module) == tied_names(expected) == [{"shared.weight", "encoder.embed_tokens.weight"}]
    fp32_names = {name for name, tensor in module.named_parameters() if tensor.dtype == torch.float32}
    assert bool(fp32_names) is (dtype == "fp16")
    for name in fp32_names:
        assert torch.equal(module.get_parameter(name), encoder.get_parameter(name))


def test_integer_tensors_keep_their_dtype(models: dict[str, Path], tmp_path: Path) -> None:
    """Files of older versions of transformers contain the position ids as int64."""
    folder = save_as(models["sd1"] / "text_encoder", tmp_path, torch.float32)
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
    check_identical(module, from_pretrained(transformers.CLIPTextModel, folder, torch.bfloat16))


def test_files_with_other_names_are_loaded_by_diffusers(models: dict[str, Path], tmp_path: Path) -> None:
    cls = diffusers.AutoencoderKL
    folder = save_as(models["sd1"] / "vae", tmp_path, torch.float32)
    assert weights.load_converted_component(cls, folder, None, torch.float32)[0] is None  # The files have the dtype.
    file = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    old_names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for name, tensor in tensors.items():
        for new, before in old_names.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{before}.")
        renamed[name] = tensor
    assert renamed.keys() != tensors.keys()
    save_file(renamed, file, metadata={"format": "pt"})
    assert (
        weights.load_converted_component(cls, folder, None, torch.bfloat16)[0] is None
    )  # The oldest files have these names.
    device_config = DeviceConfig("cpu", "bf16")
    model = registry.resolve_model(str(tiny_models.sd1(tmp_path / "model")), offline=True)
    save_file(renamed, model.path / "vae" / file.name, metadata={"format": "pt"})
    check_identical(
        components.load_component(cls, model, "vae", device_config),
        from_pretrained(cls, model.path / "vae", torch.bfloat16),
    )


@pytest.mark.parametrize("component", ["unet", "vae", "text_encoder"])
def test_missing_tensor_is_an_error_with_another_dtype(tmp_path: Path, component: str) -> None:
    folder = tiny_models.sd1(tmp_path / "model")
    (file,) = (folder / component).glob("*.safetensors")
    tensors = load_file(file)
    missing = next(name for name in sorted(tensors) if name.endswith("weight") and tensors[name].ndim > 1)
    del tensors[missing]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(
        ModelUnavailableError, match=f"Cannot load the {component} of .* lacks 1 of its tensors"
    ) as raised:
        generate(Txt2Img(model=str(folder), dtype="bf16", device="cpu", **FAST))
    assert missing in raised.value.message


@pytest.mark.parametrize("component", ["vae", "text_encoder"])
def test_tensor_with_another_shape_is_an_error_with_another_dtype(tmp_path: Path, component: str) -> None:
    folder = tiny_models.sd1(tmp_path / "model")
    (file,) = (folder / component).glob("*.safetensors")
    tensors = load_file(file)
    matrix = next(name for name in sorted(tensors) if name.endswith("weight") and tensors[name].ndim > 1)
    tensors[matrix] = tensors[matrix][1:].contiguous()
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ModelUnavailableError, match=f"Cannot load the {component} .* has the shape"):
        generate(Txt2Img(model=str(folder), dtype="bf16", device="cpu", **FAST))


@pytest.fixture
def single_file(tmp_path: Path) -> registry.ResolvedModel:
    """Save a tiny model as one fp32 file with some EMA weights, with its own configuration."""
    folder = tiny_models.sd1(tmp_path / "model")
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    state_dict = to_original_sd1(*(getattr(pipe, name).state_dict() for name in ("unet", "vae", "text_encoder")))
    ema = {f"model_ema.{name.replace('.', '')}": tensor for name, tensor in list(state_dict.items())[:5]}
    file = tmp_path / "checkpoint.safetensors"
    save_file({**state_dict, **{name: tensor.clone() for name, tensor in ema.items()}}, file)
    model = registry.resolve_model(str(folder), offline=True)
    contents = registry.SingleFile(folder, ("unet", "vae", "text_encoder"))
    return dataclasses.replace(model, path=file, is_file=True, single_file=contents)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_single_file_tensors_equal_those_of_diffusers(single_file: registry.ResolvedModel, dtype: str) -> None:
    config, torch_dtype = single_file.config_folder, DTYPES[dtype]
    pipe = single_files.load_single_file_pipeline(single_file, DeviceConfig("cpu", dtype), no_op, any_component)
    expected = diffusers.StableDiffusionPipeline.from_single_file(
        str(single_file.path), config=str(config), torch_dtype=torch_dtype, local_files_only=True
    )
    for name in ("unet", "vae", "text_encoder"):
        check_identical(getattr(pipe, name), getattr(expected, name))


def test_single_file_with_a_missing_tensor_is_an_error(single_file: registry.ResolvedModel) -> None:
    tensors = load_file(single_file.path)
    missing = "model.diffusion_model.middle_block.0.in_layers.2.weight"
    del tensors[missing]
    save_file(tensors, single_file.path)
    with pytest.raises(ModelUnavailableError):
        pipeline_cache.cached(
            ("a file",),
            single_file,
            DeviceConfig("cpu", "bf16"),
            lambda listener: single_files.load_single_file_pipeline(
                single_file, DeviceConfig("cpu", "bf16"), listener, any_component
            ),
            no_op,
        )


MEASURE_MEMORY = """
import sys
from pathlib import Path
import diffusers, torch, transformers
from artgen.engine.loading import weights

def status(field):
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) // 1024

for loader in ("artgen", "libraries"):
    for folder in map(Path, sys.argv[1:]):
        cls = diffusers.UNet2DModel if folder.name == "unet" else transformers.CLIPTextModel
        Path("/proc/self/clear_refs").write_text("5")  # Resets the peak.
        before = status("VmRSS")
        if loader == "artgen":
            module, _ = weights.load_converted_component(cls, folder, None, torch.bfloat16)
        else:
            module = cls.from_pretrained(folder, dtype=torch.bfloat16, use_safetensors=True)
        print(loader, folder.name, status("VmHWM") - before)
        del module
cls, folder = diffusers.UNet2DModel, Path(sys.argv[2])
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
module, _ = weights.load_converted_component(cls, folder, None, torch.float32, fp8=True)
weights.cast_to_fp8(module, torch.float32)
print("artgen", "fp8", status("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
def test_mapped_file_does_not_remain_in_memory(tmp_path: Path) -> None:
    """The components have about 100 MiB in fp32 and half in bf16. The libraries need the sum of both while loading."""
    shape = {"hidden_size": 512, "intermediate_size": 4096, "num_hidden_layers": 6}
    with torch.device("meta"):
        config = transformers.CLIPTextConfig(**shape, vocab_size=64, bos_token_id=0, eos_token_id=1)
        text_encoder = transformers.CLIPTextModel(config)
        unet = diffusers.UNet2DModel(
            block_out_channels=(256, 256), layers_per_block=2, norm_num_groups=8, add_attention=False,
            down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
        )  # fmt: skip
    sizes = {}
    for name, module in (("text_encoder", text_encoder), ("unet", unet)):
        filled = module.to_empty(device="cpu")
        for tensor in filled.state_dict().values():
            tensor.fill_(0)
        filled.save_pretrained(tmp_path / name)
        sizes[name] = sum(tensor.nbytes for tensor in filled.state_dict().values()) >> 20
        assert sizes[name] > 90
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURE_MEMORY, *(str(tmp_path / name) for name in sizes)],
        capture_output=True, text=True, check=True, timeout=600,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"},  # Freed memory is returned to the system.
    )  # fmt: skip
    peaks = {(loader, name): int(peak) for loader, name, peak in map(str.split, result.stdout.splitlines())}
    assert peaks["artgen", "fp8"] < 0.25 * sizes["unet"] + 40, (peaks, sizes)
    for name, size in sizes.items():
        assert peaks["artgen", name] < 0.5 * size + 40, (peaks, sizes)
        assert peaks["libraries", name] > 1.3 * size, (peaks, sizes)  # The test must be able to fail.
