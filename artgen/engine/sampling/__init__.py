"""Run one pipeline call: prompts, VAE, masked latents, NaN detection, frames, one file per task."""
