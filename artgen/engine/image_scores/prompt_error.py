"""Compare the predictions of a Stable Diffusion model for a noisy image with a prompt and without a prompt.

A model predicts the noise of an image better with a matching prompt (Li et al., "Your diffusion model is secretly a
zero-shot classifier", ICCV 2023, arXiv 2303.16203).
"""

from typing import Any

import torch

from artgen.engine.diffusion.noise_schedule import (
    NoiseLevel,
    predict_noise,
    predict_x0,
    read_alphas_cumprod,
    read_prediction_type,
    training_target,
)


class PromptPair:
    """Call the UNet with a prompt and with the empty prompt.

    Attributes:
        num_timesteps: timesteps of the noise schedule.
    """

    def __init__(self, pipe: Any, embeddings: dict[str, torch.Tensor], latent_shape: torch.Size) -> None:
        """Store the embeddings of a prompt and of the empty prompt.

        Args:
            pipe: pipeline of Stable Diffusion 1, 2 or XL.
            embeddings: embeddings of one prompt, with the empty negative prompt.
            latent_shape: shape (1, C, h, w) of the latents.
        """
        self._unet = pipe.unet
        config = pipe.scheduler.config
        self._alphas_cumprod = read_alphas_cumprod(config)
        self._prediction_type = read_prediction_type(config, type(pipe.scheduler).__name__)
        self.num_timesteps = len(self._alphas_cumprod)
        self._prompt_embeds = torch.cat([embeddings["prompt_embeds"], embeddings["negative_prompt_embeds"]])
        self._unet_kwargs: dict[str, Any] = {}
        if "pooled_prompt_embeds" in embeddings:  # Stable Diffusion XL is conditioned on the image size, too
            height, width = (side * pipe.vae_scale_factor for side in latent_shape[2:])
            pooled = torch.cat([embeddings["pooled_prompt_embeds"], embeddings["negative_pooled_prompt_embeds"]])
            time_ids = torch.tensor([[height, width, 0, 0, height, width]] * 2).to(pooled)
            self._unet_kwargs = {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": time_ids}}

    def level_at(self, timestep: int) -> NoiseLevel[float]:
        """Return the noise level of a timestep."""
        return NoiseLevel.from_alpha_bar(float(self._alphas_cumprod[timestep]))

    def timestep_at(self, strength: float) -> int:
        """Return the timestep of a strength, 0 to 1; at least 1."""
        return min(self.num_timesteps - 1, max(1, round(strength * self.num_timesteps) - 1))

    def predict(self, state: torch.Tensor, timestep: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return x0 and epsilon of noisy latents (1, C, h, w), shape (2, C, h, w): with the prompt and without it."""
        network_input = state.repeat(2, 1, 1, 1).to(self._unet.dtype)
        model_output = self._unet(
            network_input, timestep, encoder_hidden_states=self._prompt_embeds, **self._unet_kwargs
        ).sample.float()
        prediction = (model_output, state, self.level_at(timestep), self._prediction_type)
        return predict_x0(*prediction), predict_noise(*prediction)

    def v_errors(
        self, prediction: tuple[torch.Tensor, torch.Tensor], latents: torch.Tensor, noise: torch.Tensor, timestep: int
    ) -> torch.Tensor:
        """Return the squared errors of v, mean over the channels, shape (2, h, w): with the prompt and without it.

        The error of v is finite at all noise levels, for every prediction type.
        """
        x0, epsilon = prediction
        level = self.level_at(timestep)
        return training_target(x0 - latents, epsilon - noise, level, "v_prediction").square().mean(1)
