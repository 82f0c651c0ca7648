"""What each preset of `--fast` gives: time, and distance from the exact picture; writes its section of `RESULTS.md`.

    python tests/benchmarks/fast.py [PROMPTS]

Draws prompts with the bundled model in one process, all ways by turns for each prompt; ratios are of processor time and
of one prompt, the table has their medians. Fewer steps stand beside the presets, as what anyone would try first. The
second table times the UNet of Stable Diffusion 1.5 at full size with random weights, which say nothing of quality.
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

THINGS = ("fox", "cat", "dog", "apple", "car", "tree", "house", "star", "rose", "owl", "key", "guitar")
COLOURS = ("red", "blue", "green", "yellow")
WAYS: dict[str, dict[str, Any]] = {
    "exact": {},
    "`cache`": {"fast": "cache"},
    "20 steps, exact": {"steps": 20},
    "15 steps, exact": {"steps": 15},
    "12 steps, exact": {"steps": 12},
}
SD15_CALLS = 9
TITLE = """## `fast.py`: what `--fast` gives, and what it costs

Against the exact picture of the same seed; by turns, processor time, medians; the perceptual distance is that of
`artgen.engine.metrics`. `tiny-decoder` and `lcm` need a download and are not measured here."""
VERDICT = """\
Fewer steps lose less with the bundled model, at the same speed: 15 steps against `cache`. Its
denoiser is small and its pictures are simple; at the size of Stable Diffusion 1.5 `cache` saves more than here.

Weights in 8 bits were tried with torchao 0.18 and are not offered: on this processor int8 weights draw at 0.94 times
the speed (56.4 dB), int8 weights and activations at 0.56 (49.3 dB), fp8 weights at 0.54 (42.1 dB; four prompts).
Whether they pay on a GPU waits for one, and so do all figures of `--acceleration`."""
FULL_SIZE = """The UNet of Stable Diffusion 1.5 with guidance, latents of a 256x256 picture, bf16, random weights:"""


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What came out, and seconds of processor time."""
    began = time.process_time()
    result = work()
    return result, time.process_time() - began


def bundled(count: int) -> tuple[list[str], dict[str, Any]]:
    """Pictures of the bundled model, 30 steps of its own scheduler: a table, and its numbers."""
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in WAYS}
    generate(Txt2Img(model="tiny", prompt="a fox", seed=0, steps=2))
    for number in range(count):
        prompt = f"a {COLOURS[number % 4]} {THINGS[number // 4 % len(THINGS)]}"
        request = Txt2Img(model="tiny", prompt=prompt, seed=number, steps=30)
        exact, whole = np.zeros(0), 0.0
        for name, changes in WAYS.items():
            picture, seconds = timed(lambda changes=changes, request=request: generate(request.replace(**changes)))
            pixels = np.asarray(picture.image).astype(float)
            if name == "exact":
                exact, whole = pixels, seconds
            rows[name].append((whole / seconds, psnr(pixels, exact), vae_feature_distance(pixels, exact)))
    lines = [
        f"| {count} prompts, 30 steps | x exact | PSNR, dB | the worst | perceptual | the worst |",
        "|---" * 6 + "|",
    ]
    for name, values in rows.items():
        ratio, signal, distance = zip(*values, strict=True)
        lines.append(
            f"| {name} | {statistics.median(ratio):.2f} | {statistics.median(signal):.1f} | {min(signal):.1f} "
            f"| {statistics.median(distance):.3f} | {max(distance):.3f} |"
        )
    return lines, rows


def full_size(rounds: int = 3) -> tuple[list[str], dict[str, Any]]:
    """Nine calls of Stable Diffusion 1.5's UNet with guidance, for a picture of 256x256: a table, and its numbers."""
    from diffusers import UNet2DConditionModel

    configs = Path(artgen.__file__).parent / "assets" / "configs" / "sd1.json"
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with silence_libraries():
        unet = UNet2DConditionModel.from_config(json.loads(configs.read_text("utf-8"))["unet/config.json"]).eval()
    pipe = type("Pipe", (), {"unet": unet, "num_timesteps": SD15_CALLS})()
    inputs = torch.randn(2, 4, 32, 32), 500
    words = torch.randn(2, 77, 768)

    def draw(fast: str | None) -> None:
        with torch.no_grad(), with_approximations(pipe, fast):
            for _ in range(SD15_CALLS):
                unet(*inputs, encoder_hidden_states=words, return_dict=False)

    ways = (None, "cache")
    seconds: dict[str | None, list[float]] = {fast: [] for fast in ways}
    for _ in range(rounds):
        for fast in ways:
            seconds[fast].append(timed(lambda fast=fast: draw(fast))[1])
    lines = [f"| UNet, {SD15_CALLS} steps | seconds | x exact |", "|---|---|---|"]
    for fast, values in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds[None], values, strict=True))
        lines.append(f"| {f'`{fast}`' if fast else 'exact'} | {statistics.median(values):.1f} | {ratio:.2f} |")
    return lines, {fast or "exact": values for fast, values in seconds.items()}


def main(words: Sequence[str]) -> None:
    pictures, distances = bundled(int(words[0]) if words else 24)
    network, seconds = full_size()
    text = "\n".join(
        [TITLE, "", f"{results.machine()}, {results.today()}.", "", *pictures, "", FULL_SIZE, "", *network, "", VERDICT]
    )
    results.write("fast", text, {"bundled": distances, "sd15": seconds})


if __name__ == "__main__":
    main(sys.argv[1:])
