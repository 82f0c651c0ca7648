"""Declare the settings of the frames that show the intermediate steps."""

from dataclasses import dataclass
from functools import partial

from artgen.spec.fields import option as any_option

FRAME_CONTENTS = ("x0", "xt")

option = partial(any_option, per_call=True, in_prompt_file=False, affects=())


@dataclass(frozen=True, kw_only=True)
class AnimationSettings:
    """Store the file of the frames and the frame rate."""

    frames: str | None = option(
        None,
        "Also save intermediate steps as a .gif, .webp or .mp4 file, a folder/ of PNG files, or a template such as "
        "`frames/{stem}.gif` ({stem}: the image's file name).",
        brief="Also save intermediate steps: a .gif, .webp or .mp4 file.",
        metavar="FILE|FOLDER/",
        values="files",
    )
    fps: float | None = option(
        None,
        "Frames per second. The last frame is shown longer. [total duration of 4 seconds]",
        minimum=0.1,
        maximum=60,
    )


@dataclass(frozen=True, kw_only=True)
class FramesSettings(AnimationSettings):
    """Store the content of the frames of a sampling run."""

    frames_show: str = option(
        "x0",
        "Content of a frame. x0: the model's estimate of the clean image at each step. xt: the noisy image at each "
        "step.",
        aliases=("--frames-of",),
        unlisted_aliases=("--frames-of",),
        choices=FRAME_CONTENTS,
        value_aliases={"estimate": "x0", "state": "xt"},
    )
    frame_interval: int | None = option(
        None,
        "Save every Nth step, and the last step. [the smallest N that gives at most 100 frames]",
        aliases=("--every",),
        unlisted_aliases=("--every",),
        minimum=1,
        maximum=1000,
    )
    include_noising: bool = option(
        False,
        "Start with the input image and show how noise is added to it.",
        flags=("--include-noising",),
        aliases=("--noise-first",),
        unlisted_aliases=("--noise-first",),
    )
