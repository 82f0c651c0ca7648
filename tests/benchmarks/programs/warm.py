"""In one running process, by turns: the pipeline's call alone, the same and `image.save`, and artgen.

    warm.py MODEL ROUNDS SETTINGS

SETTINGS is JSON: what `Txt2Img` takes; prompt and seed are new each round.
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
    """The pipeline alone."""
    return pipe(
        f"a red fox number {number}",
        num_inference_steps=settings["steps"],
        guidance_scale=settings["guidance_scale"],
        width=settings["width"],
        height=settings["height"],
        generator=torch.Generator("cpu").manual_seed(number),
    ).images[0]


def ours(number: int) -> Any:
    """artgen's library."""
    return generate(Txt2Img(model=model, prompt=f"a red fox number {number}", seed=number, **settings))


def saved(number: int) -> None:
    """artgen's library and its files."""
    picture = ours(number)
    destination.save(picture.image, picture.record)


WAYS: dict[str, Callable[[int], Any]] = {
    "the pipeline's call alone": call,
    "plain: call and `image.save`": lambda number: call(number).save(out / f"{number}.png"),
    f"{artgen}: `generate`": ours,
    f"{artgen}: `generate`, written with its record": saved,
}
seconds: dict[str, dict[str, list[float]]] = {name: {"wall": [], "cpu": []} for name in WAYS}
for number in range(-1, rounds):
    for name, way in WAYS.items():
        wall, cpu = time.monotonic(), time.process_time()
        way(number + 1)
        if number >= 0:
            seconds[name]["wall"].append(time.monotonic() - wall)
            seconds[name]["cpu"].append(time.process_time() - cpu)
print("told: " + json.dumps({"ways": seconds}))
