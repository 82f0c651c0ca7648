"""Generate images for many prompts. Report the fraction of the device's peak matrix rate that is reached.

    throughput.py MODEL OUT PROMPTS BATCH_SIZE SETTINGS [plain|deterministic]

The operations of an image are counted over the denoiser's calls (`FlopCounterMode` of torch). The peak rate is that of
one large matrix product of the same dtype on the same device. Reports `wall` (seconds, without loading) and `limit` (0
to 1). SETTINGS is JSON: settings of `Txt2Img`. `deterministic` enables only deterministic algorithms.
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

if sys.argv[6:] == ["deterministic"]:
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # Read when CUDA is initialized.
    torch.use_deterministic_algorithms(True, warn_only=True)
model, out, prompt_file, batch_size = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
settings = json.loads(sys.argv[5])
prompts = [line.split(" --")[0] for line in prompt_file.read_text().splitlines()]
device = settings["device"]
dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[settings["dtype"]]
cls = getattr(diffusers, settings.pop("pipeline", "StableDiffusionPipeline"))


def synchronize() -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def peak_matrix_rate() -> float:
    """Return the operations per second of one large matrix product: the best of ten runs."""
    side = 8192 if device != "cpu" else 2048
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        synchronize()
        started = time.monotonic()
        left @ right
        synchronize()
        best = min(best, time.monotonic() - started)
    return 2 * side**3 / best


def diffusers_generate(pipe: Any, texts: list[str]) -> None:
    for first in range(0, len(texts), batch_size):
        batch = texts[first : first + batch_size]
        images = pipe(
            batch,
            num_inference_steps=settings["steps"],
            guidance_scale=settings["guidance_scale"],
            width=settings["width"],
            height=settings["height"],
            generator=[torch.Generator("cpu").manual_seed(first + number) for number in range(len(batch))],
        ).images
        for number, image in enumerate(images):
            image.save(out / f"{first + number:05}.png")


def artgen_generate(texts: list[str]) -> None:
    requests = [Txt2Img(model=model, prompt=text, seed=seed, **settings) for seed, text in enumerate(texts)]
    destination = outputs.destination_for_requests(requests, OutputSettings(output=f"{out}/"))
    for outcome in generate_all(requests, batch_size=batch_size):
        if not isinstance(outcome, GeneratedImage):
            raise outcome.error
        destination.save(outcome.image, outcome.record)


def operations_per_image() -> float:
    """Return the operations of the denoiser's calls for one image."""
    pipe = cls.from_pretrained(model, torch_dtype=dtype).to(device)
    pipe.set_progress_bar_config(disable=True)
    denoiser, steps = getattr(pipe, "unet", None) or pipe.transformer, settings["steps"]
    counted = []

    def count(module: Any, args: Any, kwargs: Any) -> None:
        if not counted:
            counted.append(0.0)
            with FlopCounterMode(display=False) as counter:
                module(*args, **kwargs)
            counted[0] = counter.get_total_flops()

    hook = denoiser.register_forward_pre_hook(count, with_kwargs=True)
    pipe(
        prompts[0], num_inference_steps=1, guidance_scale=settings["guidance_scale"],
        width=settings["width"], height=settings["height"],
    )  # fmt: skip
    hook.remove()
    return float(counted[0]) * steps


work, rate = operations_per_image(), peak_matrix_rate()
if device != "cpu":  # Exclude the memory of the operation count.
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
if sys.argv[6:] == ["plain"]:
    pipe = cls.from_pretrained(model, torch_dtype=dtype).to(device)
    pipe.set_progress_bar_config(disable=True)
    generate = lambda texts: diffusers_generate(pipe, texts)  # noqa: E731 - one of two functions
else:
    generate = artgen_generate
generate(prompts[:batch_size])  # Loads the model and selects the kernels.
for path in out.glob("*.png"):
    path.unlink()
synchronize()
started = time.monotonic()
generate(prompts)
synchronize()
wall = time.monotonic() - started
result = {"wall": wall, "limit": work * len(prompts) / wall / rate}
if device != "cpu":
    result["gpu"] = torch.cuda.max_memory_reserved() / 2**20
print("result: " + json.dumps(result))
