"""Declare the settings of larger and seamless images: hires fix, circular padding and panoramas."""

from dataclasses import dataclass

from artgen.spec.fields import option

HIRES_SPACES = ("latent", "pixel")
SEAMLESS_AXES = ("x", "y", "both")


@dataclass(frozen=True, kw_only=True)
class HiresSettings:
    """Store the settings of hires fix: the first result is enlarged and denoised again."""

    hires: str | None = option(
        None,
        "Hires fix: enlarge the result by SCALE, and denoise it again with this strength, 0 to 1. Example: 2:0.5. "
        "Width and height are the size before the enlargement. [off; strength 0.4]",
        brief="Enlarge the result by SCALE and denoise it again, such as 2:0.5.",
        metavar="SCALE[:STRENGTH]",
        affects=("pixels", "input"),
    )
    hires_in: str | None = option(
        None,
        "Enlarge the latents (bilinear), which needs a strength of 0.5 or more, or the decoded image (Lanczos). "
        "[pixel]",
        choices=HIRES_SPACES,
    )
    hires_model: str | None = option(
        None,
        "Enlarge the decoded image with an upscaling network: a name of `artgen models list`, a hub id, a "
        "folder or a .safetensors file. tiny-x2 is bundled.",
        metavar="NAME",
        values="upscalers",
        is_path=True,
        affects=("pixels", "memory"),
    )
    hires_steps: int | None = option(
        None,
        "Steps of the second pass. As in img2img, the strength selects the fraction that runs. [--steps]",
        minimum=1,
        maximum=1000,
    )


@dataclass(frozen=True, kw_only=True)
class SeamlessSettings:
    """Store the axes along which an image repeats without a seam."""

    seamless: str | None = option(
        None,
        "Generate a texture that repeats without a seam in this direction: circular padding in the UNet and the VAE. "
        "For Stable Diffusion 1, 2, XL and Kolors.",
        brief="Generate a texture that repeats without a seam.",
        choices=SEAMLESS_AXES,
        affects=("pixels", "memory"),
    )


@dataclass(frozen=True, kw_only=True)
class PanoramaSettings:
    """Store whether a wide image is denoised in windows."""

    panorama: bool = option(
        False,
        "Denoise a wide image in overlapping windows of the native size of the model (MultiDiffusion). The width must "
        "be more than twice the native width. For Stable Diffusion 1, 2, XL and Kolors.",
        brief="Denoise a wide image in overlapping windows.",
        affects=("pixels", "input"),
        neutral_values=(False,),
    )
