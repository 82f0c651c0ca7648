"""Measure each CUDA optimization alone on a plain diffusers pipeline.

    cuda_optimizations.py MODEL RESULT_FILE SETTINGS

SETTINGS is JSON: pipeline, steps, guidance_scale, width, height; optional: device, dtype, rounds. RESULT_FILE is
written after each optimization, so that a time limit loses only the current one.
"""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch

from artgen.engine.acceleration.apply import OptimizationError, optimized
from artgen.engine.acceleration.policy import OptimizationPlan

PLANS = {
    "plain diffusers": OptimizationPlan(),
    "CUDA graph": OptimizationPlan(cuda_graph=True),
    "channels last": OptimizationPlan(channels_last=True),
    "fused QKV": OptimizationPlan(fused_qkv=True),
    "bf16 decoder": OptimizationPlan(bf16_decoder=True),
    "full without compilation": OptimizationPlan(
        cuda_graph=True, channels_last=True, fused_qkv=True, bf16_decoder=True
    ),
    "compiled, channels last": OptimizationPlan(compiled=True, channels_last=True),
    "plain diffusers, at the end": OptimizationPlan(),
}

model, result_file, settings = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
device, rounds = settings.get("device", "cuda"), settings.get("rounds", 5)
dtype = {"fp16": torch.float16, "fp32": torch.float32}[settings.get("dtype", "fp16")]


def load() -> Any:
    cls = getattr(diffusers, settings["pipeline"])
    pipe = cls.from_pretrained(model, torch_dtype=dtype).to(device)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def generate(pipe: Any, seed: int) -> tuple[np.ndarray, float]:
    """Return the pixels, shape (H, W, 3), 0 to 255, and the wall time in seconds."""
    started = time.monotonic()
    image = pipe(
        "a red fox in the snow",
        num_inference_steps=settings["steps"],
        guidance_scale=settings["guidance_scale"],
        width=settings["width"],
        height=settings["height"],
        generator=torch.Generator("cpu").manual_seed(seed),
    ).images[0]
    return np.asarray(image).astype(int), time.monotonic() - started


def measure(pipe: Any, plan: OptimizationPlan, expected: list[np.ndarray]) -> tuple[dict[str, Any], list[np.ndarray]]:
    if device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    images, seconds = [], []
    for number in range(rounds + 1):  # The first call applies the optimization.
        with optimized(pipe, plan):
            image, wall = generate(pipe, number)
        images.append(image)
        seconds.append(wall)
    values: dict[str, Any] = {
        "seconds": statistics.median(seconds[1:]),
        "all_seconds": seconds[1:],
        "first_seconds": seconds[0],
        "peak_mib": torch.cuda.max_memory_reserved() / 2**20 if device != "cpu" else 0.0,
        "max_gray_difference": max(
            (int(abs(a - b).max()) for a, b in zip(images, expected or images, strict=True)), default=0
        ),
    }
    return values, images


pipe, expected, measured = load(), [], {}
for name, plan in PLANS.items():
    try:
        measured[name], images = measure(pipe, plan, expected)
        expected = expected or images
        measured[name]["speedup"] = measured["plain diffusers"]["seconds"] / measured[name]["seconds"]
    except (OptimizationError, RuntimeError) as error:
        measured[name] = {"error": str(error)}
        pipe = None
        if device != "cpu":
            torch.cuda.empty_cache()
        pipe = load()
    result = {
        "device": torch.cuda.get_device_name() if device != "cpu" else "cpu",
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "settings": settings,
        "optimizations": measured,
    }
    result_file.write_text(json.dumps(result, indent=1), "utf-8")
    print(name, measured[name], flush=True)
