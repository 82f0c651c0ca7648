"""Every setting, declared once: default, help, flags and limits stand on its field and nowhere else.

A group is a small frozen dataclass. The command line splices groups into a command's options; a request inherits
them; a record and a prompt file use the same field names. `check` holds the limits wherever a value came from.
"""

from dataclasses import dataclass
from pathlib import Path

from artgen.declarations import Setting, check, describe_limits, parse, setting, settings_of, type_of, unknown
from artgen.schedulers import SIGMAS

__all__ = [
    "GROUPS",
    "MAX_SEED",
    "MAX_SIDE",
    "TASK_NAMES",
    "Blend",
    "Canvas",
    "Compute",
    "Expansion",
    "Mask",
    "Model",
    "Noise",
    "Output",
    "Picture",
    "Place",
    "Prompt",
    "Report",
    "Run",
    "Sampling",
    "Seed",
    "Series",
    "Setting",
    "Size",
    "Source",
    "Steps",
    "Sweep",
    "Weights",
    "check",
    "describe_limits",
    "parse",
    "setting",
    "settings_of",
    "type_of",
    "unknown",
]

MAX_SEED = 2**64 - 1
MAX_SIDE = 16_384
METHODS = ("pixel", "latent", "tv", "nlm")
"""Ways to remove noise."""

TASK_NAMES = ("txt2img", "img2img", "inpaint", "outpaint", "denoise")
"""The tasks, by name; `artgen.requests.TASKS` has a class for each."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What to draw."""

    prompt: str = setting("", "What to draw; `-` reads it from stdin.", flags=("-p", "--prompt"), positional=True)
    negative_prompt: str = setting(
        "", "What to keep out of the picture.", flags=("-n", "--negative-prompt"), aliases=("--negative",)
    )
    long_prompt: str = setting(
        "truncate",
        "A prompt over the model's limit (77 tokens): cut it with a note, encode it in chunks, or refuse it.",
        choices=("truncate", "chunk", "error"),
    )


@dataclass(frozen=True, kw_only=True)
class Seed:
    """Where chance starts."""

    seed: int | None = setting(
        None,
        "Where chance starts; drawn at random when not given.",
        flags=("-s", "--seed"),
        minimum=0,
        maximum=MAX_SEED,
    )


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How many steps."""

    steps: int | None = setting(
        None,
        "Denoising steps. [the model's own; denoise: 1, the mean of all clean pictures]",
        aliases=("--num-inference-steps",),
        minimum=1,
        maximum=1000,
    )


@dataclass(frozen=True, kw_only=True)
class Sampling(Steps):
    """How noise becomes a picture. What is not given comes from the model's own defaults."""

    guidance_scale: float | None = setting(
        None,
        "How strictly the prompt is followed; 1 or less switches guidance off.",
        flags=("-g", "--guidance-scale"),
        aliases=("--cfg-scale", "--guidance"),
        minimum=0,
        maximum=100,
    )
    scheduler: str | None = setting(
        None, "Sampler; `artgen schedulers` lists them.", aliases=("--sampler",), metavar="NAME"
    )
    sigmas: str | None = setting(None, "Spacing of the noise levels.", choices=SIGMAS)


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """How large, in pixels. Not given: the model's own size, or the input picture's."""

    width: int | None = setting(None, "Width in pixels.", flags=("-W", "--width"), minimum=1, maximum=MAX_SIDE)
    height: int | None = setting(None, "Height in pixels.", flags=("-H", "--height"), minimum=1, maximum=MAX_SIDE)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """The picture to start from."""

    image: Path | None = setting(
        None, "The picture to start from.", flags=("-i", "--image"), aliases=("--init-image",), positional=True
    )


@dataclass(frozen=True, kw_only=True)
class Source(Picture):
    """The picture to start from, and how much of it may change."""

    strength: float | None = setting(
        None,
        "How much may change, 0 to 1; 1 ignores the picture. [img2img 0.6, inpaint and outpaint 1]",
        minimum=0,
        maximum=1,
    )
    background: str = setting("white", "The colour behind a transparent picture: a name or #rrggbb.")


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The noise in a picture, and how it is removed."""

    sigma: str | None = setting(
        None,
        "Strength of the noise in grey levels (standard deviation, 0 to 255): `15`, `auto`, or `auto*1.2`. [auto]",
        metavar="SIGMA",
    )
    method: str | None = setting(
        None,
        "pixel: a diffusion model of pixels, faithful. latent: Stable Diffusion, creative clean-up that draws details "
        "anew and is limited by the autoencoder. tv, nlm: classical, without a model. [pixel]",
        choices=METHODS,
    )
    eta: float | None = setting(
        None, "With --steps 2 or more: how much of the noise is drawn anew at each step. [0]", minimum=0, maximum=1
    )
    ensemble: int | None = setting(
        None,
        "Mean of so many runs: of flips and turns of the picture (up to 8), with --eta of different noise. [1]",
        minimum=1,
        maximum=64,
    )
    fidelity: float | None = setting(
        None,
        "With --steps 2 or more: the share of the one-step result in the blend; 1 is faithful, 0 is sharp. [0]",
        minimum=0,
        maximum=1,
    )


@dataclass(frozen=True, kw_only=True)
class Mask:
    """Which part to repaint."""

    mask: Path | None = setting(
        None, "A picture that is white where to repaint.", flags=("-M", "--mask"), aliases=("--mask-image",)
    )
    invert_mask: bool = setting(False, "Repaint where the mask is black instead.")
    fit_mask: bool = setting(False, "Resize a mask that has another size than the picture.")


@dataclass(frozen=True, kw_only=True)
class Blend:
    """How the new part joins the old."""

    feather: int = setting(
        0, "Soften the seam over this many pixels inside the repainted part.", minimum=0, maximum=512
    )
    paste: bool = setting(True, "Put the untouched pixels of the input back exactly.")


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """How far to extend the picture."""

    expand: str | None = setting(None, "Pixels to add: `64` on every side, or `left=64,top=32`.", metavar="PIXELS")
    to: str | None = setting(None, "Extend to this size, the picture in the middle: `768x512`.", metavar="WxH")


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Which model."""

    model: str | None = setting(
        None,
        "An alias, a hub id (owner/name[@revision]), a folder or a .safetensors file. "
        "[sd15 with CUDA, the bundled `tiny` without; denoise: the bundled `denoiser`]",
        flags=("-m", "--model"),
    )
    offline: bool = setting(False, "Never use the network.")


@dataclass(frozen=True, kw_only=True)
class Model(Weights):
    """Which model draws."""

    safety_checker: bool = setting(True, "Use the model's own safety filter, when it ships one.")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which device, at which precision."""

    device: str = setting("auto", "auto, cpu, mps, cuda or cuda:N.")
    dtype: str = setting(
        "auto", "Precision. [auto: fp16 on a GPU, fp32 on the CPU]", choices=("auto", "fp32", "fp16", "bf16")
    )


@dataclass(frozen=True, kw_only=True)
class Compute(Place):
    """Where the model runs."""

    offload: str | None = setting(
        None,
        "Keep parts of the model in main memory until they are needed: slower, much less GPU memory.",
        choices=("none", "model", "sequential"),
    )
    vae_tiling: bool = setting(False, "Decode in tiles: less memory for large pictures.")


@dataclass(frozen=True, kw_only=True)
class Series:
    """How many pictures. Each becomes a request of its own, with a seed of its own.

    Seeds that differ by a multiple of 2**32 draw the same picture: torch's CPU generator, from which all noise comes,
    takes the low 32 bits.
    """

    seed: str | None = setting(
        None,
        "Where chance starts: `7`, a list `1,2,5-8`, or -1 for random. [random, and always printed]",
        flags=("-s", "--seed"),
        metavar="SEED",
    )
    count: int = setting(
        1,
        "How many pictures, with seeds counting up.",
        flags=("-c", "--count"),
        aliases=("--num-images", "--batch-count"),
        minimum=1,
        maximum=100_000,
    )
    batch_size: str = setting(
        "1", "How many are drawn at the same time: a number, or `auto` to find the fastest.", metavar="N|auto"
    )


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Settings to try out."""

    sweep: tuple[str, ...] = setting(
        (),
        "Try every value: steps=10,20,30 or guidance=3:9:2; repeat it for every combination. "
        "Draws labelled contact sheets too.",
        metavar="NAME=VALUES",
    )


@dataclass(frozen=True, kw_only=True)
class Run:
    """Which pictures of a batch are drawn, and by whom."""

    task: str | None = setting(None, "What lines ask for that do not say. [txt2img]", choices=TASK_NAMES)
    limit: int | None = setting(None, "Draw at most so many now.", minimum=1, maximum=10_000_000)
    shuffle: bool = setting(False, "Draw in random order; the pictures stay the same.", flags=("--shuffle",))
    shard: str | None = setting(None, "Draw only part i of n, counted from 0: one of several machines.", metavar="i/n")
    keep_going: bool = setting(False, "Draw what is right although other lines are wrong.", flags=("--keep-going",))
    retry_failed: bool = setting(False, "Try again what failed before.", flags=("--retry-failed",))
    workers: int = setting(1, "Processes on this machine: one for each GPU or group of cores.", minimum=1, maximum=256)
    ray: str | None = setting(
        None,
        "Draw on a Ray cluster: its address, `auto` for the one at hand, `local` to start one here.",
        metavar="ADDRESS",
    )


@dataclass(frozen=True, kw_only=True)
class Size:
    """Width and height in one word."""

    size: str | None = setting(None, "Width and height in one word: 768x512.", metavar="WxH")


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where pictures go."""

    output: str | None = setting(
        None,
        "A file, a folder (with a trailing /) or a template such as `{seed}-{prompt}.png`. [outputs/]",
        flags=("-o", "--output"),
    )
    format: str | None = setting(None, "File format. [png]", choices=("png", "jpeg", "jpg", "webp"))
    quality: int | None = setting(None, "Quality of JPEG and WebP. [95]", minimum=1, maximum=100)
    png_level: int | None = setting(None, "How hard PNG is compressed. [fast]", minimum=0, maximum=9)
    overwrite: bool = setting(False, "Replace a file that exists.")
    metadata: str = setting(
        "full",
        "What the picture tells of its making: all, only that a model made it, or nothing.",
        choices=("full", "minimal", "none"),
    )


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is printed."""

    json: bool = setting(False, "Print a JSON record for each picture instead of its path.", flags=("--json",))
    dry_run: bool = setting(False, "Check everything, print what would be made, draw nothing.", flags=("--dry-run",))
    quiet: bool = setting(False, "Only errors on stderr.", flags=("-q", "--quiet"))
    verbose: bool = setting(False, "Also say what is loaded and how long each picture took.", flags=("-v", "--verbose"))


GROUPS: tuple[type, ...] = (
    Prompt,
    Seed,
    Series,
    Sweep,
    Run,
    Steps,
    Sampling,
    Canvas,
    Size,
    Picture,
    Source,
    Noise,
    Mask,
    Blend,
    Expansion,
    Weights,
    Model,
    Place,
    Compute,
    Output,
    Report,
)
"""All groups that commands take. A prompt file and a configuration file hold what they name of these."""
