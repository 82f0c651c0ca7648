"""Load the images and masks of image prompts, and resolve their adapters."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from artgen import images, registry
from artgen.errors import InputFileError, UsageError
from artgen.events import Listener
from artgen.jobs.image_prompts.image_prompt_input import LoadedImagePrompt
from artgen.registry.image_prompts import AdapterSearch, ImagePromptAdapter, resolve_adapter
from artgen.spec.base_requests import PromptRequest, Request
from artgen.spec.image_prompt import recorded_image_prompt

OFFLOAD_MODES = ("group", "sequential")
"""Offload modes that do not support adapters, because they move single layers of the denoiser."""


def load_image_prompts(request: Request) -> tuple[LoadedImagePrompt, ...]:
    """Load the image prompts of a request.

    Raises:
        InputFileError: an image or a mask cannot be used.
    """
    found = []
    for spec in request.image_prompts:
        image = _load(spec.image, "image prompt")
        mask = _load(spec.mask, "mask of the image prompt") if spec.mask is not None else None
        found.append(
            LoadedImagePrompt(
                spec,
                image.image.convert("RGB"),
                image.sha256,
                mask.image.convert("L") if mask else None,
                mask.sha256 if mask else "",
                (*image.notes, *(mask.notes if mask else ())),
            )
        )
    return tuple(found)


def _load(path: Path, what: str) -> images.LoadedImage:
    try:
        return images.load_image(path, background="white")
    except InputFileError as error:
        raise InputFileError(f"Cannot use the {what}: {error.message}", error.hint) from error


def adapter_key(request: Request) -> tuple[str | None, ...]:
    """Return what selects the adapters of a request, besides the model."""
    return tuple(spec.model for spec in request.image_prompts)


def resolve_adapters(
    request: PromptRequest, model: registry.ResolvedModel, listener: Listener, *, download: bool
) -> tuple[ImagePromptAdapter, ...]:
    """Find or download the adapters of a request, and check that they fit the model.

    Raises:
        UsageError: diffusers has no pipeline with image prompts for the task and the model.
        InputFileError, ModelUnavailableError, RefusedError: an adapter cannot be used.
    """
    check_task(request, model)
    search = AdapterSearch(model, request.offline, download, listener)
    found = {spec.model: resolve_adapter(spec.model, search) for spec in request.image_prompts}
    return tuple(found[spec.model] for spec in request.image_prompts)


def check_task(request: PromptRequest, model: registry.ResolvedModel) -> None:
    """Check that diffusers has image prompts for the task and the model, and the other settings.

    Raises:
        UsageError: the combination is not supported.
    """
    if not request.image_prompt:
        return
    entry = model.pipeline_entry
    if request.task not in entry.image_prompt:
        tasks = f"With {entry.title}, image prompts work with {', '.join(entry.image_prompt)}. "
        raise UsageError(
            f"Cannot use an image prompt with {request.task} and {entry.title}: artgen supports image prompts with the "
            "pipelines of Stable Diffusion 1, SDXL and Flux.1.",
            f"{tasks if entry.image_prompt else ''}Remove --image-prompt.",
            settings=("image_prompt",),
        )
    if entry.architecture == "flux":  # Flux Redux changes the embeddings, not the denoiser.
        _check_redux(request)
        return
    for name, refused in (
        ("quantize", request.quantize is not None),
        ("refiner", request.refiner is not None),
        ("offload", request.offload in OFFLOAD_MODES),
        ("acceleration", request.acceleration == "openvino"),
    ):
        if refused:
            raise UsageError(
                f"Cannot combine --{name} {getattr(request, name)} with an image prompt.",
                f"Remove --{name}, or remove --image-prompt.",
                settings=(name, "image_prompt"),
            )


def _check_redux(request: PromptRequest) -> None:
    """Check that image prompts for Flux have no masks, which Flux Redux does not support, and the same adapter."""
    if any(spec.mask is not None for spec in request.image_prompts):
        raise UsageError(
            "Cannot use a mask with an image prompt and Flux.1: Flux Redux has no masks.",
            f"--image-prompt {request.image_prompts[0]._replace(mask=None)}",
            settings=("image_prompt",),
        )
    if len({spec.model for spec in request.image_prompts}) > 1:
        raise UsageError(
            "Cannot combine image prompts with different adapters and Flux.1.",
            "Use the same model= for all image prompts.",
            settings=("image_prompt",),
        )


def check_adapters(request: PromptRequest, has_t2i_adapter: bool) -> None:
    """Check that image prompts are not combined with a T2I-Adapter.

    Raises:
        UsageError: the pipelines of diffusers with T2I-Adapters do not support image prompts.
    """
    if request.image_prompt and has_t2i_adapter:
        raise UsageError(
            "Cannot combine an image prompt with a T2I-Adapter.",
            "Use a ControlNet, or remove --image-prompt.",
            settings=("image_prompt", "control"),
        )


def adapter_provenance(adapters: Sequence[ImagePromptAdapter]) -> dict[str, Any]:
    """Return the entries of an image record about adapters."""
    return {
        "image_prompt_adapter": [each.short_name for each in adapters],
        "image_prompt_adapter_source": [
            f"{each.source}@{each.revision}" if each.revision else each.source for each in adapters
        ],
        "image_prompt_adapter_sha256": [each.sha256 for each in adapters],
        "image_encoder_sha256": [each.encoder_sha256 for each in adapters],
    }


def file_provenance(prompts: Sequence[LoadedImagePrompt]) -> dict[str, Any]:
    """Return the entries of an image record about the files of image prompts."""
    return {
        "image_prompt": [str(recorded_image_prompt(each.spec)) for each in prompts],
        "image_prompt_sha256": [each.sha256 for each in prompts],
        "image_prompt_mask_sha256": [each.mask_sha256 for each in prompts],
    }
