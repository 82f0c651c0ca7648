"""Build the arguments of a pipeline call that depend on the task. `artgen.spec.requests.TASKS` names them.

txt2img starts from noise. img2img noises the input image according to `strength` and denoises it (SDEdit, Meng et al.
2022, arXiv 2108.01073). inpaint and outpaint generate the masked part of an image; diffusers selects the method by the
number of input channels of the UNet. A 9-channel inpainting model receives the mask and the masked image as input. With
every other model the pipeline replaces the latents outside the mask by the noised source latents after each step (the
basic method of RePaint, Lugmayr et al. 2022, arXiv 2201.09865).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from artgen.jobs.job import GenerationJob
from artgen.spec.tasks import Task

_VALUES: Mapping[str, Callable[[Sequence[GenerationJob]], Any]] = {
    "width": lambda jobs: jobs[0].pipeline_size[0],
    "height": lambda jobs: jobs[0].pipeline_size[1],
    "strength": lambda jobs: jobs[0].strength,
    "image": lambda jobs: [job.padded_image for job in jobs],
    "mask_image": lambda jobs: [job.padded_mask for job in jobs],
}


def task_arguments(task: Task, jobs: Sequence[GenerationJob]) -> dict[str, Any]:
    """Return the keyword arguments of the pipeline that are specific to a task."""
    values = {name: _VALUES[name](jobs) for name in task.arguments}
    if jobs[0].crop_padding is None:
        return values
    # The pipeline crops, enlarges and puts back the masked area. It accepts one image of any size.
    cropped = {"image": jobs[0].filled_image, "mask_image": jobs[0].binary_mask}
    return {**values, **cropped, "padding_mask_crop": jobs[0].crop_padding}
