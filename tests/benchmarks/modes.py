"""Rows: the most memory in every memory mode, and what it costs."""

from measuring import Row
from workshop import PROMPT, Workshop, library, plain

from artgen.spec.memory_budget import OFFLOAD_MODES

SDXL = {"prompt": PROMPT, "seed": 0, "steps": 30, "guidance_scale": 5.0, "width": 1024, "height": 1024}
CUDA = {"device": "cuda", "dtype": "fp16"}
AUTO = "artgen, `--offload auto --memory-budget 8GiB`"


def rows(workshop: Workshop) -> list[Row]:
    return [_on_the_cpu(workshop), *_on_cuda(workshop)]


def _on_cuda(workshop: Workshop) -> list[Row]:
    model = workshop.path("sdxl")
    words = ("--pipeline", "StableDiffusionXLPipeline", "--steps", 30, "--guidance", 5, "--size", 1024, "--tell")
    whole = plain("plain diffusers", model, *words, "--device", "cuda", "--dtype", "float16")
    modes = {f"artgen, `--offload {mode}`": {"offload": mode} for mode in OFFLOAD_MODES}
    modes |= {"artgen, `--vae-tiling`": {"vae_tiling": True}, "artgen, `--quantize fp8`": {"quantize": "fp8"}}
    return [
        Row(
            "cuda-8gb", "SDXL in 8 GiB of GPU memory: fp16, 30 steps, 1024x1024, a new process",
            (whole, library(AUTO, model, offload="auto", memory_budget="8GiB", **SDXL, **CUDA)),
            ("wall", "step", "gpu"), rounds=3, needs=("sdxl", "cuda"),
        ),
        Row(
            "cuda-modes", "Memory on CUDA: SDXL, fp16, 30 steps, 1024x1024, a new process",
            (whole, *(library(name, model, **settings, **SDXL, **CUDA) for name, settings in modes.items())),
            ("gpu", "wall", "step", "peak"), rounds=3, needs=("sdxl", "cuda"),
        ),
    ]  # fmt: skip


def _on_the_cpu(workshop: Workshop) -> Row:
    model = workshop.path("sd15")
    drawn = {"prompt": PROMPT, "seed": 0, "steps": 1, "guidance_scale": 1.0, "width": 768, "height": 768}
    all_three = {"offload": "text", "vae_tiling": True, "quantize": "fp8"}
    words = ("--steps", 1, "--guidance", 1, "--size", 768)
    return Row(
            "modes", "Memory on the CPU: Stable Diffusion 1.5, 1 step, 768x768",
            (
                plain("plain diffusers, fp32", model, *words),
                library("artgen, fp32", model, dtype="fp32", **drawn),
                library("artgen, fp32, `--offload text`", model, dtype="fp32", offload="text", **drawn),
                library("artgen, fp32, `--vae-tiling`", model, dtype="fp32", vae_tiling=True, **drawn),
                library("artgen, fp32, `--quantize fp8`", model, dtype="fp32", quantize="fp8", **drawn),
                library("artgen, bf16", model, dtype="bf16", **drawn),
                library("artgen, bf16, all three", model, dtype="bf16", **all_three, **drawn),
            ),
            rounds=1, needs=("sd15",),
        )  # fmt: skip
