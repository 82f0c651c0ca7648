"""Define the rows that compare `--acceleration openvino` with torch, in fp32 and bf16."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from harness import CACHE, Row, Variant
from prompt_files import BATCH_ARGS, PROMPTS
from workspace import PROMPT, TINY, Workspace, artgen_command, artgen_library, plain_diffusers

BF16 = ("--dtype", "bfloat16")
OPENVINO_BF16 = "artgen, `--acceleration openvino --dtype bf16`"
BATCH_OPENVINO_BF16 = "`artgen batch --acceleration openvino --dtype bf16`"
NOTE = "The conversion is the difference between a first run, with an empty cache, and a later run."


def rows(workspace: Workspace) -> list[Row]:
    columns = ("step", "step_cpu", "wall", "cpu", "peak", "cache")
    return [
        Row(
            "openvino", "OpenVINO, one image in a new process: bundled model, 30 steps, 128x128",
            tuple(_variants(TINY, 30, 3.0, 128)), columns, rounds=3, needs=("openvino",), note=NOTE,
        ),
        _batch_row(workspace),
        Row(
            "openvino-sd15",
            "OpenVINO, one image in a new process: Stable Diffusion 1.5, random weights, 3 steps, 512x512",
            tuple(_variants(workspace.path("sd15"), 3, 7.5, 512, compared_with=("bf16",))), columns, rounds=2,
            needs=("sd15", "openvino"), note=NOTE,
        ),
    ]  # fmt: skip


def _variants(
    model: Path, steps: int, guidance_scale: float, side: int, compared_with: Sequence[str] = ("fp32", "bf16")
) -> Iterator[Variant]:
    """Yield plain diffusers, artgen with torch, and artgen with OpenVINO with and without a cached model.

    Args:
        model: folder of the model.
        steps: number of steps.
        guidance_scale: guidance scale.
        side: width and height of the image in pixels.
        compared_with: dtypes of artgen with torch, and of the first runs.
    """
    args = ("--steps", steps, "--guidance", guidance_scale, "--size", side, "--report")
    yield plain_diffusers("plain diffusers, fp32", model, *args)
    yield plain_diffusers("plain diffusers, bf16", model, *args, *BF16)
    settings = {"prompt": PROMPT, "seed": 0, "steps": steps, "guidance_scale": guidance_scale}
    settings |= {"width": side, "height": side, "device": "cpu"}
    for dtype in compared_with:
        yield artgen_library(f"artgen, `--dtype {dtype}`", model, dtype=dtype, **settings)
    for dtype in ("fp32", "bf16"):
        name = f"artgen, `--acceleration openvino --dtype {dtype}`"
        variant = artgen_library(name, model, dtype=dtype, acceleration="openvino", **settings)
        yield variant
        if dtype in compared_with:
            command = ("env", f"XDG_CACHE_HOME={CACHE}", *variant.command)
            yield replace(variant, name=f"{name}, first run", command=command)


def _batch_row(workspace: Workspace) -> Row:
    prompts = workspace.prompts(PROMPTS)
    args = ("--prompts", prompts, "--steps", 30, "--guidance", 3)
    command = ("batch", prompts, *BATCH_ARGS)
    openvino = ("--acceleration", "openvino")
    return Row(
        "openvino-batch", f"OpenVINO: {PROMPTS} prompts with the bundled model, 30 steps, 128x128, to PNG files",
        (
            plain_diffusers("plain diffusers, loaded once, batch size 1, fp32", TINY, *args),
            plain_diffusers("plain diffusers, loaded once, batch size 1, bf16", TINY, *args, *BF16),
            artgen_command("`artgen batch`", *command),
            artgen_command("`artgen batch --dtype bf16`", *command, "--dtype", "bf16"),
            artgen_command("`artgen batch --acceleration openvino`", *command, *openvino),
            artgen_command(BATCH_OPENVINO_BF16, *command, *openvino, "--dtype", "bf16"),
        ),
        rounds=2, needs=("openvino",),
    )  # fmt: skip
