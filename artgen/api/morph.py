"""Generate a morph between images of artgen."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

from artgen.api.arguments import api_function
from artgen.api.call import start_call, take_unrecorded
from artgen.api.image_lists import is_single_image
from artgen.api.inputs import input_file
from artgen.api.keyword_types import MorphKeywords
from artgen.api.morph_frames import Morph, frame_notes, generate_frames, prepare_frames
from artgen.errors import UsageError
from artgen.jobs.image_variations.morph import MAX_FRAMES, MorphSource, plan_morph, recorded_morph
from artgen.spec.fields import describe_value

if TYPE_CHECKING:
    from artgen.api.inputs import ImageInput


@api_function("morph")
def morph(images: "Sequence[ImageInput] | str | os.PathLike[str]", **changes: Unpack[MorphKeywords]) -> Morph:
    """Generate the frames of a morph between images that `txt2img` generated, or of an animation of `morph` again.

    The embeddings of the prompts are interpolated linearly, the noise spherically. The first and the last frame equal
    the first and the last image. A keyword changes a recorded setting of all images, as in `replay`.

    Args:
        images: Two or more images with a record: paths, results, or bytes of image files. Or the path of an animation
            of a morph; its number of frames and `loop` are then the defaults.

    Raises:
        InputFileError: The noise of an image is unknown.
        UsageError: The images have different models, sizes or other settings, or a value is invalid.
        ModelUnavailableError, RefusedError: See `replay`.
        MemoryExhaustedError, FilteredError, NonFiniteError: A frame could not be generated.
    """
    with start_call("morph", changes) as call:
        from artgen.engine.lock import ENGINE_LOCK

        recorded = _recorded_source(images)
        default = (recorded.frames, recorded.loop) if recorded else (24, False)
        num_frames, loop = call.values.pop("frames", default[0]), call.values.pop("loop", default[1])
        if not isinstance(num_frames, int) or isinstance(num_frames, bool) or not 2 <= num_frames <= MAX_FRAMES:
            raise UsageError(f"frames must be 2 to {MAX_FRAMES:,}, not {describe_value(num_frames)}.")
        settings = take_unrecorded(call)
        source = replace(recorded or _image_source(images), frames=num_frames, loop=bool(loop))
        plan = plan_morph(source, call.values)
        if settings:
            plan = replace(plan, requests=[each.replace(**settings) for each in plan.requests])
        with ENGINE_LOCK:
            jobs = prepare_frames(plan, call.listener)
            for note in (*plan.notes, *frame_notes(jobs)):
                call.listener.add_note(note)
            found = generate_frames(plan, jobs, call.listener)
        encoding = {"fps": source.fps, "quality": source.quality}
        record = dict(found.record) | {name: value for name, value in encoding.items() if value is not None}
        return replace(found, record=record, notes=call.notes)


def _recorded_source(images: object) -> MorphSource | None:
    """Return the morph in the record of an animation; None for other inputs.

    Raises:
        InputFileError: the file has no record, or the record is invalid.
    """
    return recorded_morph(input_file(images, "images")) if isinstance(images, str | os.PathLike) else None


def _image_source(images: Any) -> MorphSource:
    """Return the images of a new morph.

    Raises:
        UsageError: the input is one image, or a list with fewer than two images.
    """
    is_list = not isinstance(images, str | os.PathLike) and not is_single_image(images)
    files = [input_file(each, "images") for each in images] if is_list else []
    if len(files) < 2:
        raise UsageError("A morph needs two images or more.", 'artgen.morph(["a.png", "b.png"])')
    return MorphSource([each.name for each in files], files, frames=2, loop=False)
