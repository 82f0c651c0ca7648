"""Check that a control net fits a loaded pipeline, where `registry.control_nets.fit` cannot check it.

The latents and the scale factor of the VAE can be replaced (`--vae`), and a file can differ from its configuration.
"""

from collections.abc import Mapping
from typing import Any

from artgen.engine.loading.components import Pipeline, denoiser_of
from artgen.errors import ModelUnavailableError
from artgen.registry.control_nets import ControlNet


def check_fits(net: ControlNet, config: Mapping[str, Any], pipe: Pipeline) -> None:
    """Check that a net reads the latents and the control maps of a pipeline.

    Args:
        net: the net, for the message.
        config: configuration of the loaded net.
        pipe: the model's pipeline.

    Raises:
        ModelUnavailableError: the net does not fit.
    """
    if reason := _mismatch(net.class_name, config, pipe):
        raise ModelUnavailableError(
            f"Cannot use the control net '{net.name}' with this model: {reason}.",
            "Use a net that was trained for the model.",
        )


def _mismatch(class_name: str, config: Mapping[str, Any], pipe: Pipeline) -> str:
    """Return why a net does not fit as a clause; empty if it fits."""
    denoiser = denoiser_of(pipe).config
    if class_name == "SD3ControlNetModel":
        if config["patch_size"] != denoiser["patch_size"]:
            return f"its patch_size is {config['patch_size']}, and that of the model is {denoiser['patch_size']}"
        return ""
    if class_name not in ("ControlNetModel", "ControlNetUnionModel"):
        return ""
    if config["in_channels"] != (channels := pipe.vae.config.latent_channels):
        return f"the net reads latents with {config['in_channels']} channels, and the model has {channels}"
    # The first layer keeps the size of the map, and each further layer halves it.
    factor = 2 ** (len(config["conditioning_embedding_out_channels"]) - 1)
    if factor != pipe.vae_scale_factor:
        return f"the net reduces the control map by the factor {factor}, and the VAE by {pipe.vae_scale_factor}"
    return ""
