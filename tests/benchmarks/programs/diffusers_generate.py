"""Generate images as a diffusers tutorial does: `from_pretrained`, `.to(device)`, a call, `image.save`.

    diffusers_generate.py MODEL OUT [--task txt2img] [--prompts FILE] [--steps 30] [--guidance 3.0] [--size 128] ...

Generates one image, or one for each line of `--prompts` with the model loaded once.
"""

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("out", type=Path)
parser.add_argument("--pipeline", default="StableDiffusionPipeline")
parser.add_argument("--prompt", default="a red fox in the snow")
parser.add_argument("--prompts", type=Path)
parser.add_argument("--image", type=Path)
parser.add_argument("--mask", type=Path)
parser.add_argument("--strength", type=float)
parser.add_argument("--config", help="folder of configurations, for a single file")
parser.add_argument("--steps", type=int, default=30)
parser.add_argument("--guidance", type=float, default=3.0)
parser.add_argument("--size", type=int, default=128)
parser.add_argument("--dtype", default="float32")
parser.add_argument("--device", default="cpu")
parser.add_argument("--batch", type=int, default=1)
parser.add_argument("--report", action="store_true", help="report the median time of a step and the peak GPU memory")
args = parser.parse_args()

import diffusers  # noqa: E402
import torch  # noqa: E402

cls = getattr(diffusers, args.pipeline)
dtype = getattr(torch, args.dtype)
if args.config:
    pipe = cls.from_single_file(args.model, config=args.config, local_files_only=True, torch_dtype=dtype)
else:
    pipe = cls.from_pretrained(args.model, torch_dtype=dtype)
pipe = pipe.to(args.device)

kwargs = {}
if args.image:
    from PIL import Image

    kwargs["image"] = Image.open(args.image).convert("RGB")
if args.mask:
    kwargs["mask_image"] = Image.open(args.mask).convert("L")
if args.strength is not None:
    kwargs["strength"] = args.strength
if not args.image or args.mask:
    kwargs.update(width=args.size, height=args.size)

step_ends: list[tuple[float, float]] = []
if args.report:

    def on_step_end(_pipe: object, _step: int, _timestep: object, values: dict[str, object]) -> dict[str, object]:
        if args.device != "cpu":
            torch.cuda.synchronize()
        step_ends.append((time.monotonic(), time.process_time()))
        return values

    kwargs["callback_on_step_end"] = on_step_end

prompts = args.prompts.read_text().splitlines() if args.prompts else [args.prompt]
for first in range(0, len(prompts), args.batch):
    batch = prompts[first : first + args.batch]
    numbers = range(first, first + len(batch))
    images = pipe(
        [prompt.split(" --")[0] for prompt in batch],
        num_inference_steps=args.steps,
        guidance_scale=args.guidance,
        generator=[torch.Generator("cpu").manual_seed(number) for number in numbers],
        **kwargs,
    ).images
    for number, image in zip(numbers, images, strict=True):
        image.save(args.out / f"{number:05}.png")

if args.report:
    result = {
        name: statistics.median(after[index] - before[index] for before, after in itertools.pairwise(step_ends))
        for index, name in enumerate(("step", "step_cpu"))
    }
    if args.device != "cpu":
        result["gpu"] = torch.cuda.max_memory_reserved() / 2**20
    print("result: " + json.dumps(result))
