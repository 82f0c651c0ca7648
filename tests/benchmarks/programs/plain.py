"""The script that every tutorial shows: `from_pretrained`, `.to(device)`, a call, `image.save`.

    plain.py MODEL OUT [--task txt2img] [--prompts FILE] [--steps 30] [--guidance 3.0] [--size 128] ...

One picture, or with `--prompts` one for each line, loading once.
"""

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path

words = argparse.ArgumentParser()
words.add_argument("model")
words.add_argument("out", type=Path)
words.add_argument("--pipeline", default="StableDiffusionPipeline")
words.add_argument("--prompt", default="a red fox in the snow")
words.add_argument("--prompts", type=Path)
words.add_argument("--image", type=Path)
words.add_argument("--mask", type=Path)
words.add_argument("--strength", type=float)
words.add_argument("--config", help="with a single file: where its configurations are")
words.add_argument("--steps", type=int, default=30)
words.add_argument("--guidance", type=float, default=3.0)
words.add_argument("--size", type=int, default=128)
words.add_argument("--dtype", default="float32")
words.add_argument("--device", default="cpu")
words.add_argument("--batch", type=int, default=1)
words.add_argument("--tell", action="store_true", help="tell the median seconds of a step, and the GPU's memory")
given = words.parse_args()

import diffusers  # noqa: E402
import torch  # noqa: E402

cls = getattr(diffusers, given.pipeline)
dtype = getattr(torch, given.dtype)
if given.config:
    pipe = cls.from_single_file(given.model, config=given.config, local_files_only=True, torch_dtype=dtype)
else:
    pipe = cls.from_pretrained(given.model, torch_dtype=dtype)
pipe = pipe.to(given.device)

more = {}
if given.image:
    from PIL import Image

    more["image"] = Image.open(given.image).convert("RGB")
if given.mask:
    more["mask_image"] = Image.open(given.mask).convert("L")
if given.strength is not None:
    more["strength"] = given.strength
if not given.image or given.mask:
    more.update(width=given.size, height=given.size)

ends: list[tuple[float, float]] = []
if given.tell:

    def ended(_pipe: object, _step: int, _timestep: object, values: dict[str, object]) -> dict[str, object]:
        if given.device != "cpu":
            torch.cuda.synchronize()
        ends.append((time.monotonic(), time.process_time()))
        return values

    more["callback_on_step_end"] = ended

prompts = given.prompts.read_text().splitlines() if given.prompts else [given.prompt]
for first in range(0, len(prompts), given.batch):
    together = prompts[first : first + given.batch]
    numbers = range(first, first + len(together))
    images = pipe(
        [prompt.split(" --")[0] for prompt in together],
        num_inference_steps=given.steps,
        guidance_scale=given.guidance,
        generator=[torch.Generator("cpu").manual_seed(number) for number in numbers],
        **more,
    ).images
    for number, image in zip(numbers, images, strict=True):
        image.save(given.out / f"{number:05}.png")

if given.tell:
    told = {
        name: statistics.median(after[which] - before[which] for before, after in itertools.pairwise(ends))
        for which, name in enumerate(("step", "step_cpu"))
    }
    if given.device != "cpu":
        told["gpu"] = torch.cuda.max_memory_reserved() / 2**20
    print("told: " + json.dumps(told))
