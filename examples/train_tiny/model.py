"""Define the architecture and the noise schedule of the model."""

from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from tokenizer import LENGTH
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

LATENT_CHANNELS = 16
LATENT_SIDE = 8


@dataclass(frozen=True)
class Sizes:
    """Store the UNet channels (multiples of 32), and the width (a multiple of 64) and layers of the text encoder."""

    width: tuple[int, ...] = (128, 256)
    text_width: int = 256
    text_layers: int = 3


class TextToImageModel(nn.Module):
    """Combine the text encoder and the UNet, which are trained together: 16 million parameters in the bundled model."""

    def __init__(self, vocabulary: int, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        width, text_width = sizes.width, sizes.text_width
        self.text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary,
                hidden_size=text_width,
                intermediate_size=3 * text_width,
                num_hidden_layers=sizes.text_layers,
                num_attention_heads=text_width // 64,
                max_position_embeddings=LENGTH,
                hidden_act="quick_gelu",
                projection_dim=text_width,
                bos_token_id=vocabulary - 2,
                eos_token_id=vocabulary - 1,
                pad_token_id=vocabulary - 1,
            )
        )
        self.unet = UNet2DConditionModel(
            sample_size=LATENT_SIDE,
            in_channels=LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            block_out_channels=width,
            layers_per_block=1,
            mid_block_type=None,
            down_block_types=("CrossAttnDownBlock2D",) * len(width),
            up_block_types=("CrossAttnUpBlock2D",) * len(width),
            cross_attention_dim=text_width,
            # The pooled prompt embedding is added to the time embedding, so that every block receives it.
            # With cross-attention alone, a network of this size learns hundreds of nouns slowly.
            addition_embed_type="text",
            addition_embed_type_num_heads=4,
            # This class expects the number of heads per level.
            attention_head_dim=tuple(w // 32 for w in width),
            use_linear_projection=True,
            norm_num_groups=32,
        )

    def forward(self, noisy: Tensor, time: Tensor, tokens: Tensor) -> Tensor:
        """Return the predicted velocity, (batch, 16, 8, 8). `time` is in 0..999, `tokens` has shape (batch, LENGTH)."""
        hidden_states = self.text(tokens).last_hidden_state
        sample: Tensor = self.unet(noisy, time, hidden_states).sample
        return sample


def build_scheduler() -> DDIMScheduler:
    """Return a v-prediction scheduler with zero terminal SNR and trailing steps (Lin et al. 2024, arXiv 2305.08891)."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


def alphas_cumprod() -> Tensor:
    """Return alpha_bar of the 1000 timesteps, float32."""
    alphas: Tensor = build_scheduler().alphas_cumprod.to(torch.float32)
    return alphas
