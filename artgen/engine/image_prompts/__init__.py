"""Condition the denoiser on images: IP-Adapter (Ye et al. 2023, arXiv 2308.06721), with the layers of diffusers."""
