"""Run models. Only this package imports torch, diffusers and transformers at module level."""
