"""Which precision `auto` means, and attention in bf16."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.image_processor import VaeImageProcessor
from torch.nn import functional

from artgen import Txt2Img, generate, replay
from artgen.engine.acceleration import cpu_attention
from artgen.engine.loading import device
from artgen.engine.loading.device import DeviceConfig, resolve_device
from artgen.engine.sampling import vae as vae_ops
from artgen.outputs import destination_for_requests
from artgen.spec.settings import OutputSettings

ON_CPU = DeviceConfig("cpu", "bf16")


def has(monkeypatch: pytest.MonkeyPatch, **capabilities: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)


def test_auto_is_bf16_for_large_models_on_a_cpu_that_computes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, avx512_bf16=True)
    assert resolve_device("cpu", "auto", device.BF16_MIN_MODEL_BYTES).dtype == "bf16"
    assert resolve_device("cpu", "auto", device.BF16_MIN_MODEL_BYTES - 1).dtype == "fp32"
    assert resolve_device("cpu", "auto").dtype == "fp32"
    assert resolve_device("cpu", "fp32", device.BF16_MIN_MODEL_BYTES).dtype == "fp32"
    has(monkeypatch, avx512_f=True, avx512_bf16=False)
    assert resolve_device("cpu", "auto", device.BF16_MIN_MODEL_BYTES).dtype == "fp32"
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # as in older torch
    assert resolve_device("cpu", "auto", device.BF16_MIN_MODEL_BYTES).dtype == "fp32"


def test_a_picture_says_that_it_was_drawn_in_bf16_and_is_drawn_so_again(
    sd1: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, avx512_bf16=True)
    monkeypatch.setattr(device, "BF16_MIN_MODEL_BYTES", 1)
    made = generate(Txt2Img(prompt="a fox", model=sd1, seed=3, steps=2, device="cpu"))
    assert made.record["dtype"] == "bf16"
    saved = destination_for_requests([made.request], OutputSettings(output="fox.png")).save(made.image, made.record)
    has(monkeypatch)
    again = replay(Path(saved), {"model": sd1})
    assert again.record["dtype"] == "bf16"
    assert again.image.tobytes() == made.image.tobytes()
    assert generate(made.request.replace(dtype="auto")).record["dtype"] == "fp32"


@pytest.mark.parametrize("keys", [1024, 1300])
def test_attention_by_rows_is_as_near_to_the_truth_as_torchs_own(keys: int) -> None:
    draw = torch.Generator().manual_seed(1)
    query, key, value = (torch.randn(2, 2, n, 40, generator=draw) for n in (1100, keys, keys))
    true = functional.scaled_dot_product_attention(query, key, value)
    low = [tensor.bfloat16() for tensor in (query, key, value)]
    torchs = functional.scaled_dot_product_attention(*low)
    with cpu_attention.use_chunked_attention(ON_CPU):
        rows = functional.scaled_dot_product_attention(*low)
        named = functional.scaled_dot_product_attention(query=low[0], key=low[1], value=low[2], scale=0.1)
    assert torch.equal(rows, cpu_attention.chunked_attention(*low))
    assert torch.equal(named, cpu_attention.chunked_attention(*low, 0.1))

    def error(result: torch.Tensor) -> float:
        return float((result.float() - true).square().mean().sqrt())

    assert not torch.equal(rows, torchs)
    assert error(rows) < 1.5 * error(torchs)


def test_what_is_not_plain_long_attention_in_bf16_is_left_to_torch() -> None:
    draw = torch.Generator().manual_seed(1)
    long, short = torch.randn(1, 2, 1024, 8, generator=draw), torch.randn(1, 2, 77, 8, generator=draw)
    mask = torch.rand(1, 1, 1024, 1024, generator=draw).bfloat16()
    half = long.bfloat16()
    calls = [
        ((long, long, long), {}),
        ((half, short.bfloat16(), short.bfloat16()), {}),
        ((half, half, half), {"attn_mask": mask}),
        ((half, half, half, mask), {}),
        ((half, half, half), {"is_causal": True}),
    ]
    for given, more in calls:
        before = functional.scaled_dot_product_attention(*given, **more)
        with cpu_attention.use_chunked_attention(ON_CPU):
            assert torch.equal(functional.scaled_dot_product_attention(*given, **more), before)


def test_fp32_and_gpus_are_left_alone() -> None:
    half = torch.randn(1, 1, 1024, 8).bfloat16()
    own = functional.scaled_dot_product_attention(half, half, half)
    for device_config in (DeviceConfig("cpu", "fp32"), DeviceConfig("cuda", "bf16")):
        with cpu_attention.use_chunked_attention(device_config):
            assert torch.equal(functional.scaled_dot_product_attention(half, half, half), own)


@pytest.mark.parametrize("overflows", [True, False])
def test_autoencoders_that_overflow_in_fp16_work_in_fp32(models: dict[str, Path], overflows: bool) -> None:
    vae = AutoencoderKL.from_pretrained(models["sdxl"] / "vae").half()
    vae.register_to_config(force_upcast=overflows)
    asked: list[torch.dtype] = []
    for part in (vae.encoder, vae.decoder):
        part.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[0].dtype))
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)).mul(2).sub(1).half()
    latents = vae_ops.encode_images(vae, pixels)
    pipe = SimpleNamespace(vae=vae, _execution_device="cpu", image_processor=VaeImageProcessor())
    (picture,) = vae_ops.decode_latents(pipe, latents)
    assert picture is not None
    assert asked == [torch.float32 if overflows else torch.float16] * 2
    assert latents.dtype == vae.dtype == torch.float16
    if overflows:
        with torch.no_grad():
            exact = vae.float().encode(pixels.float()).latent_dist.mode() * vae.config.scaling_factor
        assert torch.equal(latents, exact.half())
