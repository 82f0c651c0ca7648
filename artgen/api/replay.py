"""Generate an image again from its record."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from artgen.api.arguments import api_function
from artgen.api.call import start_call, take_unrecorded
from artgen.api.generation import generate_images, take_frames
from artgen.api.history_access import replay_source
from artgen.api.inputs import input_file
from artgen.api.keyword_types import ReplayKeywords
from artgen.errors import UsageError
from artgen.jobs.batch_size import ExactBatchSize
from artgen.jobs.replay import read_replay_spec
from artgen.jobs.replay_comparison import compare
from artgen.spec.python_values import path_text
from artgen.system.memory_file import MemoryFile

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from artgen.engine.results import GeneratedImage


@api_function("replay")
def replay(
    source: "str | os.PathLike[str] | bytes | Mapping[str, Any] | GeneratedImage", **changes: Unpack[ReplayKeywords]
) -> "GeneratedImage":
    """Generate an image again from its record. The pixels are identical unless a setting, the model or the hardware
    changes.

    A keyword changes a recorded setting, as `artgen replay --set` does. None unsets a setting. Without such changes, a
    note of the result states the number of pixels that differ from the original image, and the probable reason.

    Args:
        source: Image file, sidecar file or text file of another tool; bytes of such a file; a record; a result; or an
            entry of the history: "history:12".

    Raises:
        InputFileError: The source contains no record, or an input image of the original is missing.
        UsageError: The task of the image does not take a setting, or a value is invalid.
        ModelUnavailableError: The model is unavailable, or its weights differ from the recorded ones.
        RefusedError: The recorded model is a path.
        MemoryExhaustedError, FilteredError, NonFiniteError: The image could not be generated.
    """
    with start_call("replay", changes) as call:
        frames = take_frames(call.values)
        settings = take_unrecorded(call)
        for name in ("image", "mask"):
            if name in call.values:
                call.values[name] = input_file(call.values[name], name)
        path, known_inputs = _source_file(source)
        known_controls = _prompt_files(source)
        spec = read_replay_spec(path, call.values, known_inputs, known_controls)
        for note in spec.notes:
            call.listener.add_note(note)
        request = spec.request.replace(**settings)
        result = generate_images(
            call,
            lambda prepare, listener: [spec.prepare(request, prepare, listener)],
            frames,
            ExactBatchSize(spec.batch_size),
            spec.check_job,
        )[0]
        if spec.original is None:
            return result
        comparison = compare(spec.original, result.image, result.low_bytes, result.record)
        if comparison.same_pixels:
            return result
        call.listener.add_note(comparison.text)
        return dataclasses.replace(result, notes=(*result.notes, comparison.text))


def _source_file(source: Any) -> tuple[Any, Mapping[str, Any]]:
    """Return the file with the record, and the input files of a result.

    Raises:
        UsageError: the object contains no record.
    """
    from artgen.engine.results import GeneratedImage

    if isinstance(source, GeneratedImage):
        references = getattr(source.request, "reference", ())
        known = {f"reference:{i}": Path(name) for i, name in enumerate(references)}
        return source.to_file(), {**source.request.input_paths, **known}
    if isinstance(source, Mapping):
        try:
            text = json.dumps(dict(source), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UsageError(f"The record is not JSON: {error}.", "Use the record of a result, or a path.") from error
        return MemoryFile.create("record.json", text.encode()), {}
    if type(source).__module__.partition(".")[0] in ("PIL", "numpy"):
        raise UsageError(
            f"Cannot replay {'an array' if type(source).__module__ == 'numpy' else 'a PIL image'}: it has no record.",
            "Pass the path of the image file, or a result.",
        )
    if isinstance(source, str):
        return replay_source(Path(path_text(source, "source"))), {}
    return input_file(source, "source"), {}


def _prompt_files(source: object) -> "list[Path]":
    """Return the files of the control images and image prompts of a generated image; empty for other sources."""
    request = getattr(source, "request", None)
    prompts = getattr(request, "image_prompts", ())
    masks = [each.mask for each in prompts if each.mask is not None]
    return [*(each.image for each in (*getattr(request, "controls", ()), *prompts)), *masks]
