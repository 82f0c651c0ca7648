"""How a picture came about, as an animation or a folder of pictures."""

from dataclasses import dataclass

from artgen.spec.fields import option

FRAME_CONTENTS = ("x0", "xt")
"""What a frame of denoising can show."""


@dataclass(frozen=True, kw_only=True)
class AnimationSettings:
    """Where frames go, and how fast they follow each other."""

    frames: str | None = option(
        None,
        "Save how it comes about too: a .gif, .webp or .mp4 file, a folder/ of PNG files, or a template such as "
        "`frames/{stem}.gif` ({stem}: the picture's name).",
        metavar="FILE|FOLDER/",
    )
    fps: float | None = option(
        None, "Frames a second. [as many as take 4 seconds; the last stays a while]", minimum=0.1, maximum=60
    )


@dataclass(frozen=True, kw_only=True)
class FramesSettings(AnimationSettings):
    """What frames of denoising show."""

    frames_show: str = option(
        "x0",
        "What frames show: the clean picture that the model expects at each step, or the noisy state it is in.",
        aliases=("--frames-of",),
        choices=FRAME_CONTENTS,
        value_aliases={"estimate": "x0", "state": "xt"},
    )
    frame_interval: int | None = option(
        None,
        "Show every k-th step, and the last. [1, or as few as keep to 100 frames]",
        aliases=("--every",),
        minimum=1,
        maximum=1000,
    )
    include_noising: bool = option(
        False,
        "Begin with the input picture and show how noise takes it over.",
        flags=("--include-noising",),
        aliases=("--noise-first",),
    )
