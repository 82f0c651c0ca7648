"""Find the weights of `--vae`, and check that they fit the VAE of a model. Torch-free."""

import contextlib
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, ModelUnavailableError, UsageError
from artgen.events import Downloading, Listener, Notice, no_op
from artgen.registry import diffusers_folder, hub, location_index, model_folders
from artgen.registry.checkpoint_content import inspect_file
from artgen.registry.hub import cache
from artgen.registry.model_configs import check_config_fits_weights, read_config
from artgen.registry.references import ModelReference, parse_reference
from artgen.registry.resolved import ResolvedModel, VaeFile
from artgen.registry.safetensors_header import read_header
from artgen.registry.single_file_configs import single_file_config
from artgen.spec.fields import describe_value

VAE_CLASS = "AutoencoderKL"
LATENT_FORMAT: Mapping[str, Any] = {
    "latent_channels": 4, "scaling_factor": 0.18215, "shift_factor": None, "latents_mean": None, "latents_std": None
}  # fmt: skip
"""Values of a VAE's configuration that define its latents, and their defaults in diffusers."""
_HINT = "Use a VAE for the same family of models as --model."


def resolve_vae(
    name: str,
    model: ResolvedModel,
    *,
    offline: bool = False,
    download: bool = True,
    listener: Listener = no_op,
) -> VaeFile | None:
    """Find the weights of `--vae` on the disk, or download them, and check that they fit a model.

    The configuration of a hub repository is checked before the weights are downloaded.

    Args:
        name: alias, hub id, model folder, folder of a VAE, or safetensors file with the tensor names of diffusers or
            of the original repositories.
        model: the model whose VAE is replaced.
        offline: do not use the network.
        download: download the weights; else return None if the weights of a hub repository are not on the disk.
        listener: receives the events of the download.

    Raises:
        UsageError: the model has no AutoencoderKL.
        InputFileError: the file is damaged, or is not a VAE.
        ModelUnavailableError: the name is unknown, or the VAE has other latents than the model.
        RefusedError: the weights are a pickle.
    """
    expected = model_vae_config(model)
    reference = _vae_reference(name)
    path = Path(reference.target)
    if reference.kind == "file":
        vae = VaeFile(reference.name, path, (path,))
        _check_file(vae, model, expected)
        return vae
    if reference.kind == "hub":
        return _resolve_hub_vae(reference, model, expected, offline or cache.is_offline(), download, listener)
    source = reference.info.source if reference.kind == "bundled" and reference.info else "local"
    return _folder_vae(reference.name, path, model, expected, source=source)


def find_vaes_by_hash(digest: object) -> list[VaeFile]:
    """Return the VAEs of the index of locations that still have a hash, the newest first.

    Args:
        digest: SHA-256 of the weights (see `VaeFile.hash`), 64 lower-case hex digits.
    """

    def describe(path: Path) -> VaeFile:
        return VaeFile(str(path), path, (path,) if path.is_file() else _folder_weights(path))

    return location_index.find_by_hash(digest, describe, VaeFile.hash)


def model_vae_config(model: ResolvedModel) -> dict[str, Any]:
    """Return the configuration of a model's AutoencoderKL.

    Raises:
        UsageError: the model has another VAE, or none.
    """
    folder = single_file_config(model) if model.is_file else model.path
    entry = diffusers_folder.read_model_index(folder).get("vae")
    if not isinstance(entry, list) or VAE_CLASS not in entry:
        found = f"its VAE has the class {entry[-1]}" if isinstance(entry, list) and entry[-1] else "it has no VAE"
        raise UsageError(
            f"--vae replaces an {VAE_CLASS}, and '{model.name}' has none: {found}.", "Remove --vae.", settings=("vae",)
        )
    return diffusers_folder.read_optional_config(folder / "vae" / "config.json")


def _vae_reference(name: str) -> ModelReference:
    """Interpret a name like `parse_reference`. The folder of a VAE and VAEs in the user's model folders come first.

    Raises:
        ModelUnavailableError: the name is unknown.
    """
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
    with contextlib.suppress(OSError, ValueError):
        if not (path / "model_index.json").is_file() and _vae_folder(path) is not None:
            return ModelReference("folder", name, str(path))
    if not os.path.lexists(path) and (found := model_folders.find("vae", name)):
        return ModelReference("folder" if found.is_dir() else "file", str(found), str(found))
    try:
        return parse_reference(name)
    except ModelUnavailableError as error:
        if name.strip() and not error.message.startswith("Cannot find"):
            raise
        raise ModelUnavailableError(
            f"Cannot find the VAE {describe_value(name)}.",
            "Give a hub id (OWNER/NAME), a folder with a VAE, a .safetensors file, or a name in your model_folders.",
        ) from error


def _vae_folder(path: Path) -> Path | None:
    """Return the folder of the VAE of a model folder, or the folder itself; None without a configuration."""
    return next((folder for folder in (path / "vae", path) if (folder / "config.json").is_file()), None)


def _folder_weights(folder: Path) -> tuple[Path, ...]:
    return next((found.files for found in diffusers_folder.find_weights(folder) if found.is_complete), ())


def _folder_vae(
    name: str,
    path: Path,
    model: ResolvedModel,
    expected: Mapping[str, Any],
    *,
    source: str = "local",
    revision: str | None = None,
) -> VaeFile:
    folder = _vae_folder(path)
    if folder is None:
        raise ModelUnavailableError(f"'{name}' has no VAE: '{path}' has no config.json of a VAE.", _HINT)
    config = _check_config(name, folder / "config.json", model, expected)
    if not (weights := _folder_weights(folder)):
        raise ModelUnavailableError(
            f"Cannot load the VAE '{name}': '{folder}' has no complete .safetensors weights.", "Use another copy."
        )
    shapes = {key: shape for file in weights for key, (_, shape) in read_header(file).tensors.items()}
    check_config_fits_weights(folder / "config.json", config, shapes)
    return VaeFile(name, folder, weights, source, revision)


def _resolve_hub_vae(
    reference: ModelReference,
    model: ResolvedModel,
    expected: Mapping[str, Any],
    offline: bool,
    download: bool,
    listener: Listener,
) -> VaeFile | None:
    snapshot = cache.snapshot_folder(reference.target, reference.revision)
    folder = snapshot and _vae_folder(snapshot)
    if folder is None or not _folder_weights(folder):
        if offline:
            raise ModelUnavailableError(
                f"The VAE '{reference.name}' is not on this computer, and the network is disabled (--offline or "
                "HF_HUB_OFFLINE).",
                "Run the command once with a network.",
            )
        snapshot = hub.pull_vae(
            reference.target,
            revision=reference.revision,
            on_progress=lambda file, done, total: listener(Downloading(file, done, total)),
            on_note=lambda text: listener(Notice(text)),
            check_config=lambda config: _check_config(reference.name, config, model, expected),
            weights=download,
        )
        if not download:
            return None
    if snapshot is None:
        raise ModelUnavailableError(f"Cannot find the VAE '{reference.name}'.", _HINT)
    return _folder_vae(reference.name, snapshot, model, expected, source=reference.target, revision=snapshot.name)


def _check_config(name: str, path: Path, model: ResolvedModel, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Check the class, the scale and the latents of a VAE's configuration against the model's VAE; return it."""
    config = read_config(path)
    found = config.get("_class_name")
    if found != VAE_CLASS:
        raise ModelUnavailableError(f"Cannot use the VAE '{name}': its class is {found}, not {VAE_CLASS}.", _HINT)
    if reason := latent_mismatch(config, expected):
        raise _mismatch_error(name, model, reason)
    return config


def latent_mismatch(config: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Return why two VAEs have different latents, given their configurations; empty if the latents are the same."""
    for key, default in LATENT_FORMAT.items():
        value, wanted = config.get(key, default), expected.get(key, default)
        if not _equal(value, wanted):
            return f"its {key} is {value}, and the VAE of the model has {wanted}"
    blocks, wanted_blocks = (len(each.get("block_out_channels") or (0,)) for each in (config, expected))
    return f"it has {blocks} levels, and the VAE of the model has {wanted_blocks}" if blocks != wanted_blocks else ""


def _equal(value: Any, wanted: Any) -> bool:
    if isinstance(value, int | float) and isinstance(wanted, int | float):
        return math.isclose(value, wanted, rel_tol=1e-3)
    return bool((value or None) == (wanted or None))


def _check_file(vae: VaeFile, model: ResolvedModel, expected: Mapping[str, Any]) -> None:
    """Check the content of a single file. It has no configuration: diffusers uses the one of the model's VAE."""
    content = inspect_file(vae.path)
    if content.kind != "vae":
        kinds = {"lora": "a LoRA", "checkpoint": "a complete checkpoint", "unet": "a denoiser"}
        raise InputFileError(
            f"Cannot use '{vae.path.name}' as a VAE: it is {kinds.get(content.kind, 'another kind of file')}.",
            "Pass the .safetensors file of a VAE.",
        )
    shapes = {name: shape for name, (_, shape) in read_header(vae.path).tensors.items()}
    conv_in = next((shape for name, shape in shapes.items() if name.endswith("decoder.conv_in.weight")), ())
    if len(conv_in) != 4:
        raise InputFileError(f"Cannot use '{vae.path.name}' as a VAE: it is not an {VAE_CLASS}.", _HINT)
    channels, wanted = conv_in[1], expected.get("latent_channels", 4)
    if channels != wanted:
        raise _mismatch_error(
            vae.name, model, f"it has {channels} latent channels, and the VAE of the model has {wanted}"
        )
    # The VAEs of Stable Diffusion 1 and XL have the same tensors and another scale, so only the name shows the family.
    is_named_xl = re.search(r"sdxl|(?<![a-z])xl(?![a-z])", vae.path.stem.lower())
    scale = expected.get("scaling_factor", LATENT_FORMAT["scaling_factor"])
    if is_named_xl and wanted == 4 and model.architecture != "sdxl" and not _equal(scale, 0.13025):
        raise _mismatch_error(
            vae.name, model, f"its name is that of a VAE of SDXL, whose scaling_factor is 0.13025 instead of {scale}"
        )


def _mismatch_error(name: str, model: ResolvedModel, reason: str) -> ModelUnavailableError:
    return ModelUnavailableError(f"Cannot use the VAE '{name}' with '{model.name}': {reason}.", _HINT)
