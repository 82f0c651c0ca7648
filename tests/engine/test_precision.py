"""Test the dtype of `auto`, and attention in bf16."""

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


def set_cpu_capabilities(monkeypatch: pytest.MonkeyPatch, **capabilities: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)


def test_auto_is_bf16_for_large_models_on_a_cpu_with_bf16_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    set_cpu_capabilities(monkeypatch, avx512_bf16=True)
    assert resolve_device("cpu", "auto", device.BF16_MIN_MODEL_BYTES).dtype == "bf16"
    assert resolve_device("cpu", "auto", device.BF16_MIN_MODEL_BYTES - 1).dtype == "fp32"
    assert resolve_device("cpu", "auto").dtype == "fp32"
    assert resolve_device("cpu", "fp32", device.BF16_MIN_MODEL_BYTES).dtype == "fp32"
    set_cpu_capabilities(monkeypatch, avx512_f=True, avx512_bf16=False)
    assert resolve_device("cpu", "auto", device.BF16_MIN_MODEL_BYTES).dtype == "fp32"
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # As in older versions of torch.
    assert resolve_device("cpu", "auto", device.BF16_MIN_MODEL_BYTES).dtype == "fp32"


def test_replay_uses_the_recorded_bf16(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_cpu_capabilities(monkeypatch, avx512_bf16=True)
    monkeypatch.setattr(device, "BF16_MIN_MODEL_BYTES", 1)
    generated = generate(Txt2Img(prompt="a fox", model=sd1, seed=3, steps=2, device="cpu"))
    assert generated.record["dtype"] == "bf16"
    saved = destination_for_requests([generated.request], OutputSettings(output="fox.png")).save(
        generated.image, generated.record
    )
    set_cpu_capabilities(monkeypatch)
    replayed = replay(Path(saved), {"model": sd1})
    assert replayed.record["dtype"] == "bf16"
    assert replayed.image.tobytes() == generated.image.tobytes()
    assert generate(generated.request.replace(dtype="auto")).record["dtype"] == "fp32"


@pytest.mark.parametrize("keys", [1024, 1300])
def test_error_of_chunked_attention_is_similar_to_that_of_torch(keys: int) -> None:
    generator = torch.Generator().manual_seed(1)
    query, key, value = (torch.randn(2, 2, n, 40, generator=generator) for n in (1100, keys, keys))
    exact = functional.scaled_dot_product_attention(query, key, value)
    bf16 = [tensor.bfloat16() for tensor in (query, key, value)]
    of_torch = functional.scaled_dot_product_attention(*bf16)
    with cpu_attention.use_chunked_attention(ON_CPU):
        chunked = functional.scaled_dot_product_attention(*bf16)
        named = functional.scaled_dot_product_attention(query=bf16[0], key=bf16[1], value=bf16[2], scale=0.1)
    assert torch.equal(chunked, cpu_attention.chunked_attention(*bf16))
    assert torch.equal(named, cpu_attention.chunked_attention(*bf16, 0.1))

    def error(result: torch.Tensor) -> float:
        return float((result.float() - exact).square().mean().sqrt())

    assert not torch.equal(chunked, of_torch)
    assert error(chunked) < 1.5 * error(of_torch)


def test_torch_computes_attention_that_cannot_be_chunked() -> None:
    generator = torch.Generator().manual_seed(1)
    long, short = torch.randn(1, 2, 1024, 8, generator=generator), torch.randn(1, 2, 77, 8, generator=generator)
    mask = torch.rand(1, 1, 1024, 1024, generator=generator).bfloat16()
    half = long.bfloat16()
    calls = [
        ((long, long, long), {}),
        ((half, short.bfloat16(), short.bfloat16()), {}),
        ((half, half, half), {"attn_mask": mask}),
        ((half, half, half, mask), {}),
        ((half, half, half), {"is_causal": True}),
    ]
    for args, kwargs in calls:
        expected = functional.scaled_dot_product_attention(*args, **kwargs)
        with cpu_attention.use_chunked_attention(ON_CPU):
            assert torch.equal(functional.scaled_dot_product_attention(*args, **kwargs), expected)


def test_chunked_attention_is_only_used_for_bf16_on_the_cpu() -> None:
    half = torch.randn(1, 1, 1024, 8).bfloat16()
    of_torch = functional.scaled_dot_product_attention(half, half, half)
    for device_config in (DeviceConfig("cpu", "fp32"), DeviceConfig("cuda", "bf16")):
        with cpu_attention.use_chunked_attention(device_config):
            assert torch.equal(functional.scaled_dot_product_attention(half, half, half), of_torch)


@pytest.mark.parametrize("overflows", [True, False])
def test_vaes_that_overflow_in_fp16_run_in_fp32(models: dict[str, Path], overflows: bool) -> None:
    vae = AutoencoderKL.from_pretrained(models["sdxl"] / "vae").half()
    vae.register_to_config(force_upcast=overflows)
    dtypes: list[torch.dtype] = []
    for module in (vae.encoder, vae.decoder):
        module.register_forward_pre_hook(lambda _, inputs: dtypes.append(inputs[0].dtype))
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)).mul(2).sub(1).half()
    latents = vae_ops.encode_images(vae, pixels)
    pipe = SimpleNamespace(vae=vae, _execution_device="cpu", image_processor=VaeImageProcessor())
    (image,) = vae_ops.decode_latents(pipe, latents)
    assert image is not None
    assert dtypes == [torch.float32 if overflows else torch.float16] * 2
    assert latents.dtype == vae.dtype == torch.float16
    if overflows:
        with torch.no_grad():
            exact = vae.float().encode(pixels.float()).latent_dist.mode() * vae.config.scaling_factor
        assert torch.equal(latents, exact.half())
