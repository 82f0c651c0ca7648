"""Describe a model from its configurations: a folder in diffusers' layout."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, ModelUnavailableError
from artgen.registry import diffusers_folder, pipelines
from artgen.registry.catalog import ModelInfo
from artgen.registry.pipeline_entry import PipelineEntry
from artgen.registry.resolved import ResolvedModel
from artgen.registry.variants import detect_variant

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
            f"Cannot generate with '{name}': it has no {denoiser_name}. "
            f"Its components: {', '.join(classes) or 'none'}.",
            "Check the folder.",
        )
    entry = pipelines.require_entry(name, pipeline, index, denoiser)
    vae = diffusers_folder.read_optional_config(path / (entry.vae or "vae") / "config.json")
    scheduler = diffusers_folder.read_scheduler_config(path)
    native_size, size_multiple = _sizes(entry, denoiser, vae)
    is_flow_matching = str(scheduler.get("_class_name", "")).startswith("FlowMatch")
    variant = detect_variant(
        name, entry.architecture, scheduler=scheduler, time_cond_dim=denoiser.get("time_cond_proj_dim")
    )
    defaults = variant or entry
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
        steps=defaults.steps,
        guidance_scale=defaults.guidance_scale,
        scheduler="lcm" if variant and scheduler.get("_class_name") == "LCMScheduler" else None,
        unet_channels=int(denoiser.get("in_channels", 4)),
        latent_channels=int(vae.get("latent_channels", 4)),
        is_flow_matching=is_flow_matching,
        max_prompt_tokens=_max_prompt_tokens(path),
        prediction="flow" if is_flow_matching else str(scheduler.get("prediction_type", "epsilon")),
        omitted=omitted,
        notes=(f"Detected {variant}.",) if variant and info is None else (),
    )
    fields = read_artgen_json(path / "artgen.json")
    if scheduler and fields.get("prediction", model.prediction) != model.prediction:
        raise InputFileError(
            f"Cannot use '{path / 'artgen.json'}': prediction is {fields['prediction']!r}, and the scheduler of the "
            f"model has {model.prediction!r}.",
            "Set prediction_type in the scheduler_config.json of the model.",
        )
    ignored = tuple(
        f"{key} in artgen.json has an effect only on single files." for key in _FILE_FIELDS if key in fields
    )
    model = replace(model, notes=(*model.notes, *ignored))
    return with_defaults(model, catalog_fields(info) | fields)


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
    patch = spatial_patch(denoiser_config.get("patch_size"))
    return (width * factor, height * factor), entry.size_multiple(factor, patch)


def spatial_patch(patch_size: int | list[int] | None) -> int:
    """Return the width of a transformer's patches in latent pixels; the patches of videos are (frames, H, W)."""
    return patch_size[-1] if isinstance(patch_size, list) else patch_size or 1


def _max_prompt_tokens(path: Path) -> int | None:
    limit = diffusers_folder.read_optional_config(path / "tokenizer" / "tokenizer_config.json").get("model_max_length")
    return int(limit) if isinstance(limit, int) and limit < 1_000_000 else None


def vae_scale_factor(vae_config: Mapping[str, Any]) -> int:
    """Return the image's width in pixels divided by the width of the latents.

    The VAE halves the resolution between each two of its blocks.
    """
    if isinstance(halvings := vae_config.get("temperal_downsample"), list):  # Qwen-Image; diffusers' spelling
        return int(2 ** len(halvings))
    blocks = vae_config.get("block_out_channels") or vae_config.get("encoder_block_out_channels")
    return int(2 ** (len(blocks) - 1)) if isinstance(blocks, list) and blocks else 8


def catalog_fields(info: ModelInfo | None) -> dict[str, Any]:
    if not info:
        return {}
    names = ("width", "height", "steps", "guidance_scale", "scheduler", "sigmas", "license", "description")
    return {key: getattr(info, key) for key in names if getattr(info, key) not in (None, "", "unknown")}


PREDICTIONS = ("epsilon", "v_prediction", "sample", "flow")
_TEXT_FIELDS = ("scheduler", "sigmas", "license", "description", "prediction", "base")
_FILE_FIELDS = ("base", "zero_snr")
"""Fields that describe how a single file is loaded, not the defaults of the model."""
_NUMBER_FIELDS: Mapping[str, tuple[Any, float, float]] = {
    "width": (int, 8, MAX_NATIVE_SIDE_PX),
    "height": (int, 8, MAX_NATIVE_SIDE_PX),
    "steps": (int, 1, 1000),
    "guidance_scale": (int | float, 0, 100),
}
"""Fields of `artgen.json`: type, smallest and largest value."""


def read_artgen_json(path: Path) -> dict[str, Any]:
    """Read and validate the fields of an `artgen.json` that artgen uses; return nothing if the file does not exist.

    Raises:
        InputFileError: a value has the wrong type or range; the message contains the file and the key.
    """
    table = diffusers_folder.read_optional_config(path)
    table.setdefault("license", table.get("licence"))  # Earlier versions export `licence`.
    fields = {key: table[key] for key in (*_TEXT_FIELDS, "zero_snr", *_NUMBER_FIELDS) if table.get(key) is not None}
    for key, value in fields.items():
        if key == "prediction":
            is_valid = value in PREDICTIONS
        elif key in _TEXT_FIELDS:
            is_valid = isinstance(value, str) and bool(value.strip())
        elif key == "zero_snr":
            is_valid = isinstance(value, bool)
        else:
            number_type, low, high = _NUMBER_FIELDS[key]
            is_number = isinstance(value, number_type) and not isinstance(value, bool)
            is_valid = is_number and low <= value <= high
        if not is_valid:
            raise InputFileError(f"Cannot use '{path}': {key} cannot be {value!r}.", "Correct the file.")
    return fields


def with_defaults(model: ResolvedModel, fields: Mapping[str, Any]) -> ResolvedModel:
    width, height = (
        int(fields.get(key, size)) for key, size in zip(("width", "height"), model.native_size, strict=True)
    )
    others = {key: value for key, value in fields.items() if key not in ("width", "height", *_FILE_FIELDS)}
    if model.pipeline_entry.guidance == "none" and others.get("guidance_scale", 0) > 1:
        del others["guidance_scale"]
        note = f"guidance_scale in artgen.json has no effect: {model.pipeline_entry.title} models have no guidance."
        model = replace(model, notes=(*model.notes, note))
    return replace(model, native_size=(width, height), files=model.file_identities(), **others)
