"""Generate the masked part of an image: inpaint and outpaint.

diffusers selects the method by the number of input channels of the UNet. A 9-channel inpainting model receives the
mask and the masked image as input. With every other model the pipeline replaces the latents outside the mask by the
noised source latents after each step (the basic method of RePaint, Lugmayr et al. 2022, arXiv 2201.09865).
"""

from collections.abc import Sequence
from typing import Any

from artgen.engine.sampling import img2img
from artgen.jobs.prepare import Job

PIPELINE_KIND = "Inpainting"


def pipeline_kwargs(jobs: Sequence[Job]) -> dict[str, Any]:
    """Return the keyword arguments of the pipeline that are specific to this task."""
    return {**img2img.pipeline_kwargs(jobs), "mask_image": [job.padded_mask for job in jobs]}
