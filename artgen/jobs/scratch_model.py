"""Define the network and the noise schedule of a pixel-space model that is trained from random weights.

Ho et al., "Denoising diffusion probabilistic models", NeurIPS 2020, arXiv 2006.11239, appendix B: a UNet that halves
the image down to 4 or 8 pixels, with self-attention at 16 pixels; 1000 timesteps with linear betas; dropout 0.1.
"""

from typing import Any

from artgen.errors import UsageError

DEFAULT_SIZE_PX = 32
SIZE_MULTIPLE_PX = 8
MAX_SIZE_PX = 256
DEFAULT_CHANNELS = 64
CHANNEL_MULTIPLE = 32
"""Group normalization has 32 groups, and an attention head has 32 channels."""
ATTENTION_SIDE_PX = 16
"""Largest side of the feature maps with self-attention."""
MIN_LEVEL_SIDE_PX = 4
CHANNEL_FACTORS = {2: (1, 2), 3: (1, 2, 2), 4: (1, 2, 2, 2), 5: (1, 1, 2, 2, 4), 6: (1, 1, 2, 2, 4, 4)}
"""Channels of each level divided by the channels of the first level, by number of levels."""


def check_size(size: int) -> None:
    """Check that a model from scratch can have images of this side in pixels.

    Raises:
        UsageError: the side is not a multiple of 8, or is too large.
    """
    if size > MAX_SIZE_PX:
        raise UsageError(
            f"Cannot train a model from scratch at {size}x{size} pixels: the maximum is {MAX_SIZE_PX}x{MAX_SIZE_PX}.",
            "Use a smaller --size, or train a LoRA of an existing model: --mode lora.",
        )
    if size % SIZE_MULTIPLE_PX:
        lower = size - size % SIZE_MULTIPLE_PX
        raise UsageError(
            f"Cannot train a model from scratch at {size}x{size} pixels: the side must be a multiple of "
            f"{SIZE_MULTIPLE_PX}.",
            f"Use --size {lower} or --size {lower + SIZE_MULTIPLE_PX}.",
        )


def check_channels(channels: int) -> None:
    """Check the number of channels of the first level.

    Raises:
        UsageError: the number is not a multiple of `CHANNEL_MULTIPLE`.
    """
    if channels % CHANNEL_MULTIPLE:
        lower = channels - channels % CHANNEL_MULTIPLE
        raise UsageError(
            f"channels must be a multiple of {CHANNEL_MULTIPLE}, not {channels}.",
            f"Use --channels {lower} or --channels {lower + CHANNEL_MULTIPLE}.",
        )


def unet_config(size: int, channels: int) -> dict[str, Any]:
    """Return the arguments of diffusers' `UNet2DModel`.

    Args:
        size: side of the images in pixels; `check_size` accepts it.
        channels: channels of the first level; `check_channels` accepts them.
    """
    sides = [size]
    while sides[-1] % 2 == 0 and sides[-1] // 2 >= MIN_LEVEL_SIDE_PX and len(sides) < max(CHANNEL_FACTORS):
        sides.append(sides[-1] // 2)
    attends = [side <= ATTENTION_SIDE_PX for side in sides]
    attends = [here and not before for here, before in zip(attends, [False, *attends], strict=False)]
    down = ["AttnDownBlock2D" if here else "DownBlock2D" for here in attends]
    return {
        "sample_size": size,
        "in_channels": 3,
        "out_channels": 3,
        "layers_per_block": 2,
        "block_out_channels": [channels * factor for factor in CHANNEL_FACTORS[len(sides)]],
        "down_block_types": down,
        "up_block_types": [name.replace("Down", "Up") for name in reversed(down)],
        "attention_head_dim": CHANNEL_MULTIPLE,
        "norm_num_groups": CHANNEL_MULTIPLE,
        "dropout": 0.1,
    }


def scheduler_config() -> dict[str, Any]:
    """Return the arguments of diffusers' `DDPMScheduler`."""
    return {"num_train_timesteps": 1000, "beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}


def default_batch_size(size: int) -> int:
    """Return the default number of images per batch for images of this side in pixels: 32, or 2 at 256 pixels."""
    return max(2, 32 * 64**2 // max(size, 64) ** 2)
