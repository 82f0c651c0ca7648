"""Run one pipeline call: prompts, VAE, masked latents, NaN detection, frames, and one module per task."""
