"""Declare the JSON objects of generated images: the record of the image, and fields that `--json` adds."""

from functools import partial
from typing import Any, NotRequired, TypedDict

from artgen._version import RECORD_SCHEMA
from artgen.cli.json_output import JsonOutput


class Metrics(TypedDict):
    """Measure the difference between an image and its reference.

    Attributes:
        psnr: peak signal-to-noise ratio in dB; null if the images are equal.
        ssim: structural similarity, at most 1.
        vae_feature_distance: distance of the features of the bundled VAE, 0 or more.
    """

    psnr: float | None
    ssim: float
    vae_feature_distance: float


class ImageFields(TypedDict):
    """Define the fields that `--json` adds to the record of an image.

    Attributes:
        file: path of the image. With `--dry-run`, the path that the image would have.
        where: prompt-file line or input image of the job, such as `prompts.txt:12`. Only with `--dry-run`.
        frames: path of the file or the folder of the intermediate steps. Only with `--frames`.
        before: difference between the noisy image and the reference. Only with `--reference`.
        after: difference between the denoised image and the reference. Only with `--reference`.
        same_pixels: whether all pixels are equal to the original image. Only in replay, without changes of the pixels.
        differing_pixels: number of pixels that differ; null if the size or the channels differ. Only in replay.
        max_difference: largest difference of a channel in gray levels, 0 to 255; null as above. Only in replay.
    """

    file: str
    where: NotRequired[str]
    frames: NotRequired[str]
    before: NotRequired[Metrics]
    after: NotRequired[Metrics]
    same_pixels: NotRequired[bool]
    differing_pixels: NotRequired[int | None]
    max_difference: NotRequired[float | None]


def image_output(*tasks: str) -> JsonOutput:
    """Return the declaration of the objects of a command that generates images.

    Args:
        tasks: tasks of the command; empty for a command with all tasks.
    """
    return JsonOutput(partial(_image_schema, tasks), RECORD_SCHEMA, has_record=True)


def _image_schema(tasks: tuple[str, ...]) -> dict[str, Any]:
    from artgen.spec.json_schema import object_schema, record_properties
    from artgen.spec.requests import TASKS

    names = tasks or tuple(TASKS)
    fields = object_schema(ImageFields)
    properties = fields["properties"] | record_properties(names) | {
        "task": {"enum": list(names), "description": "Task that generated the image."}
    }  # fmt: skip
    return {"type": "object", "properties": properties, "required": ["file", "task"]}
