"""The picture to start from, and what becomes of it."""

from dataclasses import dataclass
from pathlib import Path

from artgen.spec.fields import option

DENOISE_METHODS = ("pixel", "latent", "tv", "nlm")
"""Ways to remove noise."""


@dataclass(frozen=True, kw_only=True)
class InputImage:
    """The picture to start from."""

    image: Path | None = option(
        None, "The picture to start from.", flags=("-i", "--image"), aliases=("--init-image",), positional=True
    )


@dataclass(frozen=True, kw_only=True)
class Img2ImgInput(InputImage):
    """The picture to start from, and how much of it may change."""

    strength: float | None = option(
        None,
        "How much may change, 0 to 1; 1 ignores the picture. [img2img 0.6, inpaint and outpaint 1]",
        minimum=0,
        maximum=1,
    )
    background: str = option("white", "The colour behind a transparent picture: a name or #rrggbb.")


@dataclass(frozen=True, kw_only=True)
class DenoiseSettings:
    """The noise in a picture, and how it is removed."""

    sigma: str | None = option(
        None,
        "Strength of the noise in grey levels (standard deviation, 0 to 255): `15`, `auto`, or `auto*1.2`. [auto]",
        metavar="SIGMA",
    )
    method: str | None = option(
        None,
        "pixel: a diffusion model of pixels, faithful. latent: Stable Diffusion, creative clean-up that draws details "
        "anew and is limited by the autoencoder. tv, nlm: classical, without a model. [pixel]",
        choices=DENOISE_METHODS,
    )
    eta: float | None = option(
        None, "With --steps 2 or more: how much of the noise is drawn anew at each step. [0]", minimum=0, maximum=1
    )
    self_ensemble: int | None = option(
        None,
        "Mean of so many runs: of flips and turns of the picture (up to 8), with --eta of different noise. [1]",
        aliases=("--ensemble",),
        minimum=1,
        maximum=64,
    )
    fidelity: float | None = option(
        None,
        "With --steps 2 or more: the share of the one-step result in the blend; 1 is faithful, 0 is sharp. [0]",
        minimum=0,
        maximum=1,
    )


@dataclass(frozen=True, kw_only=True)
class MaskSettings:
    """Which part to repaint."""

    mask: Path | None = option(
        None, "A picture that is white where to repaint.", flags=("-M", "--mask"), aliases=("--mask-image",)
    )
    invert_mask: bool = option(False, "Repaint where the mask is black instead.")
    resize_mask: bool = option(False, "Resize a mask that has another size than the picture.", aliases=("--fit-mask",))


@dataclass(frozen=True, kw_only=True)
class InpaintBlend:
    """How the new part joins the old."""

    feather: int = option(0, "Soften the seam over this many pixels inside the repainted part.", minimum=0, maximum=512)
    keep_original: bool = option(True, "Put the untouched pixels of the input back exactly.", aliases=("--paste",))


@dataclass(frozen=True, kw_only=True)
class OutpaintSettings:
    """How far to extend the picture."""

    expand: str | None = option(None, "Pixels to add: `64` on every side, or `left=64,top=32`.", metavar="PIXELS")
    target_size: str | None = option(
        None, "Extend to this size, the picture in the middle: `768x512`.", aliases=("--to",), metavar="WxH"
    )
