"""Implement `artgen denoise`: estimate the noise level and remove noise with diffusion models or classical methods."""
