"""Check that the pipeline of a model supports the details of inpainting and the inversion of an image.

Each error names its setting, like the errors of `artgen.jobs.pipeline_options`.
"""

from collections.abc import Sequence
from pathlib import Path

from artgen.errors import InputFileError, UsageError
from artgen.jobs.prompt_plan import prompt_plan
from artgen.registry import ResolvedModel
from artgen.spec.base_requests import PromptRequest
from artgen.spec.requests import Img2Img, Inpaint

CROPPING_PIPELINES = frozenset(
    {
        "Flux2KleinInpaintPipeline", "FluxInpaintPipeline", "QwenImageInpaintPipeline",
        "StableDiffusion3InpaintPipeline", "StableDiffusionControlNetInpaintPipeline",
        "StableDiffusionControlNetPAGInpaintPipeline", "StableDiffusionInpaintPipeline",
        "StableDiffusionXLControlNetInpaintPipeline", "StableDiffusionXLInpaintPipeline",
        "StableDiffusionXLPAGInpaintPipeline",
    }
)  # fmt: skip
"""Classes of diffusers (0.42.1) that crop the masked area and put it back (`padding_mask_crop`).

ChromaInpaintPipeline and FluxControlNetInpaintPipeline do not put it back, FluxKontextInpaintPipeline returns another
size, StableDiffusionPAGInpaintPipeline refuses every output type, and StableDiffusionXLControlNetUnionInpaintPipeline
refuses every control map.
"""

INVERSION_CALLS_PER_STEP = 4
"""Denoiser calls per step of the inversion: one estimate and three fixed-point iterations.

With the bundled model and 50 steps, the reconstruction of a fox has 32, 49, 56, 58 and 60 dB PSNR with 1, 2, 3, 4 and 6
calls."""


def needs_latent_masking(model: ResolvedModel) -> bool:
    """Return whether artgen masks the latents: the UNet has neither 4 input channels nor mask channels."""
    has_mask_channels = model.unet_channels != model.latent_channels
    return model.pipeline_entry.supports("latent-masking") and not has_mask_channels and model.latent_channels != 4


def check_editing(request: PromptRequest, model: ResolvedModel, *, has_pag: bool) -> None:
    """Check the settings of inpaint and img2img that only some pipelines support.

    Raises:
        UsageError: the pipeline does not support a setting; `settings` contains its name.
    """
    _check_control(request, model)
    if model.pipeline_entry.supports("bf16-images") and request.task != "txt2img" and request.dtype != "bf16":
        raise UsageError(
            f"Cannot use '{model.name}' for {request.task} with --dtype {request.dtype}: its pipeline encodes images "
            "in bf16.",
            "Add --dtype bf16.",
            settings=("dtype",),
        )
    if isinstance(request, Inpaint):
        _check_inpainting(request, model, has_pag=has_pag)
    if isinstance(request, Img2Img) and request.invert:
        _check_inversion(request, model)


def check_image_sizes(
    request: PromptRequest, model: ResolvedModel, size: tuple[int, int], references: Sequence[tuple[int, int]]
) -> None:
    """Check the sizes of images that the pipeline uses as references.

    Args:
        request: complete request.
        model: resolved model.
        size: width and height of the result in pixels. The pipeline receives the input image in this size, rounded up
            to a size that the model supports.
        references: width and height of each reference image.

    Raises:
        InputFileError: an image is too small, or its aspect ratio is too large.
    """
    entry = model.pipeline_entry
    if request.task not in entry.no_strength or not entry.image_min_side_px:
        return
    names = [
        "the input image",
        *(f"the reference image '{Path(text).name}'" for text in getattr(request, "reference", ())),
    ]
    for name, (width, height) in zip(names, (size, *references), strict=True):
        reason = ""
        padded = min(width, height) + (-min(width, height) % model.size_multiple if name == "the input image" else 0)
        if padded < entry.image_min_side_px:
            reason = f"both sides must have at least {entry.image_min_side_px} pixels"
        elif max(width, height) > entry.image_max_ratio * min(width, height):
            reason = f"the aspect ratio must be at most {entry.image_max_ratio:g}"
        if reason:
            raise InputFileError(
                f"Cannot use {name} with '{model.name}': it has {width}x{height} pixels, and {reason}.",
                "Use --size 512x512, or another image." if name == "the input image" else "Use another image.",
            )


def _check_control(request: PromptRequest, model: ResolvedModel) -> None:
    """Check that a setting works with control images: the inversion calls the denoiser without nets."""
    if getattr(request, "control", ()) and getattr(request, "invert", False):
        raise UsageError(
            f"Cannot combine --invert and --control with '{model.name}': the inversion does not use control nets.",
            "Remove --invert or --control.",
            settings=("invert",),
        )


def _check_inpainting(request: Inpaint, model: ResolvedModel, *, has_pag: bool) -> None:
    entry = model.pipeline_entry
    if request.soft_mask and model.is_inpainting:
        raise UsageError(
            f"Cannot use --soft-mask with '{model.name}': an inpainting model receives the mask as an input, and "
            "repaints all of it.",
            "Remove --soft-mask, or choose a model without mask channels.",
            settings=("soft_mask",),
        )
    if request.soft_mask and not entry.supports("latent-masking"):
        raise UsageError(
            f"Cannot use --soft-mask with '{model.name}': artgen does not mask the latents of {entry.title} models.",
            "Remove --soft-mask.",
            settings=("soft_mask",),
        )
    if request.only_masked is None:
        return
    class_name = (entry.pag if has_pag else entry.tasks)["inpaint"]
    crops = request.control or class_name in CROPPING_PIPELINES  # `jobs.control.checks` checks pipelines with nets
    if not crops or needs_latent_masking(model):
        raise UsageError(
            f"Cannot use --only-masked with '{model.name}': "
            f"{'its inpainting pipeline' if crops else class_name} "
            "cannot crop the masked area (padding_mask_crop of diffusers).",
            "Remove --only-masked.",
            settings=("only_masked",),
        )
    if request.refiner is not None:
        raise UsageError(
            "Cannot combine --only-masked and --refiner.",
            "Remove --only-masked or --refiner.",
            settings=("only_masked", "refiner"),
        )


def _check_inversion(request: Img2Img, model: ResolvedModel) -> None:
    """Check that DDIM can sample from the inverted image with the pipeline of a model."""
    entry = model.pipeline_entry
    if model.is_flow_matching:
        reason = "it is a flow-matching model, and the inversion needs DDIM"
    elif not entry.supports("inversion"):
        reason = f"artgen cannot invert the sampling of {entry.title} models"
    elif model.prediction not in ("epsilon", "v_prediction"):
        reason = f"the inversion does not support the prediction type {model.prediction}"
    else:
        reason = ""
    if reason:
        raise UsageError(
            f"Cannot use --invert with '{model.name}': {reason}.",
            "Remove --invert, and use --strength to set the amount of change.",
            settings=("invert",),
        )
    if request.scheduler not in (None, "ddim"):
        raise UsageError(
            f"Cannot combine --invert and --scheduler {request.scheduler}: the inversion needs DDIM.",
            "Remove --scheduler, or use --scheduler ddim.",
            settings=("scheduler", "sigmas", "invert"),
        )
    if request.sigmas not in (None, "normal"):
        raise UsageError(
            f"Cannot combine --invert and --sigmas {request.sigmas}: the inversion needs the sigmas of DDIM.",
            "Remove --sigmas.",
            settings=("sigmas", "invert"),
        )
    for name, value in (("refiner", request.refiner), ("fast", request.fast)):
        if value is not None:
            raise UsageError(
                f"Cannot combine --invert and --{name}.",
                f"Remove --{name} or --invert.",
                settings=(name, "invert"),
            )
    syntax, steps = request.prompt_weights or "a1111", request.steps or model.steps
    source = request.replace(prompt=request.source_prompt, negative_prompt="", prompt_weights=syntax, steps=steps)
    if prompt_plan(source).is_dynamic:
        raise UsageError(
            "Cannot use a prompt that changes during sampling, or AND, as the source prompt.",
            "Describe the input image in --source-prompt with one text.",
            settings=("source_prompt",),
        )
