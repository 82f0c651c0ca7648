"""Rows: the most memory in every memory mode, and what it costs."""

from measuring import Row
from workshop import PROMPT, Workshop, library, plain


def rows(workshop: Workshop) -> list[Row]:
    model = workshop.path("sd15")
    drawn = {"prompt": PROMPT, "seed": 0, "steps": 1, "guidance_scale": 1.0, "width": 768, "height": 768}
    words = ("--steps", 1, "--guidance", 1, "--size", 768)
    return [
        Row(
            "modes", "Memory on the CPU: Stable Diffusion 1.5, 1 step, 768x768",
            (
                plain("plain diffusers, fp32", model, *words),
                library("artgen, fp32", model, dtype="fp32", **drawn),
                library("artgen, fp32, `--vae-tiling`", model, dtype="fp32", vae_tiling=True, **drawn),
                library("artgen, bf16", model, dtype="bf16", **drawn),
            ),
            rounds=1, needs=("sd15",),
        ),
    ]  # fmt: skip
