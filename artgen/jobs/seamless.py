"""Check that a model supports circular padding (`--seamless`) and windows (`--panorama`)."""

from artgen.errors import UsageError
from artgen.registry import ResolvedModel
from artgen.spec.base_requests import PromptRequest
from artgen.spec.fast import parse_presets

CONVOLUTIONAL_ARCHITECTURES = ("sd1", "sd2", "sdxl", "kolors")
"""Architectures whose denoiser is a `UNet2DConditionModel` and whose VAE is an `AutoencoderKL`: their only operations
that depend on the position of a pixel are padded convolutions. A transformer has position embeddings."""

MIN_PANORAMA_RATIO = 2
"""Width of a panorama divided by the native width, which must be exceeded."""


def check_large_image(request: PromptRequest, model: ResolvedModel) -> None:
    """Check the settings `seamless` and `panorama`.

    Raises:
        UsageError: the model or another setting does not support them; `settings` contains the name.
    """
    seamless, panorama = getattr(request, "seamless", None), getattr(request, "panorama", False)
    if seamless:
        _check_model("seamless", model, "circular padding needs a UNet and a convolutional VAE")
        _check_combinations("seamless", request)
    if not panorama:
        return
    _check_model("panorama", model, "windows need a UNet, which has no position embeddings")
    _check_combinations("panorama", request)
    native = model.native_size[0]
    width = getattr(request, "width", None) or native
    if width <= MIN_PANORAMA_RATIO * native:
        raise UsageError(
            f"--panorama needs a width of more than {MIN_PANORAMA_RATIO * native} pixels with '{model.name}', twice "
            f"its native width, not {width}.",
            f"Use --width {4 * native}, or remove --panorama.",
            settings=("panorama",),
        )


def _check_model(setting: str, model: ResolvedModel, reason: str) -> None:
    entry = model.pipeline_entry
    if entry.architecture in CONVOLUTIONAL_ARCHITECTURES and entry.denoiser == "unet":
        return
    raise UsageError(
        f"Cannot use --{setting} with '{model.name}': {reason}, and {entry.title} models do not have this.",
        f"Remove --{setting}, or use a Stable Diffusion 1, 2 or XL model.",
        settings=(setting,),
    )


def _check_combinations(setting: str, request: PromptRequest) -> None:
    is_panorama = setting == "panorama"
    conflicts = {
        "--acceleration openvino": ("acceleration", request.acceleration == "openvino"),
        "--acceleration full": ("acceleration", request.acceleration == "full"),
        "--vae-tiling": ("vae_tiling", bool(request.vae_tiling) and not is_panorama),
        "--control": ("control", is_panorama and bool(request.control)),
        "--fast cache": ("fast", is_panorama and "cache" in {each.name for each in parse_presets(request.fast)}),
        "--image-prompt": ("image_prompt", is_panorama and bool(request.image_prompt)),
        "--refiner": ("refiner", request.refiner is not None),
        "--invert": ("invert", getattr(request, "invert", False)),
    }
    for option, (name, is_used) in conflicts.items():
        if is_used:
            raise UsageError(
                f"Cannot combine --{setting} and {option}.",
                f"Remove --{setting} or {option}.",
                settings=(name, setting),
            )
