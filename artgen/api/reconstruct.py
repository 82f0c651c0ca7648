"""Encode and decode images with the autoencoder of a model."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from artgen.api.arguments import api_function, take_group
from artgen.api.call import start_call
from artgen.api.image_lists import image_files, is_single_image
from artgen.api.keyword_types import ReconstructKeywords
from artgen.errors import ModelUnavailableError
from artgen.events import Listener, ModelSelected
from artgen.spec.settings import DeviceSettings, ModelRef
from artgen.system import process

if TYPE_CHECKING:
    from artgen.api.image_lists import ImagesInput
    from artgen.engine.reconstruct import Reconstruction
    from artgen.registry import ResolvedModel

SUPPORTED_AUTOENCODERS = ("AutoencoderKL", "AutoencoderKLFlux2")


@api_function("reconstruct")
def reconstruct(
    images: "ImagesInput", **settings: Unpack[ReconstructKeywords]
) -> "Reconstruction | list[Reconstruction]":
    """Encode and decode images with the autoencoder of a model, and measure the difference.

    The model cannot generate details that its autoencoder loses. A result has the attributes `original`,
    `reconstructed` (PIL images) and `metrics`: psnr in dB (infinity for equal images), ssim and vae_feature_distance.
    One image gives one result; several images or a folder give a list.

    Args:
        images: path, folder, PIL image, array or result, or a list of them.

    Raises:
        UsageError, InputFileError, ModelUnavailableError: A value, an image or the model is invalid.
        MemoryExhaustedError, NonFiniteError: An image could not be reconstructed.
    """
    with start_call("reconstruct", settings) as call:
        from artgen.images import load_image
        from artgen.jobs import checks

        model_ref, compute = take_group(ModelRef, call.values), take_group(DeviceSettings, call.values)
        checks.check_device(compute.device, None)
        model = resolve_autoencoder(model_ref, call.listener)
        files = image_files(images, call.listener.add_note)
        for file in files:  # reports unreadable files before the model is loaded
            for text in load_image(file).notes:
                call.listener.add_note(text)
        results = list(reconstruct_files(files, model, compute, call.listener))
    return results[0] if is_single_image(images) else results


def resolve_autoencoder(model_ref: ModelRef, listener: Listener) -> "ResolvedModel":
    """Return the model whose autoencoder is used.

    Raises:
        ModelUnavailableError: the model is unknown, or has no supported autoencoder.
    """
    from artgen import registry

    name = model_ref.model or registry.default_model(offline=model_ref.offline, listener=listener)
    return registry.resolve_usable_model(name, _check_has_vae, offline=model_ref.offline, listener=listener)


def _check_has_vae(model: "ResolvedModel") -> None:
    found = _autoencoder_class(model)
    if found not in SUPPORTED_AUTOENCODERS:
        supported = " and ".join(SUPPORTED_AUTOENCODERS)
        reason = f"has the autoencoder {found}, and reconstruct supports {supported}" if found else "has no autoencoder"
        raise ModelUnavailableError(f"Cannot use '{model.name}': it {reason}.", "Choose another --model.")


def _autoencoder_class(model: "ResolvedModel") -> str:
    """Return the class of a model's autoencoder; empty if the model works on pixels."""
    from artgen.registry import diffusers_folder

    component = model.pipeline_entry.vae
    if component is None:
        return ""
    if model.is_file:
        return SUPPORTED_AUTOENCODERS[0]
    return str((diffusers_folder.read_model_index(model.path).get(component) or [None, ""])[1])


def reconstruct_files(
    files: Sequence[Path], model: "ResolvedModel", compute: DeviceSettings, listener: Listener
) -> "Iterator[Reconstruction]":
    """Yield the reconstruction of each image."""
    from artgen import images
    from artgen.engine import fast_import

    with process.paused_gc(), fast_import.quiet_log():
        from artgen.engine import reconstruct as vae_reconstruct
    from artgen.engine.loading.device import resolve_device

    device_config = resolve_device(compute.device, "fp32" if compute.dtype == "auto" else compute.dtype)
    listener(ModelSelected(f"the autoencoder of {model.short_name}", device_config.device, device_config.dtype))
    originals = (images.load_image(file).image for file in files)
    return vae_reconstruct.reconstruct_all(model, originals, device_config, listener)
