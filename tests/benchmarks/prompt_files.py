"""Define the rows for prompt files: 64 prompts to PNG files, and the planning of 100,000 prompts."""

import sys
from dataclasses import replace

from harness import OUT, Row, Variant
from workspace import PROGRAMS, TINY, Workspace, artgen_command, plain_diffusers

SHELL_LOOP = """
import subprocess, sys
artgen, prompts, out = sys.argv[1:-2], sys.argv[-2], sys.argv[-1]
for line in open(prompts):
    prompt, _, seed = line.strip().partition(" --seed ")
    settings = ["--seed", seed, "--steps", "30", "-g", "3", "-m", "tiny", "-o", out + "/"]
    subprocess.run([*artgen, "txt2img", prompt, *settings], check=True)
"""
SHELL_LOOP_PROMPTS = 8
"""Number of prompts for the shell loop; its time is scaled."""
PROMPTS = 64
PLANNED_LINES = 100_000

BATCH_ARGS = ("-m", "tiny", "--steps", 30, "-g", 3, "-o", f"{OUT}/", "--quiet")


def rows(workspace: Workspace) -> list[Row]:
    prompts, few = workspace.prompts(PROMPTS), workspace.prompts(SHELL_LOOP_PROMPTS)
    args = ("--prompts", prompts, "--steps", 30, "--guidance", 3)
    loop_command = (sys.executable, "-c", SHELL_LOOP, sys.executable, "-m", "artgen", str(few), OUT)
    loop = Variant("shell loop over `artgen txt2img`", loop_command)
    variants = (
        plain_diffusers("plain diffusers, loaded once, batch size 1", TINY, *args),
        plain_diffusers("plain diffusers, loaded once, batch size 8", TINY, *args, "--batch", 8),
        replace(loop, name=f"{loop.name} (from {SHELL_LOOP_PROMPTS} prompts)", scale=PROMPTS / SHELL_LOOP_PROMPTS),
        artgen_command("`artgen batch`", "batch", prompts, *BATCH_ARGS),
        artgen_command("`artgen batch --batch-size 1`", "batch", prompts, *BATCH_ARGS, "--batch-size", 1),
        artgen_command("`artgen batch --batch-size 8`", "batch", prompts, *BATCH_ARGS, "--batch-size", 8),
        artgen_command("`artgen batch --batch-size auto`", "batch", prompts, *BATCH_ARGS, "--batch-size", "auto"),
        artgen_command("`artgen batch --workers 2`", "batch", prompts, *BATCH_ARGS, "--workers", 2),
    )
    planning = (sys.executable, str(PROGRAMS / "planning.py"), OUT, str(PLANNED_LINES))
    return [
        Row(
            "batch", f"{PROMPTS} prompts with the bundled model, 30 steps, 128x128, fp32, to PNG files", variants,
            rounds=3, note="`--batch-size auto` stores the measured batch size for later runs.",
        ),
        Row(
            "planning", f"{PLANNED_LINES:,} lines planned, and resumed with a complete ledger",
            (Variant("artgen", planning),), ("planned", "resumed", "peak"), rounds=3,
        ),
    ]  # fmt: skip
