"""Measure in one process, in turns: the pipeline call, the call with `image.save`, and artgen.

    running_process.py MODEL ROUNDS SETTINGS

SETTINGS is JSON: settings of `Txt2Img`. Prompt and seed differ in each round.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch

from artgen import Txt2Img, generate, outputs
from artgen.spec.settings import OutputSettings

model, rounds, settings = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
cls = getattr(diffusers, settings.pop("pipeline", "StableDiffusionPipeline"))
dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[settings["dtype"]]
pipe = cls.from_pretrained(model, torch_dtype=dtype).to(settings.get("device", "cpu"))
pipe.set_progress_bar_config(disable=True)
out = Path(tempfile.mkdtemp())
first = Txt2Img(model=model, **settings)
artgen = f"artgen, `--acceleration {first.acceleration}`" if first.acceleration else "artgen"
destination = outputs.destination_for_requests([first], OutputSettings(output=f"{out}/"))


def call(number: int) -> Any:
    """Call the diffusers pipeline."""
    return pipe(
        f"a red fox number {number}",
        num_inference_steps=settings["steps"],
        guidance_scale=settings["guidance_scale"],
        width=settings["width"],
        height=settings["height"],
        generator=torch.Generator("cpu").manual_seed(number),
    ).images[0]


def artgen_generate(number: int) -> Any:
    """Call artgen's library."""
    return generate(Txt2Img(model=model, prompt=f"a red fox number {number}", seed=number, **settings))


def artgen_save(number: int) -> None:
    """Call artgen's library and write the image with its record."""
    generated = artgen_generate(number)
    destination.save(generated.image, generated.record)


VARIANTS: dict[str, Callable[[int], Any]] = {
    "pipeline call only": call,
    "plain: call and `image.save`": lambda number: call(number).save(out / f"{number}.png"),
    f"{artgen}: `generate`": artgen_generate,
    f"{artgen}: `generate`, written with its record": artgen_save,
}
seconds: dict[str, dict[str, list[float]]] = {name: {"wall": [], "cpu": []} for name in VARIANTS}
for number in range(-1, rounds):
    for name, variant in VARIANTS.items():
        wall, cpu = time.monotonic(), time.process_time()
        variant(number + 1)
        if number >= 0:
            seconds[name]["wall"].append(time.monotonic() - wall)
            seconds[name]["cpu"].append(time.process_time() - cpu)
print("result: " + json.dumps({"variants": seconds}))
