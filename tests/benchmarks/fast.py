"""Measure the speedup and the error of the presets of `--fast`, and write the section `fast` of `RESULTS.md`.

    python tests/benchmarks/fast.py [PROMPTS]

Generates images with the bundled model in one process; for each prompt, all variants run in turns. Ratios are of CPU
time, per prompt; the table shows their medians. Smaller numbers of steps are shown for comparison. The second table
measures the UNet of Stable Diffusion 1.5 at full size with random weights, which do not allow a statement on quality.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import results
import torch

import artgen
from artgen import Txt2Img, generate
from artgen.engine.acceleration.fast_hooks import with_approximations
from artgen.engine.loading.pipeline_cache import silence_libraries
from artgen.engine.metrics import psnr, vae_feature_distance

OBJECTS = ("fox", "cat", "dog", "apple", "car", "tree", "house", "star", "rose", "owl", "key", "guitar")
COLORS = ("red", "blue", "green", "yellow")
VARIANTS: dict[str, dict[str, Any]] = {
    "exact": {},
    "`cache`": {"fast": "cache"},
    "20 steps, exact": {"steps": 20},
    "15 steps, exact": {"steps": 15},
    "12 steps, exact": {"steps": 12},
}
UNET_CALLS = 9
TITLE = """## `fast.py`: speedup and error of `--fast`

Compared with the exact image of the same seed, in turns; CPU time, medians. The perceptual distance is
`artgen.engine.metrics.vae_feature_distance`. `tiny-decoder` and `lcm` need a download and are not measured here."""
CONCLUSION = """\
With the bundled model, fewer steps have a smaller error than `cache` at the same speed (15 steps). Its denoiser is
small and its images are simple. At the size of Stable Diffusion 1.5, the speedup of `cache` is larger than here.

8-bit weights with torchao 0.18 were measured and are not offered: on this CPU, int8 weights reach 0.94 times the speed
(56.4 dB), int8 weights and activations 0.56 (49.3 dB), fp8 weights 0.54 (42.1 dB; four prompts). They have not been
measured on a GPU, nor has `--acceleration`."""
FULL_SIZE_TITLE = "The UNet of Stable Diffusion 1.5 with guidance, latents of a 256x256 image, bf16, random weights:"


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result and the CPU time in seconds."""
    started = time.process_time()
    result = work()
    return result, time.process_time() - started


def measure_bundled_model(num_prompts: int) -> tuple[list[str], dict[str, Any]]:
    """Measure images of the bundled model with 30 steps of its own scheduler. Return a table and its numbers."""
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in VARIANTS}
    generate(Txt2Img(model="tiny", prompt="a fox", seed=0, steps=2))
    for number in range(num_prompts):
        prompt = f"a {COLORS[number % 4]} {OBJECTS[number // 4 % len(OBJECTS)]}"
        request = Txt2Img(model="tiny", prompt=prompt, seed=number, steps=30)
        exact, exact_seconds = np.zeros(0), 0.0
        for name, changes in VARIANTS.items():
            generated, seconds = timed(lambda changes=changes, request=request: generate(request.replace(**changes)))
            pixels = np.asarray(generated.image).astype(float)
            if name == "exact":
                exact, exact_seconds = pixels, seconds
            rows[name].append((exact_seconds / seconds, psnr(pixels, exact), vae_feature_distance(pixels, exact)))
    lines = [
        f"| {num_prompts} prompts, 30 steps | x exact | PSNR, dB | worst | perceptual | worst |",
        "|---" * 6 + "|",
    ]
    for name, values in rows.items():
        speedups, psnrs, distances = zip(*values, strict=True)
        lines.append(
            f"| {name} | {statistics.median(speedups):.2f} | {statistics.median(psnrs):.1f} | {min(psnrs):.1f} "
            f"| {statistics.median(distances):.3f} | {max(distances):.3f} |"
        )
    return lines, rows


def measure_full_size_unet(rounds: int = 3) -> tuple[list[str], dict[str, Any]]:
    """Measure the calls of Stable Diffusion 1.5's UNet for a 256x256 image. Return a table and its numbers."""
    from diffusers import UNet2DConditionModel

    configs = Path(artgen.__file__).parent / "assets" / "configs" / "sd1.json"
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with silence_libraries():
        unet = UNet2DConditionModel.from_config(json.loads(configs.read_text("utf-8"))["unet/config.json"]).eval()
    pipe = type("Pipe", (), {"unet": unet, "num_timesteps": UNET_CALLS})()
    inputs = torch.randn(2, 4, 32, 32), 500
    prompt_embeds = torch.randn(2, 77, 768)

    def run(fast: str | None) -> None:
        with torch.no_grad(), with_approximations(pipe, fast):
            for _ in range(UNET_CALLS):
                unet(*inputs, encoder_hidden_states=prompt_embeds, return_dict=False)

    seconds: dict[str | None, list[float]] = {None: [], "cache": []}
    for _ in range(rounds):
        for fast, values in seconds.items():
            values.append(timed(lambda fast=fast: run(fast))[1])
    lines = [f"| UNet, {UNET_CALLS} steps | seconds | x exact |", "|---|---|---|"]
    for fast, values in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds[None], values, strict=True))
        lines.append(f"| {f'`{fast}`' if fast else 'exact'} | {statistics.median(values):.1f} | {ratio:.2f} |")
    return lines, {fast or "exact": values for fast, values in seconds.items()}


def main(args: Sequence[str]) -> None:
    bundled_table, bundled = measure_bundled_model(int(args[0]) if args else 24)
    unet_table, seconds = measure_full_size_unet()
    heading = f"{results.machine()}, {results.today()}."
    text = "\n".join([TITLE, "", heading, "", *bundled_table, "", FULL_SIZE_TITLE, "", *unet_table, "", CONCLUSION])
    results.write("fast", text, {"bundled": bundled, "sd15": seconds})


if __name__ == "__main__":
    main(sys.argv[1:])
