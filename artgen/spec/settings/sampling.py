"""Declare the settings of the seed, the sampler and the image size."""

from dataclasses import dataclass

from artgen.spec.fast import APPROXIMATIONS
from artgen.spec.fields import option
from artgen.spec.schedulers import SIGMA_SPACINGS

MAX_SEED = 2**64 - 1
MAX_SIDE_PX = 16_384
GUIDES = ("cfg", "apg", "zero-star")


@dataclass(frozen=True, kw_only=True)
class SeedSettings:
    """Store the seed of one image."""

    seed: int | None = option(
        None,
        "Random seed. [random]",
        flags=("-s", "--seed"),
        minimum=0,
        maximum=MAX_SEED,
        per_call=True,
        per_image=True,
    )


@dataclass(frozen=True, kw_only=True)
class StepsSettings:
    """Store the number of denoising steps."""

    steps: int | None = option(
        None,
        "Number of denoising steps. [the model's]",
        defaults={"denoise": "1"},
        aliases=("--num-inference-steps",),
        minimum=1,
        maximum=1000,
    )


@dataclass(frozen=True, kw_only=True)
class GuidanceSettings:
    """Store the guidance scale."""

    guidance_scale: float | None = option(
        None,
        "Classifier-free guidance scale: how closely the image follows the prompt. Values <= 1 disable guidance. "
        "[the model's]",
        brief="How closely the image follows the prompt.",
        flags=("-g", "--guidance-scale"),
        aliases=("--cfg-scale", "--guidance"),
        minimum=0,
        maximum=100,
        affects=("pixels", "prompt"),
    )


@dataclass(frozen=True, kw_only=True)
class SchedulerSettings:
    """Store the scheduler."""

    scheduler: str | None = option(
        None,
        "Scheduler (sampler). `artgen schedulers` lists the names. [the model's]",
        brief="Scheduler; see `artgen schedulers`.",
        aliases=("--sampler", "--sampler-name"),
        metavar="NAME",
        values="schedulers",
    )


@dataclass(frozen=True, kw_only=True)
class ClassSettings:
    """Store the class of an image of a class-conditional model."""

    class_label: str | None = option(
        None,
        "Class of a class-conditional model: its name or its number.",
        flags=("--class",),
        aliases=("--class", "--class-label"),
        metavar="NAME|NUMBER",
        in_config=False,
    )


@dataclass(frozen=True, kw_only=True)
class SamplingSettings(SchedulerSettings, GuidanceSettings, StepsSettings):
    """Store the settings of the sampler. The model has defaults for unset settings."""

    guidance_rescale: float | None = option(
        None,
        "Rescale guidance by this factor, which reduces overexposure: SDXL, HunyuanDiT; txt2img of Stable Diffusion 1 "
        "and 2. [0]",
        minimum=0,
        maximum=1,
        neutral_values=(0.0,),
    )
    pag_scale: float | None = option(
        None,
        "Scale of perturbed-attention guidance (PAG): Stable Diffusion 1, 2, XL; txt2img and img2img of Stable "
        "Diffusion 3; txt2img of PixArt-Sigma, Sana, HunyuanDiT and Kolors. 0 disables PAG. [0]",
        minimum=0,
        maximum=100,
        neutral_values=(0.0,),
    )
    guide: str | None = option(
        None,
        "Guidance method. cfg: classifier-free guidance. apg: adaptive projected guidance, which reduces "
        "oversaturation. zero-star: CFG-Zero*, for flow-matching models. docs/guidance.md lists the families. [cfg]",
        choices=GUIDES,
        neutral_values=("cfg",),
    )
    sigmas: str | None = option(None, "Spacing of the noise levels. [the scheduler's default]", choices=SIGMA_SPACINGS)
    fast: str | None = option(
        None,
        "Approximations, comma-separated: faster, slightly different image. "
        + ", ".join(f"{entry.name} ({entry.summary})" for entry in APPROXIMATIONS.values())
        + ". [none]",
        metavar="NAMES",
        affects=("pixels", "prompt"),
        values="fast",
    )


@dataclass(frozen=True, kw_only=True)
class CanvasSettings:
    """Store the size of the image in pixels."""

    width: int | None = option(
        None,
        "Width in pixels. [width of the input image, else of the model]",
        defaults={"txt2img": "the model's width", "img2img": "width of the image", "inpaint": "width of the image"},
        flags=("-W", "--width"),
        minimum=1,
        maximum=MAX_SIDE_PX,
        affects=("pixels", "input"),
        excludes=("size",),
    )
    height: int | None = option(
        None,
        "Height in pixels. [height of the input image, else of the model]",
        defaults={"txt2img": "the model's height", "img2img": "height of the image", "inpaint": "height of the image"},
        flags=("-H", "--height"),
        minimum=1,
        maximum=MAX_SIDE_PX,
        affects=("pixels", "input"),
        excludes=("size",),
    )


@dataclass(frozen=True, kw_only=True)
class SizeSettings:
    """Store width and height as one text."""

    size: str | None = option(
        None,
        "Width and height in pixels, such as 768x512. [the model's size]",
        defaults={"img2img": "size of the image", "inpaint": "size of the image"},
        metavar="WxH",
        in_config=False,
        affects=("pixels", "input"),
        excludes=("width", "height"),
    )
