"""Test the dtype of `auto`, and VAEs that overflow in fp16."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.image_processor import VaeImageProcessor

from artgen import Txt2Img, generate, replay
from artgen.engine.loading import device
from artgen.engine.loading.device import resolve_device
from artgen.engine.sampling import vae as vae_ops
from artgen.outputs import destination_for_requests
from artgen.spec.settings import OutputSettings


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


@pytest.mark.parametrize(
    ("is_transformer", "supports_bf16", "expected"),
    [(True, True, "bf16"), (True, False, "fp16"), (False, True, "fp16")],
)
def test_auto_is_bf16_for_transformers_on_cuda(
    monkeypatch: pytest.MonkeyPatch, is_transformer: bool, supports_bf16: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supports_bf16)
    assert resolve_device("cuda", "auto", 10**10, is_transformer=is_transformer).dtype == expected
    assert resolve_device("cuda", "fp16", 10**10, is_transformer=is_transformer).dtype == "fp16"


def test_replay_uses_the_recorded_bf16(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_cpu_capabilities(monkeypatch, avx512_bf16=True)
    monkeypatch.setattr(device, "BF16_MIN_MODEL_BYTES", 1)
    generated = generate(Txt2Img(prompt="a fox", model=sd1, seed=3, steps=2, device="cpu"))
    assert generated.record["dtype"] == "bf16"
    saved = destination_for_requests([generated.request], OutputSettings(output="fox.png")).save(
        generated.image, generated.record
    )
    set_cpu_capabilities(monkeypatch)
    replayed = replay(Path(saved), model=sd1)
    assert replayed.record["dtype"] == "bf16"
    assert replayed.image.tobytes() == generated.image.tobytes()
    assert generate(generated.request.replace(dtype="auto")).record["dtype"] == "fp32"


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
