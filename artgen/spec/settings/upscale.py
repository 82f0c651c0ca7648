"""Declare the settings that enlarge an image."""

from dataclasses import dataclass

from artgen.spec.fields import option
from artgen.spec.settings.inputs import DENOISE_METHODS, DenoiseSettings
from artgen.spec.settings.sampling import MAX_SIDE_PX

UPSCALE_METHODS = ("lanczos", "model", "redraw")
MAX_TILE_PX = 4096


@dataclass(frozen=True, kw_only=True)
class UpscaleSettings:
    """Store the factor, the network and the tiles."""

    by: float | None = option(
        None,
        "Factor of the enlargement, such as 2 or 1.5. 1 keeps the size, for --method redraw. [2]",
        brief="Factor, such as 2 or 1.5. [2]",
        aliases=("--factor", "--upscale-by"),
        metavar="FACTOR",
        minimum=1,
        maximum=MAX_SIDE_PX,
        per_call=True,
        affects=("pixels", "input"),
        excludes=("target_size",),
    )
    upscale_model: str | None = option(
        None,
        "Upscaling network of --method model: a name, a hub id, a folder or a .safetensors file. "
        "docs/upscaling-networks.md lists the names. [tiny-x2, which is bundled]",
        brief="Upscaling network of --method model. [tiny-x2]",
        flags=("--upscaler",),
        values="upscalers",
        aliases=("--upscale-model",),
        metavar="NAME",
        is_path=True,
    )
    tile_size: int | None = option(
        None,
        "Side of the tiles of --method redraw in pixels. [native size of the model]",
        brief="Side of the tiles of --method redraw in pixels.",
        metavar="PX",
        minimum=16,
        maximum=MAX_TILE_PX,
    )
    tile_overlap: int | None = option(
        None,
        "Width of the band in which neighboring tiles are blended, in pixels; at most a third of a tile. [a quarter of "
        "a tile]",
        brief="Width of the blended band between tiles in pixels.",
        metavar="PX",
        minimum=0,
        maximum=MAX_TILE_PX // 3,
    )
    sharpen: int | None = option(
        None,
        "Sharpening of the enlarged image before --method redraw generates the tiles, in percent (unsharp mask). 0 "
        "disables it. [350 for the bundled model, whose autoencoder blurs; else 0]",
        brief="Sharpening before --method redraw in percent.",
        metavar="PERCENT",
        minimum=0,
        maximum=1000,
    )


@dataclass(frozen=True, kw_only=True)
class UpscaleMethod:
    """Store the settings whose names have another meaning in other commands. Prompt files use the same names."""

    target_size: str | None = option(
        None,
        "Size of the enlarged image, such as 3840x2160. An image with another aspect ratio gets the largest size that "
        "fits inside.",
        brief="Size of the result, such as 3840x2160.",
        aliases=("--to",),
        unlisted_aliases=("--to",),
        metavar="WxH",
        in_prompt_file=False,
        per_call=True,
        affects=("pixels", "input"),
        excludes=("by", "expand"),
        fingerprint_name="to",
    )
    method: str | None = option(
        None,
        "Upscaling method. lanczos: resample, without a model. model: an upscaling network (--upscaler). redraw: "
        "img2img on overlapping tiles, which generates new details. [lanczos]",
        choices=UPSCALE_METHODS,
        in_prompt_file=False,
        in_config=False,
    )
    strength: float | None = option(
        None,
        "Amount of change of --method redraw, 0 to 1. Values above 0.3 change the content of the image. [0.2]",
        brief="Amount of change of --method redraw. [0.2]",
        aliases=("--denoising-strength",),
        in_prompt_file=False,
        in_config=False,
        minimum=0,
        maximum=1,
    )


@dataclass(frozen=True, kw_only=True)
class BatchMethodSettings(DenoiseSettings):
    """Store the settings of denoise in commands whose jobs have several tasks: `method` has the values of all tasks."""

    method: str | None = option(
        None,
        "Method of the tasks denoise (pixel, latent, tv or nlm) and upscale (lanczos, model or redraw). [pixel for "
        "denoise, lanczos for upscale]",
        brief="Method of the tasks denoise and upscale.",
        choices=(*DENOISE_METHODS, *UPSCALE_METHODS),
        in_config=False,
        in_prompt_file=False,
    )
