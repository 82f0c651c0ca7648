"""Generate one image with artgen's library. Report the median time of a step and the peak GPU memory.

    artgen_generate.py MODEL OUT SETTINGS

SETTINGS is JSON: settings of `Txt2Img`.
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
step_ends: list[tuple[float, float]] = []


def listen(event: Event) -> None:
    if isinstance(event, StepEvent) and event.completed_steps:
        if on_gpu:
            import torch

            torch.cuda.synchronize()
        step_ends.append((time.monotonic(), time.process_time()))


on_gpu = settings.get("device", "cpu").startswith("cuda")
generated = generate(Txt2Img(model=model, **settings), listener=listen)
generated.image.save(out / "00000.png")
result = {}
if len(step_ends) > 1:
    for index, name in enumerate(("step", "step_cpu")):
        result[name] = statistics.median(
            after[index] - before[index] for before, after in itertools.pairwise(step_ends)
        )
if on_gpu:
    import torch

    result["gpu"] = torch.cuda.max_memory_reserved() / 2**20
print("result: " + json.dumps(result))
