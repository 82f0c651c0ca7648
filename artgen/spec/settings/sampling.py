"""What to draw, from which noise and how large."""

from dataclasses import dataclass

from artgen.spec.fast import APPROXIMATIONS
from artgen.spec.fields import option
from artgen.spec.schedulers import SIGMA_SPACINGS

MAX_SEED = 2**64 - 1
MAX_SIDE_PX = 16_384


@dataclass(frozen=True, kw_only=True)
class PromptSettings:
    """What to draw."""

    prompt: str = option("", "What to draw; `-` reads it from stdin.", flags=("-p", "--prompt"), positional=True)
    negative_prompt: str = option(
        "", "What to keep out of the picture.", flags=("-n", "--negative-prompt"), aliases=("--negative",)
    )
    long_prompt: str = option(
        "truncate",
        "A prompt over the model's limit (77 tokens): cut it with a note, encode it in chunks, or refuse it.",
        choices=("truncate", "chunk", "error"),
    )


@dataclass(frozen=True, kw_only=True)
class SeedSettings:
    """Where chance starts."""

    seed: int | None = option(
        None,
        "Where chance starts; drawn at random when not given.",
        flags=("-s", "--seed"),
        minimum=0,
        maximum=MAX_SEED,
    )


@dataclass(frozen=True, kw_only=True)
class StepsSettings:
    """How many steps."""

    steps: int | None = option(
        None,
        "Denoising steps. [the model's own; denoise: 1, the mean of all clean pictures]",
        aliases=("--num-inference-steps",),
        minimum=1,
        maximum=1000,
    )


@dataclass(frozen=True, kw_only=True)
class SamplingSettings(StepsSettings):
    """How noise becomes a picture. What is not given comes from the model's own defaults."""

    guidance_scale: float | None = option(
        None,
        "How strictly the prompt is followed; 1 or less switches guidance off.",
        flags=("-g", "--guidance-scale"),
        aliases=("--cfg-scale", "--guidance"),
        minimum=0,
        maximum=100,
    )
    scheduler: str | None = option(
        None, "Sampler; `artgen schedulers` lists them.", aliases=("--sampler",), metavar="NAME"
    )
    sigmas: str | None = option(None, "Spacing of the noise levels.", choices=SIGMA_SPACINGS)
    fast: str | None = option(
        None,
        "Approximations, which draw sooner and not the exact picture, several with commas: "
        + ", ".join(f"{entry.name} ({entry.summary})" for entry in APPROXIMATIONS.values())
        + ".",
        metavar="NAMES",
    )


@dataclass(frozen=True, kw_only=True)
class CanvasSettings:
    """How large, in pixels. Not given: the model's own size, or the input picture's."""

    width: int | None = option(None, "Width in pixels.", flags=("-W", "--width"), minimum=1, maximum=MAX_SIDE_PX)
    height: int | None = option(None, "Height in pixels.", flags=("-H", "--height"), minimum=1, maximum=MAX_SIDE_PX)


@dataclass(frozen=True, kw_only=True)
class SizeSettings:
    """Width and height in one word."""

    size: str | None = option(None, "Width and height in one word: 768x512.", metavar="WxH")
