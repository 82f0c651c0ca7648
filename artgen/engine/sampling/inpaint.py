"""Inpainting and outpainting: repaint what a mask marks, keep the rest.

A 9-channel inpainting checkpoint sees mask and surroundings; any other model is held to the surroundings by
blending the known latents in at every step (RePaint's basic scheme, Lugmayr et al. 2022). diffusers chooses by the
UNet's channels.
"""

from typing import Any

from artgen.jobs.prepare import Job

PIPELINE = "Inpainting"


def arguments(jobs: list[Job]) -> dict[str, Any]:
    """Keyword arguments of the pipeline beyond those all tasks share."""
    return {
        "image": [job.padded_image for job in jobs],
        "mask_image": [job.padded_mask for job in jobs],
        "strength": jobs[0].strength,
        "width": jobs[0].padded_image.width,
        "height": jobs[0].padded_image.height,
    }
