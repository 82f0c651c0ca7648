"""Build the control net: a copy of the encoder of the UNet with zero-initialized outputs (Zhang et al. 2023)."""

import inspect

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor
from torch.nn import functional

CONDITIONING_CHANNELS = (8, 32, 64, 128, 192)
"""Channels of the layers that reduce a control map from 128 px to the 8 px of the latents."""


def build_control_net(unet: UNet2DConditionModel) -> ControlNetModel:
    """Return a net whose output is zero, with the weights of the encoder of `unet`.

    `ControlNetModel.from_unet` fails with the bundled UNet, which has no middle block: a ControlNetModel requires one.
    The last layer of the conditioning embedding is not zero-initialized. The outputs are zero all the same, and the
    training converges sooner. Call `initialize_embedding` before a training.
    """
    known = inspect.signature(ControlNetModel.__init__).parameters
    config = {name: value for name, value in unet.config.items() if name in known}
    config |= {
        "mid_block_type": "UNetMidBlock2D",
        "addition_embed_type_num_heads": unet.config.addition_embed_type_num_heads,
        "conditioning_embedding_out_channels": CONDITIONING_CHANNELS,
    }
    net = ControlNetModel(**config)
    for part in ("conv_in", "time_embedding", "add_embedding", "down_blocks"):
        getattr(net, part).load_state_dict(getattr(unet, part).state_dict())
    net.controlnet_cond_embedding.conv_out.reset_parameters()
    return net


@torch.no_grad()
def initialize_embedding(net: ControlNetModel, maps: Tensor) -> None:
    """Scale the layers of the conditioning embedding so that their outputs have unit variance (Mishkin & Matas 2016).

    With the default weights, the signal of a map of thin lines decreases in each of the ten layers, and the training
    does not start to use the maps in the first hundreds of steps. `maps` is float32 (n, 3, side, side).
    """
    embedding = net.controlnet_cond_embedding
    features = maps
    for layer in (embedding.conv_in, *embedding.blocks, embedding.conv_out):
        output = layer(features)
        scale = output.std()
        layer.weight /= scale
        layer.bias.copy_((layer.bias - output.mean(dim=(0, 2, 3))) / scale)
        features = functional.silu(layer(features))
