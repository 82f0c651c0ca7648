"""Define the function `noise`: the forward process of diffusion."""

from typing import TYPE_CHECKING, Unpack

from artgen.api.arguments import api_function
from artgen.api.call import start_call
from artgen.api.inputs import input_file
from artgen.api.keyword_types import NoiseKeywords
from artgen.api.noise_strip import NoiseSettings, NoiseStrip, prepare_noise
from artgen.errors import UsageError
from artgen.spec.fields import describe_value

if TYPE_CHECKING:
    from artgen.api.inputs import ImageInput


@api_function("noise")
def noise(image: "ImageInput", **settings: Unpack[NoiseKeywords]) -> NoiseStrip:
    """Add increasing noise to an image: the forward process of diffusion.

    Args:
        image: Path, PIL image, array, result, or bytes of an image file; see `artgen.api.inputs.ImageInput`.

    Raises:
        UsageError, InputFileError, ModelUnavailableError: A value, the image or the model is invalid.
    """
    with start_call("noise", settings) as call:
        from artgen import images
        from artgen.engine.lock import ENGINE_LOCK
        from artgen.outputs.mark_notes import source_marks

        frames = call.values.pop("frames", False)
        if not isinstance(frames, bool):
            raise UsageError(f"frames must be True or False, not {describe_value(frames)}.")
        noise_settings = NoiseSettings(**call.values)
        file = input_file(image)
        loaded, marks = images.load_image(file), source_marks([file])
        for text in (*loaded.notes, *marks.notes):
            call.listener.add_note(text)
        job = prepare_noise(loaded.image, noise_settings, call.listener)
        with ENGINE_LOCK:
            strip = job.run(call.listener, frames=frames)
        return NoiseStrip(strip.image, strip.images, strip.times, strip.frames, call.notes, marks.source_type)
