"""How surprise is measured, and from what it is told."""

from dataclasses import dataclass
from pathlib import Path

from artgen.spec.fields import option

ANOMALY_METHODS = ("pixel", "latent")
"""Where noise is added: to the pixels, or to the latents of a Stable Diffusion model."""


@dataclass(frozen=True, kw_only=True)
class AnomalySettings:
    """How a picture is noised and compared, and what is normal."""

    method: str | None = option(
        None,
        "pixel: a diffusion model of pixels (the bundled `denoiser`), for textures and for things alike, with --fit. "
        "latent: Stable Diffusion; without --fit the score is above 0 for what --prompt does not say. [pixel; latent "
        "with --prompt]",
        choices=ANOMALY_METHODS,
    )
    prompt: str | None = option(None, "With latent: what is normal, in words.", flags=("-p", "--prompt"))
    noise_levels: str | None = option(
        None,
        "How much noise, several times. pixel: grey levels, above the model's largest on the picture made smaller. "
        "latent: strengths, 0 to 1. [25,50,100,200,400; latent 0.3,0.5,0.7,0.85]",
        aliases=("--levels",),
        metavar="LIST",
    )
    noise_samples: int | None = option(
        None, "Means over so many draws of noise. [2]", aliases=("--draws",), minimum=1, maximum=64
    )
    seed: int = option(0, "Where the noise starts. [0]", flags=("-s", "--seed"), minimum=0, maximum=2**64 - 1)
    fit: Path | None = option(
        None,
        "What is normal: a folder of pictures without defects, at least 1/alpha - 1 of them (19), or what --save-fit "
        "wrote. Without it there is a score, but no p-value and no verdict.",
        metavar="FOLDER|FILE",
    )
    alpha: float = option(
        0.05,
        "How many normal pictures may be called surprising: the verdict is p <= alpha.",
        minimum=0.001,
        maximum=0.5,
    )
