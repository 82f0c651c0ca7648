"""Rows that need a CUDA device, and their small kin that runs anywhere."""

import json
import sys
from pathlib import Path
from typing import Any

from measuring import OUT, Row, Way
from workshop import PROGRAMS, PROMPT, TINY, Workshop, by_turns, library, plain

SD15 = {"steps": 30, "guidance_scale": 7.5, "width": 512, "height": 512}
SDXL = {"steps": 30, "guidance_scale": 5.0, "width": 1024, "height": 1024}
CUDA = {"device": "cuda", "dtype": "fp16"}
SHARES = ("wall", "cpu", "limit", "gpu")
ONE_BY_ONE = "plain diffusers, one by one"
XL = "StableDiffusionXLPipeline"


def rows(workshop: Workshop) -> list[Row]:
    sd15, sdxl = workshop.path("sd15"), workshop.path("sdxl")
    small = {"device": "cpu", "dtype": "fp32", "steps": 30, "guidance_scale": 3.0, "width": 128, "height": 128}
    return [
        Row(
            "limit", "8 prompts with the bundled model, 30 steps, 128x128, fp32, to PNG files, once it runs",
            _limits(TINY, workshop.prompts(8), 4, small), ("wall", "limit"), rounds=3,
        ),
        Row(
            "cuda-new", "One picture in a new process: Stable Diffusion 1.5 on CUDA, fp16, 30 steps, 512x512",
            _pair(sd15, SD15), ("step", "wall", "cpu", "gpu"), needs=("sd15", "cuda"),
        ),
        *_running("sd15", "Stable Diffusion 1.5", sd15, SD15),
        Row(
            "cuda-batch", "64 prompts, Stable Diffusion 1.5 on CUDA, fp16, 30 steps, 512x512, to PNG, once it runs",
            _limits(sd15, workshop.prompts(64), 16, {**SD15, **CUDA}), SHARES, rounds=3, needs=("sd15", "cuda"),
        ),
        *_running("sdxl", "SDXL", sdxl, {**SDXL, "pipeline": XL}),
        Row(
            "cuda-sdxl-batch", "16 prompts with SDXL on CUDA, fp16, 30 steps, 1024x1024, to PNG files, once it runs",
            _limits(sdxl, workshop.prompts(16), 4, {**SDXL, **CUDA, "pipeline": XL}),
            SHARES, rounds=3, needs=("sdxl", "cuda"),
        ),
    ]  # fmt: skip


def _running(name: str, called: str, model: Path, drawn: dict[str, Any]) -> list[Row]:
    """With the levers that change no bit, and with all of them: two processes, for each lays out the model its way."""
    title = f"One picture in a running process: {called} on CUDA, fp16, 30 steps, {drawn['width']}x{drawn['height']}"
    return [
        Row(
            row, f"{title}{'' if level is None else f', `--acceleration {level}`'}",
            (by_turns(model, 12, **drawn, **CUDA, acceleration=level),), ("wall", "cpu"),
            rounds=1, needs=(name, "cuda"),
        )
        for row, level in ((f"cuda-{name}", None), (f"cuda-{name}-full", "full"))
    ]  # fmt: skip


def _pair(model: Path, drawn: dict[str, Any]) -> tuple[Way, ...]:
    words = ("--steps", drawn["steps"], "--guidance", drawn["guidance_scale"], "--size", drawn["width"], "--tell")
    return (
        plain("plain diffusers", model, *words, "--device", "cuda", "--dtype", "float16"),
        library("artgen", model, prompt=PROMPT, seed=0, **drawn, **CUDA),
    )


def _limits(model: Path, prompts: Path, size: int, settings: dict[str, Any]) -> tuple[Way, ...]:
    program = (sys.executable, "-W", "ignore", str(PROGRAMS / "limit.py"), str(model), OUT, str(prompts))
    told, together = json.dumps(settings), f"artgen, {size} at a time"
    ways = (
        Way(ONE_BY_ONE, (*program, "1", told, "plain")),
        Way(f"plain diffusers, {size} at a time", (*program, str(size), told, "plain")),
        Way("artgen, one by one", (*program, "1", told)),
        Way(together, (*program, str(size), told)),
        Way(f"{together}, deterministic algorithms", (*program, str(size), told, "pinned")),
    )
    if settings["device"] == "cpu":
        return ways
    full = json.dumps({**settings, "acceleration": "full"})
    return (*ways, Way(f"{together}, `--acceleration full`", (*program, str(size), full)))
