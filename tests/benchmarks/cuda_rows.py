"""Define the rows that need a CUDA device, and a small throughput row for the CPU."""

import json
import sys
from pathlib import Path
from typing import Any

from harness import OUT, Row, Variant
from workspace import PROGRAMS, PROMPT, TINY, Workspace, artgen_library, plain_diffusers, running_process

SD15 = {"steps": 30, "guidance_scale": 7.5, "width": 512, "height": 512}
SDXL = {"steps": 30, "guidance_scale": 5.0, "width": 1024, "height": 1024}
CUDA = {"device": "cuda", "dtype": "fp16"}
COLUMNS = ("wall", "cpu", "limit", "gpu")
SDXL_PIPELINE = "StableDiffusionXLPipeline"
IMAGES_PER_VARIANT = 5


def rows(workspace: Workspace) -> list[Row]:
    sd15, sdxl = workspace.path("sd15"), workspace.path("sdxl")
    small = {"device": "cpu", "dtype": "fp32", "steps": 30, "guidance_scale": 3.0, "width": 128, "height": 128}
    sdxl_settings = {**SDXL, **CUDA, "pipeline": SDXL_PIPELINE}
    return [
        Row(
            "throughput", "8 prompts with the bundled model, 30 steps, 128x128, fp32, to PNG files, without loading",
            _throughput(TINY, workspace.prompts(8), 4, small), ("wall", "limit"), rounds=3,
        ),
        Row(
            "cuda-new", "One image in a new process: Stable Diffusion 1.5 on CUDA, fp16, 30 steps, 512x512",
            _new_process(sd15, SD15), ("step", "wall", "cpu", "gpu"), needs=("sd15", "cuda"),
        ),
        *_running_process("sd15", "Stable Diffusion 1.5", sd15, SD15),
        Row(
            "cuda-batch", "64 prompts, Stable Diffusion 1.5 on CUDA, fp16, 30 steps, 512x512, to PNG, without loading",
            _throughput(sd15, workspace.prompts(64), 16, {**SD15, **CUDA}), COLUMNS, rounds=3, needs=("sd15", "cuda"),
        ),
        *_running_process("sdxl", "SDXL", sdxl, {**SDXL, "pipeline": SDXL_PIPELINE}),
        Row(
            "cuda-sdxl-batch", "16 prompts, SDXL on CUDA, fp16, 30 steps, 1024x1024, to PNG files, without loading",
            _throughput(sdxl, workspace.prompts(16), 4, sdxl_settings), COLUMNS, rounds=3, needs=("sdxl", "cuda"),
        ),
    ]  # fmt: skip


def _running_process(name: str, label: str, model: Path, settings: dict[str, Any]) -> list[Row]:
    """Return a row for each value of `--acceleration`: each needs its own process, because it changes the pipeline."""
    size = f"{settings['width']}x{settings['height']}"
    title = f"One image in a running process: {label} on CUDA, fp16, 30 steps, {size}"
    return [
        Row(
            f"cuda-{name}{'' if level == 'none' else f'-{level}'}", f"{title}, `--acceleration {level}`",
            (running_process(model, IMAGES_PER_VARIANT, **settings, **CUDA, acceleration=level),), ("wall", "cpu"),
            rounds=1, needs=(name, "cuda"),
        )
        for level in ("none", "exact", "full")
    ]  # fmt: skip


def _new_process(model: Path, settings: dict[str, Any]) -> tuple[Variant, ...]:
    args = (
        "--steps", settings["steps"], "--guidance", settings["guidance_scale"], "--size", settings["width"], "--report",
        "--device", "cuda", "--dtype", "float16",
    )  # fmt: skip
    return (
        plain_diffusers("plain diffusers", model, *args),
        artgen_library("artgen", model, prompt=PROMPT, seed=0, **settings, **CUDA),
    )


def _throughput(model: Path, prompts: Path, batch_size: int, settings: dict[str, Any]) -> tuple[Variant, ...]:
    program = (sys.executable, "-W", "ignore", str(PROGRAMS / "throughput.py"), str(model), OUT, str(prompts))
    encoded, batched = json.dumps(settings), f"artgen, batch size {batch_size}"
    variants = (
        Variant("plain diffusers, batch size 1", (*program, "1", encoded, "plain")),
        Variant(f"plain diffusers, batch size {batch_size}", (*program, str(batch_size), encoded, "plain")),
        Variant("artgen, batch size 1", (*program, "1", encoded)),
        Variant(batched, (*program, str(batch_size), encoded)),
        Variant(f"{batched}, deterministic algorithms", (*program, str(batch_size), encoded, "deterministic")),
    )
    if settings["device"] == "cpu":
        return variants
    full = json.dumps({**settings, "acceleration": "full"})
    return (*variants, Variant(f"{batched}, `--acceleration full`", (*program, str(batch_size), full)))
