"""What a model's files say of it: a folder in diffusers' layout, or a single checkpoint."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, ModelUnavailableError
from artgen.registry import diffusers_folder
from artgen.registry.catalog import ModelInfo
from artgen.registry.resolved import ResolvedModel
from artgen.registry.safetensors_header import CheckpointInfo, inspect_file, read_header

PIPELINE_CLASSES = {
    "sd1": "StableDiffusionPipeline",
    "sd2": "StableDiffusionPipeline",
    "sdxl": "StableDiffusionXLPipeline",
    "sd3": "StableDiffusion3Pipeline",
    "flux": "FluxPipeline",
}
NATIVE_SIZES_PX = {"sd1": 512, "sd2": 512, "sdxl": 1024, "sd3": 1024, "flux": 1024}
DEFAULT_STEPS_AND_GUIDANCE = {
    "sd1": (30, 7.5),
    "sd2": (30, 7.5),
    "sdxl": (30, 5.0),
    "sd3": (28, 4.5),
    "flux": (28, 3.5),
}
"""Steps and guidance without better knowledge: diffusers' own guidance defaults (7.5, 5.0) with 30 steps; for SD 3
and Flux the values of their model cards."""


def describe_folder(name: str, path: Path, info: ModelInfo | None = None) -> ResolvedModel:
    """Read what a model folder says of itself; `info` and the folder's `artgen.json` give its defaults.

    Raises:
        ModelUnavailableError: no model folder, or a pipeline without a denoiser.
        InputFileError, RefusedError: damaged or unsafe files.
    """
    index = diffusers_folder.read_model_index(path)
    main = diffusers_folder.denoiser_name(path)
    names = {name: class_name for name, _, class_name in diffusers_folder.iter_components(index)}
    denoiser = diffusers_folder.read_optional_json(
        diffusers_folder.component_folder(path, main, names.get(main, "")) / "config.json"
    )
    vae = diffusers_folder.read_optional_json(path / "vae" / "config.json")
    scheduler = diffusers_folder.read_scheduler_config(path)
    if not denoiser:
        parts = ", ".join(names) or "nothing"
        raise ModelUnavailableError(
            f"{path} has no unet or transformer to draw with (it has {parts}).", "Check the folder."
        )
    architecture = architecture_of(str(index.get("_class_name", "")), denoiser)
    if architecture == "other" and not names.keys() - {"unet", "scheduler"}:
        architecture = "pixel"
    factor = 1 if architecture == "pixel" else vae_scale_factor(vae)
    patch = int(denoiser.get("patch_size") or 1) if main == "transformer" else 1
    patch = 2 if architecture == "flux" else patch
    size = denoiser.get("sample_size") or NATIVE_SIZES_PX.get(architecture, 512) // factor
    high, wide = (size, size) if isinstance(size, int) else (int(size[0]), int(size[-1]))
    tokenizer = diffusers_folder.read_optional_json(path / "tokenizer" / "tokenizer_config.json")
    limit = tokenizer.get("model_max_length")
    flow = str(scheduler.get("_class_name", "")).startswith("FlowMatch")
    steps, guidance, named = _default_sampling(architecture, denoiser, scheduler)
    found = ResolvedModel(
        name=name,
        path=path,
        source=info.source if info and info.bundled_folder else path.resolve().name,
        is_file=False,
        architecture=architecture,
        pipeline=str(index.get("_class_name", "")),
        variant=diffusers_folder.select_weights(path)[0],
        native_size=(wide * factor, high * factor),
        size_multiple=math.lcm(8, factor * patch),  # diffusers' Stable Diffusion pipelines insist on 8 whatever the VAE
        steps=steps,
        guidance_scale=guidance,
        scheduler=named,
        unet_channels=int(denoiser.get("in_channels", 4)),
        latent_channels=int(vae.get("latent_channels", 4)),
        is_flow_matching=flow,
        max_prompt_tokens=int(limit) if isinstance(limit, int) and limit < 1_000_000 else None,
        prediction="flow" if flow else str(scheduler.get("prediction_type", "epsilon")),
    )
    return _with_defaults(_with_defaults(found, _catalog_fields(info)), _metadata_file_fields(path / "artgen.json"))


def describe_file(name: str, path: Path, info: ModelInfo | None = None) -> ResolvedModel:
    """Read what a single safetensors checkpoint is from its header.

    Raises:
        RefusedError: a pickle.
        InputFileError: damaged or truncated.
        ModelUnavailableError: no whole checkpoint (a LoRA, a VAE, a UNet alone) or an unknown architecture.
    """
    file = inspect_file(path)
    _check_is_full_checkpoint(path, file)
    steps, guidance = DEFAULT_STEPS_AND_GUIDANCE[file.architecture]
    flow = file.architecture == "sd3"
    prediction = "flow" if flow else _prediction_type(path, file)
    size = 768 if (file.architecture, prediction) == ("sd2", "v_prediction") else NATIVE_SIZES_PX[file.architecture]
    found = ResolvedModel(
        name=name,
        path=path,
        source=path.name,
        is_file=True,
        architecture=file.architecture,
        pipeline=PIPELINE_CLASSES[file.architecture],
        native_size=(size, size),
        size_multiple=16 if flow else 8,
        steps=steps,
        guidance_scale=guidance,
        unet_channels=file.unet_channels or 4,
        latent_channels=16 if flow else 4,
        is_flow_matching=flow,
        max_prompt_tokens=77,
        prediction=prediction,
    )
    return _with_defaults(
        _with_defaults(found, _catalog_fields(info)), _metadata_file_fields(path.with_suffix(".artgen.json"))
    )


def _check_is_full_checkpoint(path: Path, checkpoint: CheckpointInfo) -> None:
    """Refuse what is no whole checkpoint, saying what it is."""
    if checkpoint.architecture == "flux" and checkpoint.kind != "lora":
        hint = "Use the model's hub id or its folder in diffusers' layout, which bring one."
        raise ModelUnavailableError(
            f"{path.name} is a Flux file, and artgen has no T5 tokenizer to read it with.", hint
        )
    if checkpoint.kind != "checkpoint" or checkpoint.architecture not in PIPELINE_CLASSES:
        what = {"lora": f"a LoRA for {checkpoint.architecture}", "vae": "a VAE alone", "unet": "a denoiser alone"}
        found = what.get(
            checkpoint.kind, f"no Stable Diffusion 1, 2, XL or 3 checkpoint ({checkpoint.tensors} tensors)"
        )
        hint = (
            "Pass it with --lora, and a model with --model."
            if checkpoint.kind == "lora"
            else "Pass a whole checkpoint."
        )
        raise ModelUnavailableError(f"{path.name} is {found}.", hint)
    wanted = {"text_encoder", "text_encoder_2"} if checkpoint.architecture in ("sdxl", "sd3") else {"text_encoder"}
    lacking = sorted(wanted - set(checkpoint.parts))
    if lacking:
        raise ModelUnavailableError(
            f"{path.name} brings no {' and no '.join(lacking)}.",
            "Look for a file that includes the text encoders, or use the model's hub id or folder.",
        )


def _prediction_type(path: Path, checkpoint: CheckpointInfo) -> str:
    """What the denoiser predicts, which its tensors do not say.

    In this order: the file's `modelspec` metadata (https://github.com/Stability-AI/ModelSpec), a `v_pred` tensor, the
    file's name; Stable Diffusion 2 without any of these is the 768-pixel v-prediction model, as diffusers assumes, and
    an inpainting one predicts the noise. `NAME.artgen.json` beside the file overrides it with {"prediction": ...}.
    """
    header = read_header(path)
    spec = header.metadata.get("modelspec.prediction_type", "").lower()
    name = path.stem.lower().replace("_", "-")
    if spec:
        return "v_prediction" if spec.startswith("v") else "epsilon"
    if "v_pred" in header.tensors or any(mark in name for mark in ("v-pred", "vpred", "768-v")):
        return "v_prediction"
    if checkpoint.architecture == "sd2" and checkpoint.unet_channels == 4:
        return "epsilon" if any(mark in name for mark in ("base", "512", "turbo")) else "v_prediction"
    return "epsilon"


def architecture_of(pipeline_class: str, denoiser_config: Mapping[str, Any]) -> str:
    """The family of a pipeline class and its denoiser's configuration."""
    kind = str(denoiser_config.get("_class_name", ""))
    if pipeline_class.startswith("StableDiffusion3") or kind == "SD3Transformer2DModel":
        return "sd3"
    if pipeline_class.startswith("Flux") or kind == "FluxTransformer2DModel":
        return "flux"
    if pipeline_class.startswith("StableDiffusionXL") or denoiser_config.get("addition_embed_type") == "text_time":
        return "sdxl"
    if pipeline_class.startswith(("StableDiffusion", "LatentConsistency", "AltDiffusion")):
        return "sd2" if denoiser_config.get("cross_attention_dim") == 1024 else "sd1"
    return "other"


def vae_scale_factor(vae_config: Mapping[str, Any]) -> int:
    """Pixels per latent along one side: one halving between each two of the VAE's levels."""
    blocks = vae_config.get("block_out_channels") or vae_config.get("encoder_block_out_channels")
    return int(2 ** (len(blocks) - 1)) if isinstance(blocks, list) and blocks else 8


def _default_sampling(
    architecture: str, denoiser_config: Mapping[str, Any], scheduler_config: Mapping[str, Any]
) -> tuple[int, float, str | None]:
    """Defaults from the scheduler's configuration, for models nobody has described.

    Latent consistency models come with an LCMScheduler (guidance 8.0 where the UNet embeds it, else off); models
    distilled to a few steps ("turbo") with Euler and trailing timesteps on epsilon prediction.
    """
    kind = str(scheduler_config.get("_class_name", ""))
    if kind == "LCMScheduler":
        return 4, 8.0 if denoiser_config.get("time_cond_proj_dim") else 1.0, "lcm"
    distilled = kind.startswith("Euler") and scheduler_config.get("timestep_spacing") == "trailing"
    if distilled and scheduler_config.get("prediction_type", "epsilon") == "epsilon":
        return 4, 0.0, None
    return (*DEFAULT_STEPS_AND_GUIDANCE.get(architecture, (30, 7.5)), None)


def _catalog_fields(info: ModelInfo | None) -> dict[str, Any]:
    if not info:
        return {}
    names = ("width", "height", "steps", "guidance_scale", "scheduler", "sigmas", "licence", "description")
    return {key: getattr(info, key) for key in names if getattr(info, key) not in (None, "", "unknown")}


def _metadata_file_fields(path: Path) -> dict[str, Any]:
    """The fields of an `artgen.json` that artgen uses, checked; empty without the file.

    Raises:
        InputFileError: a value of the wrong kind; names the file and the key.
    """
    kinds: dict[str, tuple[type, ...]] = {
        "width": (int,), "height": (int,), "steps": (int,), "guidance_scale": (int, float), "scheduler": (str,),
        "sigmas": (str,), "licence": (str,), "description": (str,), "prediction": (str,),
    }  # fmt: skip
    table = diffusers_folder.read_optional_json(path)
    fields = {key: table[key] for key in kinds if table.get(key) is not None}
    for key, value in fields.items():
        bad_number = isinstance(value, int | float) and not (0 <= value < 100_000)
        if not isinstance(value, kinds[key]) or isinstance(value, bool) or bad_number:
            raise InputFileError(f"{path}: {key} cannot be {value!r}.", "Mend the file.")
    return fields


def _with_defaults(model: ResolvedModel, fields: Mapping[str, Any]) -> ResolvedModel:
    wide, high = int(fields.get("width", model.native_size[0])), int(fields.get("height", model.native_size[1]))
    others = {key: value for key, value in fields.items() if key not in ("width", "height")}
    return replace(model, native_size=(wide, high), **others)
