"""Condition the denoiser on control maps: ControlNet (Zhang, Rao and Agrawala 2023, arXiv 2302.05543) and T2I-Adapter
(Mou et al. 2023, arXiv 2302.08453), with the pipelines of diffusers.
"""
