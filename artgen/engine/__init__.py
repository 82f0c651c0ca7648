"""The only package that imports torch, diffusers and transformers at module level."""
