"""Enlarge images: with a filter, with an upscaling network, or with tiled img2img."""
