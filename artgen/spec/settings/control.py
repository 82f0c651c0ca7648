"""Declare the settings of control images."""

from dataclasses import dataclass

from artgen.spec.fields import option
from artgen.spec.settings.image_prompt import ImagePromptSettings


@dataclass(frozen=True, kw_only=True)
class ControlSettings(ImagePromptSettings):
    """Store the control images and the image prompts of a request."""

    control: tuple[str, ...] = option(
        (),
        "Control image: KIND is canny, depth, pose, lineart, scribble, seg, tile, gray, or raw for an image that is "
        "already a control map. Keys: scale: strength, 0 to 10; 1 if omitted. from, until: the net is active between "
        "these fractions of the steps; 0 and 1 if omitted. model: net, a hub id, a folder or a .safetensors file; the "
        "default net of the kind if omitted. Example: canny=photo.png,until=0.6. Can be repeated.",
        brief="Control image, for example canny=photo.png or depth=room.png,scale=0.8.",
        metavar="KIND=IMAGE[,KEY=VALUE]",
        is_path=True,
        values="controls",
        per_call=True,
        affects=("pixels", "memory", "input"),
    )
    control_guess: bool = option(
        False,
        "Guess mode: the net acts only on the input without the prompt, with a strength that increases with the depth "
        "of the block. The image follows the control map also with an empty prompt.",
        brief="Let the control map decide, also with an empty prompt.",
        aliases=("--guess-mode",),
        per_call=True,
        neutral_values=(False,),
    )
