"""Define the rows for peak memory and time in each memory mode."""

from harness import Row
from workspace import PROMPT, Workspace, artgen_library, plain_diffusers

from artgen.spec.memory_budget import OFFLOAD_MODES

SDXL = {"prompt": PROMPT, "seed": 0, "steps": 30, "guidance_scale": 5.0, "width": 1024, "height": 1024}
CUDA = {"device": "cuda", "dtype": "fp16"}
AUTO = "artgen, `--offload auto --memory-budget 8GiB`"


def rows(workspace: Workspace) -> list[Row]:
    return [_on_the_cpu(workspace), *_on_cuda(workspace)]


def _on_cuda(workspace: Workspace) -> list[Row]:
    model = workspace.path("sdxl")
    args = ("--pipeline", "StableDiffusionXLPipeline", "--steps", 30, "--guidance", 5, "--size", 1024, "--report")
    plain = plain_diffusers("plain diffusers", model, *args, "--device", "cuda", "--dtype", "float16")
    modes = {f"artgen, `--offload {mode}`": {"offload": mode} for mode in OFFLOAD_MODES}
    modes |= {"artgen, `--vae-tiling`": {"vae_tiling": True}, "artgen, `--quantize fp8`": {"quantize": "fp8"}}
    return [
        Row(
            "cuda-8gb", "SDXL in 8 GiB of GPU memory: fp16, 30 steps, 1024x1024, a new process",
            (plain, artgen_library(AUTO, model, offload="auto", memory_budget="8GiB", **SDXL, **CUDA)),
            ("wall", "step", "gpu"), rounds=3, needs=("sdxl", "cuda"),
        ),
        Row(
            "cuda-modes", "Memory on CUDA: SDXL, fp16, 30 steps, 1024x1024, a new process",
            (plain, *(artgen_library(name, model, **settings, **SDXL, **CUDA) for name, settings in modes.items())),
            ("gpu", "wall", "step", "peak"), rounds=3, needs=("sdxl", "cuda"),
        ),
    ]  # fmt: skip


def _on_the_cpu(workspace: Workspace) -> Row:
    model = workspace.path("sd15")
    settings = {"prompt": PROMPT, "seed": 0, "steps": 1, "guidance_scale": 1.0, "width": 768, "height": 768}
    all_modes = {"offload": "text", "vae_tiling": True, "quantize": "fp8"}
    args = ("--steps", 1, "--guidance", 1, "--size", 768)
    return Row(
            "modes", "Memory on the CPU: Stable Diffusion 1.5, 1 step, 768x768",
            (
                plain_diffusers("plain diffusers, fp32", model, *args),
                artgen_library("artgen, fp32", model, dtype="fp32", **settings),
                artgen_library("artgen, fp32, `--offload text`", model, dtype="fp32", offload="text", **settings),
                artgen_library("artgen, fp32, `--vae-tiling`", model, dtype="fp32", vae_tiling=True, **settings),
                artgen_library("artgen, fp32, `--quantize fp8`", model, dtype="fp32", quantize="fp8", **settings),
                artgen_library("artgen, bf16", model, dtype="bf16", **settings),
                artgen_library("artgen, bf16, `--quantize int8`", model, dtype="bf16", quantize="int8", **settings),
                artgen_library("artgen, bf16, all of these", model, dtype="bf16", **all_modes, **settings),
            ),
            rounds=1, needs=("sd15",),
        )  # fmt: skip
