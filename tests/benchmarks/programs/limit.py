"""Many prompts to PNG files: what share of the processor's own rate of matrix products the drawing reaches.

    limit.py MODEL OUT PROMPTS BATCH_SIZE SETTINGS [plain|pinned]

The work of a picture is counted over the denoiser's calls (torch's FlopCounterMode); the limit is the rate of one
large product of the same dtype on the same device. Tells `wall` (without loading) and `limit` (0 to 1). SETTINGS is
JSON: what `Txt2Img` takes. `pinned` lets torch choose among deterministic algorithms only.
"""

import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch.utils.flop_counter import FlopCounterMode

from artgen import GeneratedImage, Txt2Img, generate_all, outputs
from artgen.spec.settings import OutputSettings

if sys.argv[6:] == ["pinned"]:
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read when CUDA starts
    torch.use_deterministic_algorithms(True, warn_only=True)
model, out, lines, size = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
settings = json.loads(sys.argv[5])
prompts = [line.split(" --")[0] for line in lines.read_text().splitlines()]
device = settings["device"]
dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[settings["dtype"]]
cls = getattr(diffusers, settings.pop("pipeline", "StableDiffusionPipeline"))


def wait() -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def rate() -> float:
    """Operations a second of one large matrix product: the best of ten."""
    side = 8192 if device != "cpu" else 2048
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        wait()
        began = time.monotonic()
        left @ right
        wait()
        best = min(best, time.monotonic() - began)
    return 2 * side**3 / best


def plainly(pipe: Any, texts: list[str]) -> None:
    for first in range(0, len(texts), size):
        together = texts[first : first + size]
        images = pipe(
            together,
            num_inference_steps=settings["steps"],
            guidance_scale=settings["guidance_scale"],
            width=settings["width"],
            height=settings["height"],
            generator=[torch.Generator("cpu").manual_seed(first + number) for number in range(len(together))],
        ).images
        for number, image in enumerate(images):
            image.save(out / f"{first + number:05}.png")


def ours(texts: list[str]) -> None:
    requests = [Txt2Img(model=model, prompt=text, seed=seed, **settings) for seed, text in enumerate(texts)]
    destination = outputs.destination_for_requests(requests, OutputSettings(output=f"{out}/"))
    for outcome in generate_all(requests, batch_size=size):
        if not isinstance(outcome, GeneratedImage):
            raise outcome.error
        destination.save(outcome.image, outcome.record)


def operations() -> float:
    """Of the denoiser's calls for one picture."""
    pipe = cls.from_pretrained(model, torch_dtype=dtype).to(device)
    pipe.set_progress_bar_config(disable=True)
    denoiser, steps = getattr(pipe, "unet", None) or pipe.transformer, settings["steps"]
    counted = []

    def count(module: Any, arguments: Any, words: Any) -> None:
        if not counted:
            counted.append(0.0)
            with FlopCounterMode(display=False) as counter:
                module(*arguments, **words)
            counted[0] = counter.get_total_flops()

    hook = denoiser.register_forward_pre_hook(count, with_kwargs=True)
    pipe(
        prompts[0], num_inference_steps=1, guidance_scale=settings["guidance_scale"],
        width=settings["width"], height=settings["height"],
    )  # fmt: skip
    hook.remove()
    return float(counted[0]) * steps


work, limit = operations(), rate()
if device != "cpu":  # what drawing takes, not what counting took
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
if sys.argv[6:] == ["plain"]:
    pipe = cls.from_pretrained(model, torch_dtype=dtype).to(device)
    pipe.set_progress_bar_config(disable=True)
    draw = lambda texts: plainly(pipe, texts)  # noqa: E731 - either of two
else:
    draw = ours
draw(prompts[:size])  # loads, and finds the fastest kernels
for path in out.glob("*.png"):
    path.unlink()
wait()
began = time.monotonic()
draw(prompts)
wait()
wall = time.monotonic() - began
told = {"wall": wall, "limit": work * len(prompts) / wall / limit}
if device != "cpu":
    told["gpu"] = torch.cuda.max_memory_reserved() / 2**20
print("told: " + json.dumps(told))
