"""Declare the settings of the input image, the mask, the extended canvas and the denoise methods."""

from dataclasses import dataclass
from pathlib import Path

from artgen.spec.fields import option
from artgen.spec.settings.sampling import MAX_SIDE_PX

DENOISE_METHODS = ("pixel", "latent", "tv", "nlm")
FILL_METHODS = ("original", "noise", "blur", "biharmonic")


@dataclass(frozen=True, kw_only=True)
class InputImage:
    """Store the input image."""

    image: Path | None = option(
        None,
        "Input image. - reads stdin.",
        flags=("-i", "--image"),
        aliases=("--init-image",),
        positional=True,
        is_path=True,
        per_call=True,
        per_image=True,
        affects=("pixels", "input"),
    )


@dataclass(frozen=True, kw_only=True)
class ScaledInput(InputImage):
    """Store the input image and its maximum size."""

    max_side: int | None = option(
        None,
        "Downscale the input image so that its longer side has at most this number of pixels. The output has the "
        "reduced size. [no limit]",
        brief="Downscale the input image to this number of pixels on the longer side. [no limit]",
        metavar="PX",
        minimum=1,
        maximum=MAX_SIDE_PX,
        affects=("pixels", "input"),
    )


@dataclass(frozen=True, kw_only=True)
class OpaqueInput(ScaledInput):
    """Store the input image of a model that generates color images without transparency."""

    background: str = option(
        "white", "Color behind transparent pixels: a name or #rrggbb.", affects=("pixels", "input")
    )


@dataclass(frozen=True, kw_only=True)
class Img2ImgInput(OpaqueInput):
    """Store the input image and the amount of change."""

    strength: float | None = option(
        None,
        "Amount of change, 0 to 1. 0 returns the input image unchanged. 1 ignores the input image.",
        brief="Amount of change: 0 keeps the image, 1 ignores it.",
        defaults={"img2img": "0.6", "inpaint": "1", "outpaint": "1"},
        aliases=("--denoising-strength",),
        minimum=0,
        maximum=1,
    )


@dataclass(frozen=True, kw_only=True)
class DenoiseSettings:
    """Store the noise level of an image and the method that removes the noise."""

    sigma: str | None = option(
        None,
        "Noise level in gray levels (standard deviation, 0 to 255): `15`, `auto` or `auto*1.2`. [auto]",
        brief="Noise level in gray levels: 15, auto or auto*1.2.",
        metavar="SIGMA",
    )
    method: str | None = option(
        None,
        "Denoise method. pixel: pixel-space diffusion model, faithful to the image. latent: Stable Diffusion, which "
        "generates new details and loses details that the VAE cannot represent. tv, nlm: classical filters without a "
        "model. [pixel]",
        choices=DENOISE_METHODS,
    )
    eta: float | None = option(
        None,
        "Fraction of new noise at each step (eta of DDIM). Needs --steps 2 or more. [0]",
        minimum=0,
        maximum=1,
    )
    self_ensemble: int | None = option(
        None,
        "Number of runs to average. The runs use flips and rotations of the image (at most 8) or, with --eta, "
        "different noise. [1]",
        brief="Number of runs to average, with flips and rotations.",
        aliases=("--ensemble",),
        unlisted_aliases=("--ensemble",),
        minimum=1,
        maximum=64,
        fingerprint_name="ensemble",
    )
    fidelity: float | None = option(
        None,
        "Weight of the one-step result in the blend with the result of all steps. 1 is faithful, 0 is sharp. Needs "
        "--steps 2 or more. [0]",
        brief="With --steps 2 or more: 1 is faithful, 0 is sharp.",
        minimum=0,
        maximum=1,
    )


@dataclass(frozen=True, kw_only=True)
class MaskSettings:
    """Store the mask of the area to repaint."""

    mask: Path | None = option(
        None,
        "Mask image. White pixels are repainted. Without white, the brightest value or the only color counts as white. "
        "- reads stdin.",
        brief="Mask image. White pixels are repainted.",
        flags=("-M", "--mask"),
        aliases=("--mask-image",),
        is_path=True,
        per_call=True,
        per_image=True,
        affects=("pixels", "input"),
        excludes=("mask_text",),
    )
    invert_mask: bool = option(
        False,
        "Repaint the black (or transparent) pixels of the mask instead of the white (or opaque) ones.",
        brief="Repaint the black pixels of the mask instead.",
        affects=("pixels", "input"),
    )
    resize_mask: bool = option(
        False,
        "Resize a mask whose size differs from the size of the image.",
        aliases=("--fit-mask",),
        unlisted_aliases=("--fit-mask",),
        affects=("pixels", "input"),
        fingerprint_name="fit_mask",
    )


@dataclass(frozen=True, kw_only=True)
class FeatherSettings:
    """Store the width of the transition between the repainted area and the input image."""

    feather: int | None = option(
        None,
        "Width of the soft edge in pixels. inpaint, edit: inside the repainted area. outpaint: a band inside the input "
        "image that is repainted and blended; 0 keeps all its pixels.",
        defaults={"edit": "0", "inpaint": "0", "outpaint": "16 at 512 pixels"},
        minimum=0,
        maximum=512,
        affects=("pixels", "input"),
    )


@dataclass(frozen=True, kw_only=True)
class InpaintBlend(FeatherSettings):
    """Store the transition between the repainted area and the input image."""

    keep_original: bool = option(
        True,
        "Copy the pixels outside the repainted area from the input image. [on]",
        aliases=("--paste",),
        unlisted_aliases=("--paste",),
        fingerprint_name="paste",
    )


@dataclass(frozen=True, kw_only=True)
class InpaintDetails:
    """Store how the masked area is prepared and repainted."""

    soft_mask: bool = option(
        False,
        "Gray mask values set the strength of each pixel: 255 has the strength of --strength, 128 half of it. Black "
        "pixels do not change.",
        brief="Gray mask values set the strength of each pixel.",
        affects=("pixels", "input"),
        neutral_values=(False,),
    )
    only_masked: int | None = option(
        None,
        "Crop the masked area with a margin of this number of pixels, enlarge it to the native size of the model, "
        "repaint it, and put it back. [off; 32 without a number]",
        brief="Crop, enlarge and repaint the masked area only.",
        metavar="[PX]",
        minimum=0,
        maximum=MAX_SIDE_PX,
        bare_value="32",
    )
    fill: str = option(
        "original",
        "Content of the masked area before denoising: the input image, random noise, the blurred surroundings, or a "
        "smooth (biharmonic) continuation of the surroundings. It matters if --strength is less than 1.",
        brief="Content of the masked area before denoising.",
        choices=FILL_METHODS,
        neutral_values=("original",),
    )


@dataclass(frozen=True, kw_only=True)
class InvertSettings:
    """Store whether img2img starts from the inverted input image instead of added noise."""

    invert: bool = option(
        False,
        "Start from the noise that DDIM inversion finds for the input image, so that an edit keeps the rest of the "
        "image. --guidance-scale sets the strength of the edit.",
        brief="Start from the inverted input image: keeps more of it.",
        neutral_values=(False,),
    )
    source_prompt: str = option(
        "",
        "Description of the input image for --invert. [empty]",
        per_image=True,
        affects=("pixels", "prompt"),
        neutral_values=("",),
    )


@dataclass(frozen=True, kw_only=True)
class OutpaintSettings:
    """Store the size of the extended canvas."""

    expand: str | None = option(
        None,
        "Pixels to add: `64` on each side, or `left=64,top=32`.",
        metavar="PIXELS",
        per_call=True,
        affects=("pixels", "input"),
        excludes=("target_size",),
    )
    target_size: str | None = option(
        None,
        "Size of the extended image, such as 768x512. The input image is centered.",
        aliases=("--to",),
        unlisted_aliases=("--to",),
        metavar="WxH",
        per_call=True,
        affects=("pixels", "input"),
        excludes=("expand", "by"),
        fingerprint_name="to",
    )
