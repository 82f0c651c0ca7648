"""Check that the components of a Stable Diffusion model fit each other: channels, embedding widths and the scheduler.

Each component can be valid, and the pipeline fails in the first step if one of them belongs to another model.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from artgen.errors import ModelUnavailableError
from artgen.registry import diffusers_folder
from artgen.registry.resolved import ResolvedModel

Config = Mapping[str, Any]

TIME_IDS = (6, 5)
"""Size, crop and target size of SDXL: 6 numbers; its refiner has 5."""


def check_components_fit(model: ResolvedModel) -> None:
    """Compare the configurations of the components of a model folder.

    Raises:
        ModelUnavailableError: two components do not fit each other.
    """
    if reason := next(_mismatches(model), ""):
        raise ModelUnavailableError(f"Cannot load '{model.name}': {reason}.", "Use another copy of the model.")


def _mismatches(model: ResolvedModel) -> Iterator[str]:
    """Yield a clause for each pair of components that do not fit."""
    name = diffusers_folder.denoiser_name(model.path)
    denoiser, vae = _config(model.path, name), _config(model.path, "vae")
    entry = model.pipeline_entry
    if entry.flow_matching is not None and model.is_flow_matching != entry.flow_matching:
        kind = "a flow-matching" if model.is_flow_matching else "not a flow-matching"
        yield f"its scheduler is {kind} scheduler, and its {name} is of the architecture {model.architecture}"
    latent, channels = vae.get("latent_channels"), denoiser.get("in_channels")
    if entry.supports("latent-channels") and latent:
        # text-to-image, inpainting (mask and masked image), edit models (second image), upscalers (RGB image)
        supported = (None, latent, 2 * latent + 1, 2 * latent, latent + 3)
        if channels not in supported:
            yield f"its vae has {latent} latent channels, and its {name} has {channels} input channels"
    limit, side = denoiser.get("pos_embed_max_size"), denoiser.get("sample_size")
    if limit and isinstance(side, int) and side // (denoiser.get("patch_size") or 1) > limit:
        yield f"the sample_size of its {name} is {side}, and its pos_embed_max_size is {limit}"
    yield from _text_mismatches(model, denoiser)


def _text_mismatches(model: ResolvedModel, denoiser: Config) -> Iterator[str]:
    first, second = _config(model.path, "text_encoder"), _config(model.path, "text_encoder_2")
    is_sdxl = model.pipeline.startswith("StableDiffusionXL")
    embedding = denoiser.get("addition_embed_type")
    if model.pipeline.startswith(("StableDiffusion", "LatentConsistency")) and model.architecture != "sd3":
        if is_sdxl != (embedding == "text_time"):
            yield f"its pipeline is {model.pipeline}, and its unet has the addition_embed_type {embedding!r}"
        width = first.get("hidden_size", 0) + (second.get("hidden_size", 0) if is_sdxl else 0)
        expected = denoiser.get("cross_attention_dim")
        if isinstance(expected, int) and width and width != expected:
            yield f"its text encoders return {width} values per token, and its unet expects {expected}"
    size = denoiser.get("projection_class_embeddings_input_dim")
    per_number, pooled = denoiser.get("addition_time_embed_dim"), second.get("projection_dim")
    if is_sdxl and size and per_number and pooled and size not in [n * per_number + pooled for n in TIME_IDS]:
        yield f"its unet expects an additional embedding of {size} values, which its text_encoder_2 does not return"


def _config(folder: Path, component: str) -> Config:
    return diffusers_folder.read_optional_config(folder / component / "config.json")
