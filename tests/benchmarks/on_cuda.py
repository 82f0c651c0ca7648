"""Rows that need a CUDA device, and their small kin that runs anywhere."""

import json
import sys
from pathlib import Path
from typing import Any

from measuring import OUT, Row, Way
from workshop import PROGRAMS, PROMPT, TINY, Workshop, library, plain

SD15 = {"steps": 30, "guidance_scale": 7.5, "width": 512, "height": 512}
SDXL = {"steps": 30, "guidance_scale": 5.0, "width": 1024, "height": 1024}
CUDA = {"device": "cuda", "dtype": "fp16"}
TOLD = ("step", "wall", "cpu", "gpu")
XL = "StableDiffusionXLPipeline"


def rows(workshop: Workshop) -> list[Row]:
    sd15, sdxl, prompts = workshop.path("sd15"), workshop.path("sdxl"), workshop.prompts(64)
    small = {"device": "cpu", "dtype": "fp32", "steps": 30, "guidance_scale": 3.0, "width": 128, "height": 128}
    return [
        Row(
            "limit", "8 prompts with the bundled model, 30 steps, 128x128, fp32, to PNG files, once it runs",
            _limits(TINY, workshop.prompts(8), 4, small), ("wall", "limit"), rounds=3,
        ),
        Row(
            "cuda-sd15", "Stable Diffusion 1.5 on CUDA, fp16, 30 steps, 512x512, a new process",
            _pair(sd15, SD15), TOLD, needs=("sd15", "cuda"),
        ),
        Row(
            "cuda-batch", "64 prompts, Stable Diffusion 1.5 on CUDA, fp16, 30 steps, 512x512, to PNG, once it runs",
            _limits(sd15, prompts, 16, {**SD15, **CUDA}), ("wall", "cpu", "limit", "gpu"),
            rounds=3, needs=("sd15", "cuda"),
        ),
        Row(
            "cuda-sdxl", "SDXL on CUDA, fp16, 30 steps, 1024x1024, a new process",
            _pair(sdxl, SDXL, "--pipeline", XL), TOLD, rounds=3, needs=("sdxl", "cuda"),
        ),
        Row(
            "cuda-sdxl-batch", "16 prompts with SDXL on CUDA, fp16, 30 steps, 1024x1024, to PNG files, once it runs",
            _limits(sdxl, workshop.prompts(16), 4, {**SDXL, **CUDA, "pipeline": XL}),
            ("wall", "cpu", "limit", "gpu"), rounds=3, needs=("sdxl", "cuda"),
        ),
    ]  # fmt: skip


def _pair(model: Path, drawn: dict[str, Any], *more: str) -> tuple[Way, ...]:
    words = ("--steps", drawn["steps"], "--guidance", drawn["guidance_scale"], "--size", drawn["width"], "--tell")
    return (
        plain("plain diffusers", model, *words, "--device", "cuda", "--dtype", "float16", *more),
        library("artgen", model, prompt=PROMPT, seed=0, **drawn, **CUDA),
    )


def _limits(model: Path, prompts: Path, size: int, settings: dict[str, Any]) -> tuple[Way, ...]:
    program = (sys.executable, "-W", "ignore", str(PROGRAMS / "limit.py"), str(model), OUT, str(prompts))
    told = json.dumps(settings)
    return (
        Way("plain diffusers, one by one", (*program, "1", told, "plain")),
        Way(f"plain diffusers, {size} at a time", (*program, str(size), told, "plain")),
        Way("artgen, one by one", (*program, "1", told)),
        Way(f"artgen, {size} at a time", (*program, str(size), told)),
        Way(f"artgen, {size} at a time, deterministic algorithms", (*program, str(size), told, "pinned")),
    )
