"""Read the configuration of an upscaling network in a folder: Swin2SR of transformers, or a pipeline of diffusers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen.errors import ModelUnavailableError
from artgen.registry import config_checks, diffusers_folder, hashes
from artgen.registry.model_configs import check_config_fits_weights, read_config
from artgen.registry.safetensors_header import read_header, reject_pickle
from artgen.registry.upscalers.upscaler import DIFFUSION_CLASSES, SD_LATENT_UPSCALE, SD_UPSCALE, SWIN2SR, Upscaler
from artgen.spec.fields import describe_value

FOLDER_HINT = "Use Swin2SR, a pipeline of diffusers (x4 or latent x2), or a .safetensors file of the ESRGAN family."
MODEL_TYPE = "swin2sr"
MAX_SCALE = 16
PIPELINE_SCALES: Mapping[str, int] = {SD_UPSCALE: 4, SD_LATENT_UPSCALE: 2}
_FIRST_CONVOLUTION = "swin2sr.first_convolution.weight"


def read_folder(name: str, folder: Path) -> Upscaler:
    """Return the network of a folder with `model_index.json`, with `config.json`, or with one .safetensors file.

    Raises:
        InputFileError: a file is damaged.
        ModelUnavailableError: the folder is not an upscaling network that artgen supports, or is incomplete.
        RefusedError: the weights are a pickle, or the model needs its own code.
    """
    if (folder / "model_index.json").is_file():
        return _read_pipeline(name, folder)
    if (folder / "config.json").is_file():
        return _read_swin2sr(name, folder)
    for file in sorted(folder.iterdir()):
        reject_pickle(file)
    raise ModelUnavailableError(
        f"'{name}' is not an upscaler: the folder has no config.json and no model_index.json.", FOLDER_HINT
    )


def check_swin2sr_config(name: str, config: Mapping[str, Any]) -> int:
    """Check the configuration of a model of transformers; return its scale.

    Raises:
        ModelUnavailableError: the model is not Swin2SR for RGB images, or a value is out of bounds.
    """
    model_type = config.get("model_type")
    if model_type != MODEL_TYPE:
        raise ModelUnavailableError(
            f"'{name}' is not an upscaler: its model type is {describe_value(model_type)}, not {MODEL_TYPE}.",
            FOLDER_HINT,
        )
    scale, channels, outputs = config.get("upscale", 2), config.get("num_channels", 3), config.get("num_channels_out")
    if type(scale) is not int or not 1 <= scale <= MAX_SCALE or channels != 3 or outputs not in (3, None):
        raise ModelUnavailableError(
            f"Cannot use the upscaler '{name}': it has the scale {describe_value(scale)} and "
            f"{describe_value(channels)} color channels; artgen needs a scale of 1 to {MAX_SCALE} and 3 channels.",
            FOLDER_HINT,
        )
    return scale


def check_pipeline_index(name: str, index: Mapping[str, Any]) -> str:
    """Check the `model_index.json` of a pipeline; return its class.

    Raises:
        ModelUnavailableError: artgen does not support the pipeline as an upscaler.
        RefusedError: the model needs its own code.
    """
    class_name = config_checks.check_classes(name, index)
    if class_name not in DIFFUSION_CLASSES:
        raise ModelUnavailableError(
            f"'{name}' is not an upscaler: its pipeline is {class_name[:80]}, not {' or '.join(DIFFUSION_CLASSES)}.",
            FOLDER_HINT,
        )
    return class_name


def _read_swin2sr(name: str, folder: Path) -> Upscaler:
    config_file = folder / "config.json"
    config = read_config(config_file)
    scale = check_swin2sr_config(name, config)
    weights = next((found for found in diffusers_folder.find_weights(folder) if found.is_complete), None)
    if weights is None:
        for file in sorted(folder.iterdir()):
            reject_pickle(file)
        raise ModelUnavailableError(
            f"Cannot load the upscaler '{name}': '{folder}' has no complete .safetensors weights.", "Use another copy."
        )
    shapes = {key: shape for file in weights.files for key, (_, shape) in read_header(file).tensors.items()}
    check_config_fits_weights(config_file, config, shapes)
    first, depths = shapes.get(_FIRST_CONVOLUTION, ()), config.get("depths") or ()
    width = config.get("embed_dim", 180)
    if first[:1] != (width,) or not isinstance(depths, list) or sum(map(_as_int, depths)) > len(shapes):
        raise ModelUnavailableError(
            f"Cannot load the upscaler '{name}': its config.json does not fit the tensors of its weights.",
            "Use another copy.",
        )
    return Upscaler(
        name,
        folder,
        SWIN2SR,
        scale,
        files=(config_file, *weights.files),
        config=config,
        sha256=hashes.model_hash(weights.files),
    )


def _as_int(value: object) -> int:
    return value if type(value) is int and value > 0 else 1 << 30


def _read_pipeline(name: str, folder: Path) -> Upscaler:
    index = diffusers_folder.read_model_index(folder)
    class_name = check_pipeline_index(name, index)
    config_checks.check_components(name, folder, index)
    if missing := diffusers_folder.missing_files(folder):
        for part in sorted(folder.glob("*/*")):
            if part.parent.name == missing[0].partition("/")[0]:
                reject_pickle(part)
        raise ModelUnavailableError(
            f"The upscaler '{name}' is incomplete: {missing[0]} is missing.", "Use a complete copy of the model."
        )
    weights = diffusers_folder.select_weights(folder)[1]
    for component, found in weights.items():
        shapes = {key: shape for file in found.files for key, (_, shape) in read_header(file).tensors.items()}
        config = found.files[0].with_name("config.json")
        check_config_fits_weights(config, read_config(config), shapes)
        if not shapes:
            raise ModelUnavailableError(f"Cannot load '{name}': its {component} has no tensors.", "Use another copy.")
    return Upscaler(
        name,
        folder,
        class_name,
        PIPELINE_SCALES[class_name],
        files=tuple(diffusers_folder.model_files(folder)),
        sha256=hashes.model_hash(weights["unet"].files) if "unet" in weights else "",
    )


def is_complete(folder: Path) -> bool:
    """Return whether a snapshot of a hub repository has the weights of all parts of a network."""
    if (folder / "model_index.json").is_file():
        return not diffusers_folder.missing_files(folder)
    has_config = (folder / "config.json").is_file()
    return has_config and any(found.is_complete for found in diffusers_folder.find_weights(folder))
