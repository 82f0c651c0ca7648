"""Rows: 64 prompts to PNG files on the disk, and very many prompts planned."""

import sys
from dataclasses import replace

from measuring import OUT, Row, Way
from workshop import PROGRAMS, TINY, Workshop, command, plain

LOOP = """
import subprocess, sys
artgen, prompts, out = sys.argv[1:-2], sys.argv[-2], sys.argv[-1]
for line in open(prompts):
    words, _, seed = line.strip().partition(" --seed ")
    settings = ["--seed", seed, "--steps", "30", "-g", "3", "-m", "tiny", "-o", out + "/"]
    subprocess.run([*artgen, "txt2img", words, *settings], check=True)
"""
LOOPED = 8
"""Prompts that the shell loop is timed on."""

OURS = ("-m", "tiny", "--steps", 30, "-g", 3, "-o", f"{OUT}/", "--quiet")


def rows(workshop: Workshop) -> list[Row]:
    count = 64
    prompts, few = workshop.prompts(count), workshop.prompts(LOOPED)
    words = ("--prompts", prompts, "--steps", 30, "--guidance", 3)
    loop = Way(
        "shell loop over `artgen txt2img`", (sys.executable, "-c", LOOP, sys.executable, "-m", "artgen", str(few), OUT)
    )
    ways = (
        plain("plain diffusers, loaded once, one by one", TINY, *words),
        plain("plain diffusers, loaded once, eight at a time", TINY, *words, "--batch", 8),
        replace(loop, name=f"{loop.name} (from {LOOPED} prompts)", scale=count / LOOPED),
        command("`artgen batch`", "batch", prompts, *OURS),
        command("`artgen batch --batch-size 1`", "batch", prompts, *OURS, "--batch-size", 1),
        command("`artgen batch --batch-size 8`", "batch", prompts, *OURS, "--batch-size", 8),
        command("`artgen batch --batch-size auto`", "batch", prompts, *OURS, "--batch-size", "auto"),
        command("`artgen batch --workers 2`", "batch", prompts, *OURS, "--workers", 2),
    )
    many = 100_000
    planning = (sys.executable, str(PROGRAMS / "planning.py"), OUT, str(many))
    return [
        Row(
            "batch", f"{count} prompts with the bundled model, 30 steps, 128x128, fp32, to PNG files", ways, rounds=3,
            note="`--batch-size auto` remembers the size that it found from one run to the next.",
        ),
        Row(
            "planning", f"{many:,} lines planned, and looked up in a full ledger",
            (Way("artgen", planning),), ("planned", "resumed", "peak"), rounds=3,
        ),
    ]  # fmt: skip
