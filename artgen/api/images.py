"""Define the functions that generate and edit images.

Each function has the name of a command, and keywords for its settings; see `artgen.api.function_keywords`.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

from artgen.api.arguments import api_function, take_group
from artgen.api.call import start_call
from artgen.api.denoise_comparison import DenoiseComparison
from artgen.api.generation import run_call, run_series
from artgen.api.inputs import input_file
from artgen.api.keyword_types import (
    DenoiseKeywords,
    EditKeywords,
    Img2ImgKeywords,
    InpaintKeywords,
    OutpaintKeywords,
    SampleKeywords,
    Txt2ImgKeywords,
    UpscaleKeywords,
)
from artgen.jobs.size import resolve_size
from artgen.spec.base_requests import Request
from artgen.spec.requests import Edit, Img2Img, Inpaint, Outpaint, Sample, Txt2Img
from artgen.spec.restoration_requests import Denoise, Upscale
from artgen.spec.settings import CanvasSettings, SizeSettings

if TYPE_CHECKING:
    from artgen.api.inputs import ImageInput
    from artgen.engine.results import GeneratedImage


@overload
def txt2img(prompt: str, *, seed: int | None = ..., **settings: Unpack[Txt2ImgKeywords]) -> "GeneratedImage": ...
@overload
def txt2img(prompt: str, *, seed: Sequence[int], **settings: Unpack[Txt2ImgKeywords]) -> "list[GeneratedImage]": ...
@overload
def txt2img(
    prompt: str, *, seed: int | None = ..., count: int, **settings: Unpack[Txt2ImgKeywords]
) -> "list[GeneratedImage]": ...
@api_function("txt2img")
def txt2img(prompt: str, **settings: Any) -> "GeneratedImage | list[GeneratedImage]":
    """Generate an image from a prompt.

    With `count`, or a list of seeds, the function returns a list of images.

    Raises:
        UsageError, InputFileError, ModelUnavailableError, RefusedError: A setting is invalid. Raised before a model is
            loaded.
        MemoryExhaustedError, FilteredError, NonFiniteError: The image could not be generated.
    """
    with start_call("txt2img", settings) as call:
        return run_series(call, Txt2Img, {"prompt": prompt}, _with_size)


@overload
def img2img(
    image: "ImageInput", prompt: str | None = ..., *, seed: int | None = ..., **settings: Unpack[Img2ImgKeywords]
) -> "GeneratedImage": ...
@overload
def img2img(
    image: "ImageInput", prompt: str | None = ..., *, seed: Sequence[int], **settings: Unpack[Img2ImgKeywords]
) -> "list[GeneratedImage]": ...
@overload
def img2img(
    image: "ImageInput",
    prompt: str | None = ...,
    *,
    seed: int | None = ...,
    count: int,
    **settings: Unpack[Img2ImgKeywords],
) -> "list[GeneratedImage]": ...
@api_function("img2img")
def img2img(image: "ImageInput", prompt: str | None = None, **settings: Any) -> "GeneratedImage | list[GeneratedImage]":
    """Generate an image from an image and a prompt. The transparency of the image is kept.

    With `count`, or a list of seeds, the function returns a list of images.

    Args:
        image: Path, PIL image, array, result, or bytes of an image file; see `artgen.api.inputs.ImageInput`.
        prompt: Text prompt. None: the recorded prompt of the image, if it has one. An empty text: no prompt.

    Raises:
        UsageError, InputFileError, ModelUnavailableError, RefusedError: See `txt2img`.
        MemoryExhaustedError, FilteredError, NonFiniteError: The image could not be generated.
    """
    with start_call("img2img", settings) as call:
        return run_series(call, Img2Img, {"image": input_file(image), "prompt": prompt}, _with_size)


@overload
def inpaint(
    image: "ImageInput",
    mask: "ImageInput | None" = ...,
    prompt: str | None = ...,
    *,
    seed: int | None = ...,
    **settings: Unpack[InpaintKeywords],
) -> "GeneratedImage": ...
@overload
def inpaint(
    image: "ImageInput",
    mask: "ImageInput | None" = ...,
    prompt: str | None = ...,
    *,
    seed: Sequence[int],
    **settings: Unpack[InpaintKeywords],
) -> "list[GeneratedImage]": ...
@overload
def inpaint(
    image: "ImageInput",
    mask: "ImageInput | None" = ...,
    prompt: str | None = ...,
    *,
    seed: int | None = ...,
    count: int,
    **settings: Unpack[InpaintKeywords],
) -> "list[GeneratedImage]": ...
@api_function("inpaint")
def inpaint(
    image: "ImageInput", mask: "ImageInput | None" = None, prompt: str | None = None, **settings: Any
) -> "GeneratedImage | list[GeneratedImage]":
    """Repaint the masked part of an image. Pixels outside the mask do not change.

    The result has the mode, the transparency, the bits per channel and the color profile of the image. With `count`, or
    a list of seeds, the function returns a list of images.

    Args:
        image: See `img2img`.
        mask: Mask of the same size; white (255, 1.0 or True) pixels are repainted. Types as for `image`. None with
            `mask_text`.
        prompt: Text prompt. None: the recorded prompt of the image, if it has one. An empty text: no prompt.

    Raises:
        UsageError, InputFileError, ModelUnavailableError, RefusedError: See `txt2img`.
        MemoryExhaustedError, FilteredError, NonFiniteError: The image could not be generated.
    """
    with start_call("inpaint", settings) as call:
        inputs = {
            "image": input_file(image),
            "mask": None if mask is None else input_file(mask, "mask"),
            "prompt": prompt,
        }
        return run_series(call, Inpaint, inputs, _with_size)


@overload
def outpaint(
    image: "ImageInput", prompt: str | None = ..., *, seed: int | None = ..., **settings: Unpack[OutpaintKeywords]
) -> "GeneratedImage": ...
@overload
def outpaint(
    image: "ImageInput", prompt: str | None = ..., *, seed: Sequence[int], **settings: Unpack[OutpaintKeywords]
) -> "list[GeneratedImage]": ...
@overload
def outpaint(
    image: "ImageInput",
    prompt: str | None = ...,
    *,
    seed: int | None = ...,
    count: int,
    **settings: Unpack[OutpaintKeywords],
) -> "list[GeneratedImage]": ...
@api_function("outpaint")
def outpaint(
    image: "ImageInput", prompt: str | None = None, **settings: Any
) -> "GeneratedImage | list[GeneratedImage]":
    """Extend an image beyond its edges, by `expand` pixels or to `target_size`.

    With `count`, or a list of seeds, the function returns a list of images.

    Args:
        image: See `img2img`.
        prompt: Text prompt. None: the recorded prompt of the image, if it has one. An empty text: no prompt.

    Raises:
        UsageError, InputFileError, ModelUnavailableError, RefusedError: See `txt2img`.
        MemoryExhaustedError, FilteredError, NonFiniteError: The image could not be generated.
    """
    with start_call("outpaint", settings) as call:
        return run_series(call, Outpaint, {"image": input_file(image), "prompt": prompt})


@overload
def edit(
    image: "ImageInput", prompt: str, *, seed: int | None = ..., **settings: Unpack[EditKeywords]
) -> "GeneratedImage": ...
@overload
def edit(
    image: "ImageInput", prompt: str, *, seed: Sequence[int], **settings: Unpack[EditKeywords]
) -> "list[GeneratedImage]": ...
@overload
def edit(
    image: "ImageInput", prompt: str, *, seed: int | None = ..., count: int, **settings: Unpack[EditKeywords]
) -> "list[GeneratedImage]": ...
@api_function("edit")
def edit(image: "ImageInput", prompt: str, **settings: Any) -> "GeneratedImage | list[GeneratedImage]":
    """Change an image according to an instruction, such as "make it winter".

    The transparency of the image is kept. With a mask, pixels outside the mask do not change. With `count`, or a list
    of seeds, the function returns a list of images.

    Args:
        image: See `img2img`.
        prompt: Instruction.

    Raises:
        UsageError, InputFileError, ModelUnavailableError, RefusedError: See `txt2img`.
        MemoryExhaustedError, FilteredError, NonFiniteError: The image could not be generated.
    """
    with start_call("edit", settings) as call:
        inputs = {"image": input_file(image), "prompt": prompt}
        if call.values.get("mask") is not None:
            inputs["mask"] = input_file(call.values.pop("mask"), "mask")
        return run_series(call, Edit, inputs, _with_size)


@api_function("denoise")
def denoise(image: "ImageInput", **settings: Unpack[DenoiseKeywords]) -> "GeneratedImage":
    """Remove noise, such as grain and sensor noise, from an image.

    The result has the size, the mode, the transparency, the bits per channel and the color profile of the image.

    Args:
        image: See `img2img`.

    Raises:
        UsageError, InputFileError, ModelUnavailableError, RefusedError: See `txt2img`.
        MemoryExhaustedError, NonFiniteError: The image could not be denoised.
    """
    with start_call("denoise", settings) as call:
        file, reference = input_file(image), call.values.pop("reference", None)
        comparison = DenoiseComparison(None if reference is None else input_file(reference, "reference"))
        for note in comparison.notes:
            call.listener.add_note(note)
        requests = partial(_denoise_requests, file)
        result = run_call(call, requests, check_job=comparison.check_job)[0]
        return dataclasses.replace(result, metrics=comparison.measure(result))


@api_function("upscale")
def upscale(image: "ImageInput", **settings: Unpack[UpscaleKeywords]) -> "GeneratedImage":
    """Enlarge an image, by a factor or to a size.

    The result has the mode, the transparency, the bits per channel and the color profile of the image.

    Args:
        image: See `img2img`.

    Raises:
        UsageError, InputFileError, ModelUnavailableError, RefusedError: See `txt2img`.
        MemoryExhaustedError, FilteredError, NonFiniteError: The image could not be enlarged.
    """
    with start_call("upscale", settings) as call:
        return run_call(call, partial(_upscale_requests, input_file(image)))[0]


def _upscale_requests(file: Path, values: dict[str, Any]) -> list[Request]:
    return [Upscale(image=file, **values)]


def _denoise_requests(file: Path, values: dict[str, Any]) -> list[Request]:
    return [Denoise(image=file, **values)]


@overload
def sample(*, seed: int | None = ..., **settings: Unpack[SampleKeywords]) -> "GeneratedImage": ...
@overload
def sample(*, seed: Sequence[int], **settings: Unpack[SampleKeywords]) -> "list[GeneratedImage]": ...
@overload
def sample(*, seed: int | None = ..., count: int, **settings: Unpack[SampleKeywords]) -> "list[GeneratedImage]": ...
@api_function("sample")
def sample(**settings: Any) -> "GeneratedImage | list[GeneratedImage]":
    """Generate an image from noise with a model that takes no prompt.

    With `count`, or a list of seeds, the function returns a list of images.

    Raises:
        UsageError, ModelUnavailableError, RefusedError: See `txt2img`.
        MemoryExhaustedError, NonFiniteError: The image could not be generated.
    """
    with start_call("sample", settings) as call:
        return run_series(call, Sample, {})


def _with_size(values: dict[str, Any]) -> dict[str, Any]:
    """Replace `size` in converted keywords by `width` and `height`."""
    size, canvas = take_group(SizeSettings, values), take_group(CanvasSettings, values)
    return {**values, **vars(resolve_size(canvas, size))}
