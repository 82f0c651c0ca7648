"""Describe a model from its files: a folder in diffusers' layout, or a single checkpoint."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, ModelUnavailableError
from artgen.registry import diffusers_folder, pipelines
from artgen.registry.catalog import ModelInfo
from artgen.registry.checkpoint_content import CheckpointInfo, inspect_file
from artgen.registry.pipelines import PipelineEntry
from artgen.registry.resolved import ResolvedModel
from artgen.registry.safetensors_header import read_header
from artgen.system.counts import counted

SINGLE_FILE_ARCHITECTURES = ("sd1", "sd2", "sdxl", "sd3")
MAX_NATIVE_SIDE_PX = 4096
"""Largest width and height of the training images of a model."""


def describe_folder(
    name: str, path: Path, info: ModelInfo | None = None, omitted: tuple[str, ...] = ()
) -> ResolvedModel:
    """Read the configurations of a model folder; defaults come from `info`, then from the folder's `artgen.json`.

    Raises:
        ModelUnavailableError: the folder is not a model folder, or the pipeline has no denoiser.
        InputFileError, RefusedError: a file is damaged or unsafe.
    """
    index = diffusers_folder.read_model_index(path, omitted)
    pipeline = str(index.get("_class_name", ""))
    classes = {component: class_name for component, _, class_name in diffusers_folder.iter_components(index)}
    denoiser_name = pipelines.require_entry(name, pipeline, index).denoiser
    denoiser = diffusers_folder.read_optional_config(
        diffusers_folder.component_folder(path, denoiser_name, classes.get(denoiser_name, "")) / "config.json"
    )
    if not denoiser:
        raise ModelUnavailableError(
            f"Cannot generate with '{path}': it has no {denoiser_name}. "
            f"Its components: {', '.join(classes) or 'none'}.",
            "Check the folder.",
        )
    entry = pipelines.require_entry(name, pipeline, index, denoiser)
    vae = diffusers_folder.read_optional_config(path / (entry.vae or "vae") / "config.json")
    scheduler = diffusers_folder.read_scheduler_config(path)
    native_size, size_multiple = _sizes(entry, denoiser, vae)
    is_flow_matching = str(scheduler.get("_class_name", "")).startswith("FlowMatch")
    steps, guidance_scale, scheduler_name = _default_sampling(entry, denoiser, scheduler)
    model = ResolvedModel(
        name=name,
        path=path,
        source=info.source if info and info.bundled_folder else path.resolve().name,
        is_file=False,
        architecture=entry.architecture,
        family=entry.name,
        pipeline=pipeline,
        variant=diffusers_folder.select_weights(path, omitted)[0],
        native_size=native_size,
        size_multiple=size_multiple,
        steps=steps,
        guidance_scale=guidance_scale,
        scheduler=scheduler_name,
        unet_channels=int(denoiser.get("in_channels", 4)),
        latent_channels=int(vae.get("latent_channels", 4)),
        is_flow_matching=is_flow_matching,
        max_prompt_tokens=_max_prompt_tokens(path),
        prediction="flow" if is_flow_matching else str(scheduler.get("prediction_type", "epsilon")),
        omitted=omitted,
    )
    return _with_defaults(model, _catalog_fields(info) | _metadata_file_fields(path / "artgen.json"))


def _sizes(
    entry: PipelineEntry, denoiser_config: Mapping[str, Any], vae_config: Mapping[str, Any]
) -> tuple[tuple[int, int], int]:
    """Return the native (width, height) and the size multiple, in pixels."""
    factor = entry.vae_factor or vae_scale_factor(vae_config)
    size = (entry.reads_sample_size and denoiser_config.get("sample_size")) or entry.native_size_px // factor
    height, width = (size, size) if isinstance(size, int) else (size[0], size[-1])
    if max(width, height) * factor > MAX_NATIVE_SIDE_PX:
        raise ModelUnavailableError(
            f"Cannot use the model: its configuration implies images of {width * factor}x{height * factor} pixels; "
            f"expected at most {MAX_NATIVE_SIDE_PX} per side.",
            "Use another copy of the model.",
        )
    patch = _spatial_patch(denoiser_config.get("patch_size"))
    return (width * factor, height * factor), entry.size_multiple(factor, patch)


def _spatial_patch(patch_size: int | list[int] | None) -> int:
    """Return the width of a transformer's patches in latent pixels; the patches of videos are (frames, H, W)."""
    return patch_size[-1] if isinstance(patch_size, list) else patch_size or 1


def _max_prompt_tokens(path: Path) -> int | None:
    limit = diffusers_folder.read_optional_config(path / "tokenizer" / "tokenizer_config.json").get("model_max_length")
    return int(limit) if isinstance(limit, int) and limit < 1_000_000 else None


def describe_file(name: str, path: Path, info: ModelInfo | None = None) -> ResolvedModel:
    """Describe a single safetensors checkpoint from its header.

    Raises:
        RefusedError: the file is a pickle.
        InputFileError: the file is damaged or truncated.
        ModelUnavailableError: the file is not a complete checkpoint (a LoRA, a VAE, only a UNet), or its architecture
            is unknown.
    """
    checkpoint = inspect_file(path)
    _check_is_full_checkpoint(path, checkpoint)
    architecture = checkpoint.architecture
    entry = pipelines.base_entry(architecture)
    is_flow_matching = architecture == "sd3"
    prediction = "flow" if is_flow_matching else _prediction_type(path, checkpoint)
    size = 768 if (architecture, prediction) == ("sd2", "v_prediction") else entry.native_size_px
    model = ResolvedModel(
        name=name,
        path=path,
        source=path.name,
        is_file=True,
        architecture=architecture,
        family=entry.name,
        pipeline=entry.tasks["txt2img"],
        native_size=(size, size),
        size_multiple=16 if is_flow_matching else 8,
        steps=entry.steps,
        guidance_scale=entry.guidance_scale,
        unet_channels=checkpoint.unet_channels or 4,
        latent_channels=16 if is_flow_matching else 4,
        is_flow_matching=is_flow_matching,
        max_prompt_tokens=77,
        prediction=prediction,
    )
    return _with_defaults(model, _catalog_fields(info) | _metadata_file_fields(path.with_suffix(".artgen.json")))


def _check_is_full_checkpoint(path: Path, checkpoint: CheckpointInfo) -> None:
    """Reject a file that is not a complete checkpoint, and name its content."""
    if checkpoint.architecture == "flux" and checkpoint.kind != "lora":
        raise ModelUnavailableError(
            f"Cannot load '{path.name}': it is a Flux file, and artgen has no T5 tokenizer for single files.",
            "Use the model's hub id or its folder in diffusers' layout; they include the tokenizer.",
        )
    if checkpoint.kind != "checkpoint" or checkpoint.architecture not in SINGLE_FILE_ARCHITECTURES:
        contents = {"lora": f"a LoRA for {checkpoint.architecture}", "vae": "only a VAE", "unet": "only a denoiser"}
        content = contents.get(
            checkpoint.kind,
            f"not a Stable Diffusion 1, 2, XL or 3 checkpoint ({counted(checkpoint.tensors, 'tensor')})",
        )
        is_lora = checkpoint.kind == "lora"
        hint = "Pass it with --lora, and a model with --model." if is_lora else "Pass a complete checkpoint."
        raise ModelUnavailableError(f"Cannot generate with '{path.name}': it is {content}.", hint)
    required = {"text_encoder", "text_encoder_2"} if checkpoint.architecture in ("sdxl", "sd3") else {"text_encoder"}
    missing = sorted(required - set(checkpoint.parts))
    if missing:
        raise ModelUnavailableError(
            f"Cannot generate with '{path.name}': it does not include {' and '.join(missing)}.",
            "Use a file that includes the text encoders, or the model's hub id or folder.",
        )


def _prediction_type(path: Path, checkpoint: CheckpointInfo) -> str:
    """Return the prediction type of a checkpoint, which its tensors do not contain.

    Sources, in this order: the file's `modelspec` metadata (https://github.com/Stability-AI/ModelSpec), a `v_pred`
    tensor, the file's name. Without any of these, a Stable Diffusion 2 checkpoint is the 768-pixel v-prediction model,
    as in diffusers; an inpainting checkpoint predicts the noise. `NAME.artgen.json` next to the file overrides all of
    them with {"prediction": ...}.
    """
    header = read_header(path)
    modelspec = header.metadata.get("modelspec.prediction_type", "").lower()
    name = path.stem.lower().replace("_", "-")
    if modelspec:
        return "v_prediction" if modelspec.startswith("v") else "epsilon"
    if "v_pred" in header.tensors or any(mark in name for mark in ("v-pred", "vpred", "768-v")):
        return "v_prediction"
    if checkpoint.architecture == "sd2" and checkpoint.unet_channels == 4:
        return "epsilon" if any(mark in name for mark in ("base", "512", "turbo")) else "v_prediction"
    return "epsilon"


def vae_scale_factor(vae_config: Mapping[str, Any]) -> int:
    """Return the image's width in pixels divided by the width of the latents.

    The VAE halves the resolution between each two of its blocks.
    """
    if isinstance(halvings := vae_config.get("temperal_downsample"), list):  # Qwen-Image; diffusers' spelling
        return int(2 ** len(halvings))
    blocks = vae_config.get("block_out_channels") or vae_config.get("encoder_block_out_channels")
    return int(2 ** (len(blocks) - 1)) if isinstance(blocks, list) and blocks else 8


def _default_sampling(
    entry: PipelineEntry, denoiser_config: Mapping[str, Any], scheduler_config: Mapping[str, Any]
) -> tuple[int, float, str | None]:
    """Return default steps, guidance scale and scheduler for a model without a description.

    Latent consistency models have an LCMScheduler (guidance 8.0 if the UNet embeds the guidance scale, else disabled).
    Models distilled to a few steps ("turbo") have an Euler scheduler with trailing timesteps and epsilon prediction.
    """
    scheduler_class = str(scheduler_config.get("_class_name", ""))
    if scheduler_class == "LCMScheduler":
        return 4, 8.0 if denoiser_config.get("time_cond_proj_dim") else 1.0, "lcm"
    is_distilled = scheduler_class.startswith("Euler") and scheduler_config.get("timestep_spacing") == "trailing"
    if is_distilled and scheduler_config.get("prediction_type", "epsilon") == "epsilon":
        return 4, 0.0, None
    return entry.steps, entry.guidance_scale, None


def _catalog_fields(info: ModelInfo | None) -> dict[str, Any]:
    if not info:
        return {}
    names = ("width", "height", "steps", "guidance_scale", "scheduler", "sigmas", "license", "description")
    return {key: getattr(info, key) for key in names if getattr(info, key) not in (None, "", "unknown")}


_TEXT_FIELDS = ("scheduler", "sigmas", "license", "description", "prediction")
_NUMBER_FIELDS: Mapping[str, tuple[Any, float, float]] = {
    "width": (int, 8, MAX_NATIVE_SIDE_PX),
    "height": (int, 8, MAX_NATIVE_SIDE_PX),
    "steps": (int, 1, 1000),
    "guidance_scale": (int | float, 0, 100),
}
"""Fields of `artgen.json`: type, smallest and largest value."""


def _metadata_file_fields(path: Path) -> dict[str, Any]:
    """Read and validate the fields of an `artgen.json` that artgen uses; return nothing if the file does not exist.

    Raises:
        InputFileError: a value has the wrong type or range; the message contains the file and the key.
    """
    table = diffusers_folder.read_optional_config(path)
    table.setdefault("license", table.get("licence"))  # Earlier versions export `licence`.
    fields = {key: table[key] for key in (*_TEXT_FIELDS, *_NUMBER_FIELDS) if table.get(key) is not None}
    for key, value in fields.items():
        if key in _TEXT_FIELDS:
            is_valid = isinstance(value, str)
        else:
            number_type, low, high = _NUMBER_FIELDS[key]
            is_number = isinstance(value, number_type) and not isinstance(value, bool)
            is_valid = is_number and low <= value <= high
        if not is_valid:
            raise InputFileError(f"Cannot use '{path}': {key} cannot be {value!r}.", "Correct the file.")
    return fields


def _with_defaults(model: ResolvedModel, fields: Mapping[str, Any]) -> ResolvedModel:
    width, height = (
        int(fields.get(key, size)) for key, size in zip(("width", "height"), model.native_size, strict=True)
    )
    others = {key: value for key, value in fields.items() if key not in ("width", "height")}
    return replace(model, native_size=(width, height), files=model.file_identities(), **others)
