"""How fast a batch is: beside a shell loop, beside a plain diffusers loop, on two workers, and over 100,000 lines.

    python tests/benchmarks/batches.py [PROMPTS]

Draws the same prompts with the bundled model, same seeds and steps, to PNG files; all rows come from one run. Seconds
are wall time; `x` is how many times faster than the row it is compared with. The shell loop is timed on eight prompts.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PLAIN = """
import sys
from pathlib import Path
import torch
from diffusers import DiffusionPipeline
import artgen
pipe = DiffusionPipeline.from_pretrained(Path(artgen.__file__).parent / "assets" / "tiny")
for number, prompt in enumerate(Path(sys.argv[1]).read_text().splitlines()):
    generator = torch.Generator("cpu").manual_seed(number)
    pipe(prompt.split(" --")[0], num_inference_steps=30, guidance_scale=3.0, generator=generator).images[0].save(
        Path(sys.argv[2], f"{number}.png")
    )
"""
"""What every tutorial shows, loading once."""

THINGS = ("fox", "cat", "dog", "apple", "car", "tree", "house", "star")
COLOURS = ("red", "blue", "green", "yellow", "purple", "orange", "pink", "brown")


def timed(work: Callable[[], object]) -> float:
    """Seconds of wall time."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def artgen(*words: object, cores: set[int] | None = None, **environment: str) -> None:
    """Runs artgen in a process of its own, on these cores."""
    command = [sys.executable, "-m", "artgen", *map(str, words), "--quiet"]
    bind = (lambda: os.sched_setaffinity(0, cores)) if cores else None
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, preexec_fn=bind, env={**os.environ, **environment})


def drawing(folder: Path, count: int) -> None:
    """The rows that draw."""
    lines = [f"a {COLOURS[i % 8]} {THINGS[i // 8 % 8]} --seed {i}" for i in range(count)]
    prompts = folder / "prompts.txt"
    prompts.write_text("\n".join(lines))

    def loop() -> None:
        for number, line in enumerate(lines[:8]):
            words = line.split(" --")[0]
            artgen("txt2img", words, "--seed", number, "--steps", 30, "-g", 3, "-m", "tiny", "-o", f"{folder}/loop/")

    def plain() -> None:
        (folder / "plain").mkdir()
        subprocess.run([sys.executable, "-c", PLAIN, prompts, folder / "plain"], check=True, stderr=subprocess.DEVNULL)

    def batch(name: str, *words: object, cores: set[int] | None = None) -> Callable[[], None]:
        common = ("batch", prompts, "-m", "tiny", "--steps", 30, "-g", 3, "-o", folder / name)
        return lambda: artgen(*common, *words, cores=cores)

    first = set(sorted(os.sched_getaffinity(0))[:1])
    seconds = {
        "shell loop": timed(loop) * count / len(lines[:8]),
        "plain diffusers, one by one": timed(plain),
        "artgen batch": timed(batch("one")),
        "artgen batch --batch-size 8": timed(batch("eight", "--batch-size", 8)),
        "artgen batch --batch-size auto": timed(batch("auto", "--batch-size", "auto")),
        "artgen batch, one core": timed(batch("core", cores=first)),
        "artgen batch --workers 2": timed(batch("workers", "--workers", 2)),
    }
    base, single, core = (
        seconds["shell loop"],
        seconds["plain diffusers, one by one"],
        seconds["artgen batch, one core"],
    )
    print(f"| {count} prompts, 30 steps, 128x128 | seconds | x shell loop | x plain diffusers | x one core |")
    print("|---|---|---|---|---|")
    for name, took in seconds.items():
        print(f"| {name} | {took:.1f} | {base / took:.1f} | {single / took:.2f} | {core / took:.2f} |")


def planning(folder: Path, count: int = 100_000) -> None:
    """The rows that plan, and look up what is done."""
    from artgen.batch import prompt_files
    from artgen.batch.ledger import Ledger
    from artgen.batch.plan import Planner
    from artgen.batch.running import Selection, tally

    prompts = folder / "many.txt"
    prompts.write_text("".join(f"a red fox number {i} --seed {i} --steps {10 + i % 20}\n" for i in range(count)))
    out = folder / "many"
    began = time.process_time()
    plan = Planner(out, {"model": "tiny"}).plan(prompt_files.read(prompts))
    planned = time.process_time() - began
    ledger = Ledger(out)
    out.mkdir()
    (out / "artgen-ledger").mkdir()
    with ledger.path.open("w") as file:
        for job in plan.jobs:
            (out / f"{job.number}.png").touch()
            file.write(f'{{"job": "{job.key}", "state": "done", "file": "{job.number}.png", "sha256": "{job.key}"}}\n')
    began = time.process_time()
    counted = tally(plan.jobs, ledger, Selection())
    resumed = time.process_time() - began
    assert counted.done == count
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\n{count:,} lines: planned in {planned:.1f} s of CPU, looked up in a full ledger in {resumed:.1f} s; "
          f"{memory:.0f} MiB at most")  # fmt: skip


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    with tempfile.TemporaryDirectory() as folder:
        planning(Path(folder))
        drawing(Path(folder), count)


if __name__ == "__main__":
    main()
