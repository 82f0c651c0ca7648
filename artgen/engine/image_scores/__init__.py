"""Score how well an image fits a prompt: with the diffusion model, or with a CLIP model."""
