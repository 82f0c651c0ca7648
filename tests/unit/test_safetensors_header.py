"""Test the detection of weight files by their headers, and the selection of the configuration of a checkpoint."""

import contextlib
import json
import os
import shutil
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors_files import Shapes, zero_file

from artgen import registry
from artgen.errors import ArtgenError, InputFileError, ModelUnavailableError, RefusedError
from artgen.jobs.anomaly.fit_file import read_fit_header
from artgen.registry import lora, single_file_configs
from artgen.registry.catalog import ASSETS_FOLDER
from artgen.registry.checkpoint_content import inspect_file
from artgen.registry.safetensors_header import MAX_HEADER_BYTES, read_header

M = "model.diffusion_model."
TEXT_KEYS = f"{M}input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight"
VAE = {"first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3)}
SD1: Shapes = {
    f"{M}input_blocks.0.0.weight": (320, 4, 3, 3),
    TEXT_KEYS: (320, 768),
    "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight": (77, 768),
    **VAE,
}
SD2: Shapes = {
    f"{M}input_blocks.0.0.weight": (320, 4, 3, 3),
    TEXT_KEYS: (320, 1024),
    "cond_stage_model.model.token_embedding.weight": (4, 1024),
    **VAE,
}
SDXL: Shapes = {
    f"{M}input_blocks.0.0.weight": (320, 4, 3, 3),
    f"{M}label_emb.0.0.weight": (4, 2816),
    "conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight": (77, 768),
    "conditioner.embedders.1.model.positional_embedding": (77, 1280),
    **VAE,
}
SD3: Shapes = {
    f"{M}joint_blocks.0.context_block.adaLN_modulation.1.bias": (4,),
    f"{M}x_embedder.proj.weight": (4, 16, 2, 2),
    "text_encoders.clip_l.transformer.text_model.embeddings.position_embedding.weight": (4, 4),
    "text_encoders.clip_g.transformer.text_model.embeddings.position_embedding.weight": (4, 4),
    **VAE,
}
FLUX: Shapes = {f"{M}double_blocks.0.img_attn.norm.key_norm.scale": (128,)}


def lora_pair(layer: str, inputs: int, names: tuple[str, str] = ("lora_down", "lora_up")) -> Shapes:
    """Return the two matrices of a LoRA of rank 8."""
    return {f"{layer}.{names[0]}.weight": (8, inputs), f"{layer}.{names[1]}.weight": (320, 8)}


def inpainting(shapes: Shapes) -> Shapes:
    return {**shapes, f"{M}input_blocks.0.0.weight": (320, 9, 3, 3)}


@pytest.mark.parametrize(
    ("shapes", "architecture", "kind", "channels"),
    [
        (SD1, "sd1", "checkpoint", 4),
        (inpainting(SD1), "sd1", "checkpoint", 9),
        (SD2, "sd2", "checkpoint", 4),
        (inpainting(SD2), "sd2", "checkpoint", 9),
        (SDXL, "sdxl", "checkpoint", 4),
        (inpainting(SDXL), "sdxl", "checkpoint", 9),
        (SD3, "sd3", "checkpoint", 16),
        (FLUX, "flux", "unet", None),
        ({k: v for k, v in SD1.items() if k.startswith(M)}, "sd1", "unet", 4),
        ({"encoder.conv_in.weight": (4, 3, 3, 3), "decoder.conv_in.weight": (4, 4, 3, 3)}, "other", "vae", None),
        (VAE, "other", "vae", None),
        (lora_pair("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", 768),
         "sd1", "lora", None),
        (lora_pair("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", 1024),
         "sd2", "lora", None),
        (lora_pair("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k", 2048, ("lora_A", "lora_B")),
         "sdxl", "lora", None),
        (lora_pair("lora_te2_text_model_encoder_layers_0_mlp_fc1", 1280), "sdxl", "lora", None),
        (lora_pair("transformer.transformer_blocks.0.attn.add_q_proj", 1536, ("lora_A", "lora_B")),
         "sd3", "lora", None),
        (lora_pair("transformer.single_transformer_blocks.0.attn.to_q", 3072, ("lora_A", "lora_B")),
         "flux", "lora", None),
        ({"something": (1,)}, "other", "unknown", None),
    ],
)  # fmt: skip
def test_the_content_of_a_file_is_detected(
    tmp_path: Path, shapes: Shapes, architecture: str, kind: str, channels: int | None
) -> None:
    found = inspect_file(zero_file(tmp_path / "file.safetensors", shapes))
    assert (found.architecture, found.kind, found.unet_channels) == (architecture, kind, channels)
    assert (found.dtype, found.tensors) == ("F16", len(shapes))


def test_files_saved_by_diffusers_are_detected(models: dict[str, Path]) -> None:
    for name, channels in {"sd1": 4, "sd1-inpaint": 9}.items():
        found = inspect_file(models[name] / "unet/diffusion_pytorch_model.safetensors")
        assert (found.kind, found.unet_channels, found.layout) == ("unet", channels, "diffusers")
    assert inspect_file(models["sdxl"] / "unet/diffusion_pytorch_model.safetensors").architecture == "sdxl"
    assert inspect_file(models["sd3"] / "transformer/diffusion_pytorch_model.safetensors").architecture == "sd3"
    assert inspect_file(models["sd1"] / "vae/diffusion_pytorch_model.safetensors").kind == "vae"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cut=st.integers(0, 10_000))
def test_every_truncation_is_detected(tmp_path: Path, cut: int) -> None:
    content = zero_file(tmp_path / "full.safetensors", {"a": (10, 3), "b": (7,)}).read_bytes()
    part = tmp_path / "part.safetensors"
    part.write_bytes(content[: cut % len(content)])
    with pytest.raises(InputFileError, match=r"truncated|empty|not a safetensors"):
        read_header(part)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.binary(max_size=300), offset=st.integers(0, 400))
def test_damaged_files_raise_an_artgen_error(tmp_path: Path, data: bytes, offset: int) -> None:
    content = bytearray(zero_file(tmp_path / "full.safetensors", SD1).read_bytes()[:2000])
    content[offset : offset + len(data)] = data
    file = tmp_path / "damaged.safetensors"
    file.write_bytes(bytes(content))
    with pytest.raises(ArtgenError):
        inspect_file(file)


BIG = "9" * 400
ENTRY = '{"dtype":%s,"shape":%s,"data_offsets":%s}'
VALID = ENTRY % ('"F16"', "[1]", "[0,2]")
HOSTILE_ENTRIES = {
    **{f"shape {text[:12]}": ENTRY % ('"F16"', text, "[0,2]") for text in (
        "[1e999]", "[-1]", "[true]", "[1.0]", '["1"]', "[null]", "[[1]]", "{}", "1", "null", '"1"', f"[{BIG}]",
        "[1,1,1,1,1,1,1,1,1]", "[18446744073709551615]", "[NaN]", "[1,-1,-1]",
    )},
    "100,000 dimensions": ENTRY % ('"F16"', f"[{','.join('1' * 100_000)}]", "[0,2]"),
    "100,000 large dimensions": ENTRY % ('"F16"', f"[{','.join(['999999999'] * 100_000)}]", "[0,2]"),
    **{f"dtype {text[:12]}": ENTRY % (text, "[1]", "[0,2]") for text in
       ("16", "null", "[]", '["F16"]', '"f16"', '""', '"X"', "true", '{"F16":1}')},
    **{f"offsets {text[:12]}": ENTRY % ('"F16"', "[1]", text) for text in
       ("[0]", "[0,2,4]", "[2,0]", "[-2,0]", "[0.0,2.0]", "[false,2]", '["0","2"]', "null", "{}", f"[0,{BIG}]",
        "[1e999,2]", "[0,2]]", f"[{','.join('0' * 1_000_000)}]")},
    **{f"entry {text}": text for text in ("1", "null", "[]", '"x"', "{}", "true")},
    "deep": "[" * 100_000 + "]" * 100_000,
    "duplicate": f'{VALID},"a":{VALID}',
    "long name": f'1,"{"x" * 1_000_000}":1',
    **{f"metadata {text[:12]}": f'{VALID},"__metadata__":{text}'
       for text in ("[1]", '"x"', "1", '{"a":1}', '{"a":null}', '{"a":{}}', '{"a":["x"]}')},
}  # fmt: skip
READERS = (read_header, inspect_file, registry.resolve_model, lora.read_lora, read_fit_header)


@pytest.mark.parametrize("name", HOSTILE_ENTRIES)
def test_hostile_headers_raise_one_error_in_every_reader(tmp_path: Path, name: str) -> None:
    text = f'{{"a":{HOSTILE_ENTRIES[name]}}}'.encode()
    file = tmp_path / "hostile.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text + b"\0\0")
    for read in READERS:
        start = time.process_time()
        with pytest.raises((InputFileError, ModelUnavailableError)) as caught:
            read(file if read is not registry.resolve_model else str(file))
        assert len(caught.value.message) < 1000
        assert time.process_time() - start < 5


def test_a_header_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "large.safetensors"
    with file.open("wb") as stream:
        stream.write((99_000_000).to_bytes(8, "little") + b"{")
        stream.truncate(100_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(InputFileError, match="99,000,000 bytes, and artgen reads at most"):
            read_header(file)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_parsing_a_header_takes_at_most_45_times_its_size(tmp_path: Path) -> None:
    file, size = tmp_path / "lists.safetensors", MAX_HEADER_BYTES // 20
    text = b'{"a":[' + b"{}," * (size // 3) + b"{}]}"
    file.write_bytes(len(text).to_bytes(8, "little") + text)
    tracemalloc.start()
    try:
        with pytest.raises(InputFileError, match="not valid"):
            read_header(file)
        assert tracemalloc.get_traced_memory()[1] < 45 * size
    finally:
        tracemalloc.stop()
    assert 45 * MAX_HEADER_BYTES < 500_000_000


@pytest.mark.parametrize("key", [*SD1, *SD3, *FLUX, "conv_in.weight", "pos_embed.proj.weight"])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (1, 1, 1)])
def test_characteristic_tensors_of_other_ranks_are_not_a_bug(tmp_path: Path, key: str, shape: tuple[int, ...]) -> None:
    others = {"down_blocks.0.x": (1,), "time_embedding.linear_1.weight": (1,),
              "transformer_blocks.0.attn.add_q_proj.weight": (1,)}  # fmt: skip
    for shapes in (SD1, SD3, {"attn2.to_k.weight": ()}):
        file = zero_file(tmp_path / "file.safetensors", {**shapes, **others, key: shape})
        assert inspect_file(file).tensors
        with contextlib.suppress(ModelUnavailableError):
            registry.resolve_model(str(file), offline=True)


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin", ".pth"])
def test_pickles_are_rejected_without_opening_them(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"model{suffix}"
    file.write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    file.chmod(0)
    for read in (read_header, lambda path: registry.parse_reference(str(path))):
        with pytest.raises(RefusedError, match="pickle") as caught:
            read(file)
        assert caught.value.exit_code == 5
        assert "safetensors" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "shapes", "metadata", "family", "scheduler", "native_px"),
    [
        ("a", SD1, None, "sd1", "PNDMScheduler epsilon", 512),
        ("a", inpainting(SD1), None, "sd1", "PNDMScheduler epsilon", 512),
        ("a", SD2, None, "sd2", "DDIMScheduler v_prediction", 768),
        ("v2-1-base", SD2, None, "sd2", "PNDMScheduler epsilon", 512),
        ("a", SD2, {"modelspec.prediction_type": "epsilon"}, "sd2", "PNDMScheduler epsilon", 512),
        ("a", inpainting(SD2), None, "sd2", "PNDMScheduler epsilon", 512),
        ("a", SDXL, None, "sdxl", "EulerDiscreteScheduler epsilon", 1024),
        ("a", {**SDXL, "v_pred": ()}, None, "sdxl", "EulerDiscreteScheduler v_prediction", 1024),
        ("a", inpainting(SDXL), None, "sdxl", "EulerDiscreteScheduler epsilon", 1024),
        ("a", SD3, None, "sd3-medium", "FlowMatchEulerDiscreteScheduler epsilon", 1024),
        ("a", {**SD3, f"{M}joint_blocks.0.x_block.attn2.qkv.weight": (4,)}, None, "sd35-medium",
         "FlowMatchEulerDiscreteScheduler epsilon", 1024),
        ("a", {**SD3, f"{M}joint_blocks.37.x_block.mlp.fc1.weight": (4,)}, None, "sd35-large",
         "FlowMatchEulerDiscreteScheduler epsilon", 1024),
    ],
)  # fmt: skip
def test_a_single_file_gets_its_configuration(
    tmp_path: Path,
    name: str,
    shapes: Shapes,
    metadata: dict[str, str] | None,
    family: str,
    scheduler: str,
    native_px: int,
) -> None:
    model = registry.resolve_model(str(zero_file(tmp_path / f"{name}.safetensors", shapes, metadata)))
    assert model.config_folder.name.startswith(f"{family}-")
    config = registry.read_scheduler_config(model.config_folder)
    assert f"{config['_class_name']} {config.get('prediction_type', 'epsilon')}" == scheduler
    assert model.native_size == (native_px, native_px)
    assert model.is_file
    unet = model.config_folder / "unet/config.json"
    assert not unet.is_file() or json.loads(unet.read_text())["in_channels"] == model.unet_channels
    assert ("Inpaint" in model.pipeline) == model.is_inpainting
    index = json.loads((registry.single_file_config(model) / "model_index.json").read_text())
    assert index["_class_name"].startswith("StableDiffusion")
    assert ("Inpaint" in index["_class_name"]) == model.is_inpainting


def test_an_artgen_json_file_overrides_the_detection(tmp_path: Path) -> None:
    zero_file(tmp_path / "mine.safetensors", SD2)
    (tmp_path / "mine.artgen.json").write_text('{"prediction": "epsilon", "width": 512, "height": 640, "steps": 12}')
    model = registry.resolve_model(str(tmp_path / "mine.safetensors"))
    assert (model.prediction, model.native_size, model.steps) == ("epsilon", (512, 640), 12)
    assert registry.read_scheduler_config(model.config_folder)["_class_name"] == "PNDMScheduler"


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (lora_pair("lora_te2_text_model_encoder_layers_0_mlp_fc1", 1280), "is a LoRA for sdxl, not a model"),
        (VAE, "it is a VAE, not a model"),
        (FLUX, "a Flux.1 schnell file without all of its components: The model 'black-forest-labs/FLUX.1-schnell' is"),
        ({k: v for k, v in SD3.items() if "clip" not in k}, "a Stable Diffusion 3 Medium file without all of its"),
        ({"x": (1,)}, r"is not an image model that artgen supports \(1 tensor\)"),
    ],
)
def test_incomplete_checkpoints_are_rejected(tmp_path: Path, shapes: Shapes, message: str) -> None:
    file = zero_file(tmp_path / "part.safetensors", shapes)
    with pytest.raises(ModelUnavailableError, match=message):
        registry.resolve_model(str(file), offline=True)


def test_a_configuration_folder_is_created_once(tmp_path: Path) -> None:
    first = single_file_configs.build_config_folder("sd1", single_file_configs.shipped_config("sd1"))
    mtime_ns = (first / "model_index.json").stat().st_mtime_ns
    assert single_file_configs.build_config_folder("sd1", single_file_configs.shipped_config("sd1")) == first
    assert (first / "model_index.json").stat().st_mtime_ns == mtime_ns
    assert [path.name for path in first.parent.iterdir()] == [first.name]


@pytest.fixture
def pipe() -> Path:
    """Return a pipe that nobody writes to. A function that opens the pipe would wait."""
    os.mkfifo("pipe.safetensors")
    return Path("pipe.safetensors")


@pytest.mark.parametrize(
    "read",
    [
        read_header,
        lora.read_lora,
        lambda path: lora.read_lora(lora.find_lora(str(path))),
        lambda path: lora.read_lora(lora.find_lora("pipe")),
        lambda path: registry.resolve_model(str(path)),
        read_fit_header,
    ],
)
def test_a_pipe_is_refused_without_waiting(pipe: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(InputFileError, match=r"pipe\.safetensors"):
        read(pipe)


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero"])
def test_a_device_is_refused(device: str) -> None:
    for read in (registry.resolve_model, lambda name: lora.read_lora(lora.find_lora(name))):
        with pytest.raises(InputFileError, match=f"'{device}' is a device"):
            read(device)


def test_a_pipe_in_the_folder_of_loras_is_skipped(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("loras").resolve()
    (folder / "sub").mkdir(parents=True)
    pipe.rename(folder / "style.safetensors")
    monkeypatch.setattr("artgen.spec.config.lora_folder", lambda: folder)
    with pytest.raises(InputFileError, match="Cannot find the LoRA 'style'"):
        lora.find_lora("style")
    file = zero_file(folder / "sub" / "style.safetensors", {"x": (1,)})
    assert lora.find_lora("style") == file
    with pytest.raises(InputFileError) as error:
        lora.find_lora("loras")
    assert "style.safetensors" not in error.value.hint


@pytest.mark.parametrize("file", ["unet/diffusion_pytorch_model.safetensors", "unet/config.json", "model_index.json",
                                  "scheduler/scheduler_config.json"])  # fmt: skip
def test_a_pipe_in_a_model_folder_is_refused(tmp_path: Path, file: str) -> None:
    folder = shutil.copytree(ASSETS_FOLDER / "denoiser", tmp_path / "model")
    (folder / file).unlink()
    os.mkfifo(folder / file)
    with pytest.raises(ModelUnavailableError):
        registry.check_model_files(registry.resolve_model(str(folder)))
