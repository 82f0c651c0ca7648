"""Declare the settings of edits according to an instruction."""

from dataclasses import dataclass

from artgen.spec.fields import option

MAX_IMAGE_GUIDANCE = 100.0


@dataclass(frozen=True, kw_only=True)
class EditSettings:
    """Store the guidance by the input image, and the reference images."""

    image_guidance_scale: float | None = option(
        None,
        "InstructPix2Pix: how closely the result follows the input image, 1 or more. Higher values change less. "
        "[the model's scale, 1.5]",
        brief="InstructPix2Pix: higher values change less.",
        minimum=1,
        maximum=MAX_IMAGE_GUIDANCE,
    )
    reference: tuple[str, ...] = option(
        (),
        "Further image that the instruction can refer to, for models that take several images. Repeatable.",
        flags=("--reference",),
        metavar="FILE",
        is_path=True,
        per_call=True,
        sweepable=False,
        affects=("pixels", "input"),
        values="files",
    )
