"""artgen's library drawing one picture: tells the median seconds of a step, and the GPU's memory.

    ours.py MODEL OUT SETTINGS

SETTINGS is JSON: what `Txt2Img` takes.
"""

import itertools
import json
import statistics
import sys
import time
from pathlib import Path

from artgen import Txt2Img, generate
from artgen.events import Event, StepEvent

model, out, settings = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
ends: list[tuple[float, float]] = []


def listen(event: Event) -> None:
    if isinstance(event, StepEvent) and event.completed_steps:
        if on_gpu:
            import torch

            torch.cuda.synchronize()
        ends.append((time.monotonic(), time.process_time()))


on_gpu = settings.get("device", "cpu").startswith("cuda")
picture = generate(Txt2Img(model=model, **settings), listener=listen)
picture.image.save(out / "00000.png")
told = {}
if len(ends) > 1:
    for which, name in enumerate(("step", "step_cpu")):
        told[name] = statistics.median(after[which] - before[which] for before, after in itertools.pairwise(ends))
if on_gpu:
    import torch

    told["gpu"] = torch.cuda.max_memory_reserved() / 2**20
print("told: " + json.dumps(told))
