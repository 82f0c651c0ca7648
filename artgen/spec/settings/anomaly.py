"""Declare the settings of anomaly detection."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from artgen.spec.fields import option as any_option

ANOMALY_METHODS = ("pixel", "latent")

option = partial(any_option, in_config=False, in_prompt_file=False, affects=())


@dataclass(frozen=True, kw_only=True)
class AnomalySettings:
    """Store the method, the noise levels and the normal images."""

    method: str | None = option(
        None,
        "Anomaly method. pixel: pixel-space diffusion model (the bundled `denoiser`). Use it with --fit, for textures "
        "or for images of one kind of object. latent: Stable Diffusion. Without --fit, parts of the image that "
        "--prompt does not describe have a score above 0. [pixel; latent with --prompt]",
        brief="Anomaly method. [pixel; latent with --prompt]",
        choices=ANOMALY_METHODS,
    )
    prompt: str | None = option(
        None,
        "With --method latent: text that describes a normal image.",
        flags=("-p", "--prompt"),
        per_call=True,
    )
    noise_levels: str | None = option(
        None,
        "Noise levels to test, comma-separated. pixel: gray levels. A level above the model's maximum is applied to a "
        "smaller copy of the image. latent: strengths, 0 to 1. [25,50,100,200,400; latent: 0.3,0.5,0.7,0.85]",
        aliases=("--levels",),
        unlisted_aliases=("--levels",),
        metavar="LIST",
        per_call=True,
    )
    noise_samples: int | None = option(
        None,
        "Noise samples averaged per level. [2]",
        aliases=("--draws",),
        unlisted_aliases=("--draws",),
        minimum=1,
        maximum=64,
        per_call=True,
    )
    seed: int = option(
        0, "Random seed of the noise. [0]", flags=("-s", "--seed"), minimum=0, maximum=2**64 - 1, per_call=True
    )
    fit: Path | None = option(
        None,
        "Normal images: a folder of images without defects, or a file that --save-fit wrote. The minimum is 1/alpha "
        "- 1 images: 19 for the default alpha. Without --fit, the result has a score, but no p-value and no verdict.",
        brief="Normal images: a folder, or a file of --save-fit.",
        metavar="FOLDER|FILE",
        is_path=True,
        per_call=True,
    )
    alpha: float = option(
        0.05,
        "Significance level (false-positive rate). An image is anomalous if p <= alpha.",
        brief="Significance level: an image is anomalous if p <= alpha.",
        minimum=0.001,
        maximum=0.5,
        per_call=True,
    )
