"""Load the input images of a request: read, resize, mask and extend them."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from artgen import images
from artgen.errors import InputFileError
from artgen.jobs import text_masks
from artgen.jobs.control.images import ControlImage, load_control_images
from artgen.jobs.image_prompts.image_prompt_input import LoadedImagePrompt
from artgen.jobs.image_prompts.load import file_provenance, load_image_prompts
from artgen.jobs.input_marks import add_marks
from artgen.jobs.text_mask_input import TextMaskInput
from artgen.jobs.upscaling.parent_record import parent_record
from artgen.jobs.upscaling.size import upscaled_size
from artgen.spec.base_requests import ImageRequest, OpaqueImageRequest, Request
from artgen.spec.requests import Edit, Img2Img, Inpaint, Outpaint
from artgen.spec.restoration_requests import Denoise, Upscale
from artgen.spec.settings import settings_of
from artgen.system.counts import counted


@dataclass(frozen=True)
class InputImages:
    """Store the prepared input images of a request.

    Attributes:
        image: input image in the size of the result: mode RGB, or for denoise the mode of the file (L, LA, RGB,
            RGBA); None for txt2img.
        low_bytes: low bytes of an image with 16 bits per channel, in the same mode; None for 8 bits.
        source: all channels and bits of the input image, in the same size; None if `image` has all of them.
        mask: mask of the same size, mode L, 255 where the image is repainted; None if nothing is masked.
        references: reference images of an edit, mode RGB, in the order of the request and in the sizes of the files.
        controls: control images, in the order of the request, in the sizes of the files.
        image_prompts: image prompts, in the order of the request.
        strength_map: strength of each pixel for a soft mask, same size, mode L, 0 to 255; None for other masks.
        text_mask: what the computation of the mask needs; None if the mask is known, or if nothing is masked.
        lossless: input image of `upscale` with all its bits, in the size of the file; None for other tasks.
        result_size: width and height of the enlarged image in pixels; None for other tasks.
        resolved: values of unset settings that depend on the images.
        provenance: hashes of the files, for the record.
        notes: notes for the user.
    """

    image: Image.Image | None = None
    low_bytes: Image.Image | None = None
    source: images.LosslessImage | None = None
    mask: Image.Image | None = None
    references: tuple[Image.Image, ...] = ()
    controls: tuple[ControlImage, ...] = ()
    image_prompts: tuple[LoadedImagePrompt, ...] = ()
    strength_map: Image.Image | None = None
    text_mask: TextMaskInput | None = None
    lossless: images.LosslessImage | None = None
    result_size: tuple[int, int] | None = None
    resolved: dict[str, Any] = dataclasses.field(default_factory=dict)
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def input_key(request: Request) -> tuple[Any, ...]:
    """Return a value that is equal for requests with the same task and the same prepared input images."""
    settings = settings_of(type(request)).items()
    recorded_mask = getattr(request, "recorded_mask", "")
    values = (getattr(request, name) for name, setting in settings if "input" in setting.affects)
    return (request.task, recorded_mask, *values)


def load_inputs(request: Request) -> InputImages:
    """Load the input images of a request.

    Raises:
        InputFileError: an image, a mask or a control image cannot be used.
        UsageError: the extension of an image is impossible.
    """
    load = _LOADERS.get(request.task)
    found = load(request, request.input_paths["image"]) if load else InputImages()
    if controls := load_control_images(request):
        provenance = {**found.provenance, "control_sha256": [each.sha256 for each in controls]}
        found = dataclasses.replace(found, controls=controls, provenance=provenance)
    if image_prompts := load_image_prompts(request):
        provenance = {**found.provenance, **file_provenance(image_prompts)}
        found = dataclasses.replace(found, image_prompts=image_prompts, provenance=provenance)
    return add_marks(found, request)


def _load_img2img(request: Img2Img | Edit, path: Path) -> InputImages:
    loaded = _load_image(request, path)
    image = _resize(_downscale(loaded.image, request.max_side), request.width, request.height)
    source = images.resize_lossless(loaded.source, image.size) if loaded.source else None
    notes = (*loaded.notes, *_downscaling_note(loaded.image.size, request))
    if source is not None and source.image.mode in ("L", "LA") and getattr(request, "strength", None) != 0:
        notes += (f"'{path.name}' is gray; the model generates color.",)
    if source is not None and source.image.mode.endswith("A"):
        notes += (f"The output keeps the alpha channel of '{path.name}'.",)
    return InputImages(image, source=source, provenance={"image_sha256": loaded.sha256}, notes=notes)


def _load_inpaint(request: Inpaint | Edit, path: Path) -> InputImages:
    loaded = _load_image(request, path)
    soft_mask = isinstance(request, Inpaint) and request.soft_mask
    image = _resize(_downscale(loaded.image, request.max_side), request.width, request.height)
    if request.mask_text is not None:
        return _load_text_mask(request, path, loaded, image)
    masked = images.load_mask(
        request.input_paths["mask"],
        loaded.image.size,
        invert=request.invert_mask,
        resize=request.resize_mask,
        soft=soft_mask,
    )
    feather = request.feather or 0
    mask = masked.mask.resize(image.size, Image.Resampling.BILINEAR)
    strength_map = mask if soft_mask else None
    if strength_map is not None:
        mask = images.repainted_pixels(strength_map)
    mask = images.feather(mask, feather)
    source = images.resize_lossless(loaded.source, image.size) if loaded.source else None
    provenance = {"image_sha256": loaded.sha256, "mask_sha256": masked.sha256}
    notes = (
        *loaded.notes,
        *_kept_properties_note(loaded.source, path),
        *_downscaling_note(loaded.image.size, request),
        *masked.notes,
        f"{_percent(masked.coverage)} of the image will be {'edited' if request.task == 'edit' else 'repainted'}.",
    )
    highest = max(value for value, count in enumerate(mask.histogram()) if count)
    if feather and highest < images.MIN_WHITE:
        text = f"--feather {feather} is wide for this mask: generated pixels have a weight of at most"
        notes += (f"{text} {highest / 255:.0%}.",)
    if source is not None and images.has_transparency(source.image, mask):
        notes += ("The repainted area keeps the transparency of the input image: transparent pixels stay transparent.",)
    return InputImages(
        image,
        source=source,
        mask=mask,
        strength_map=strength_map,
        resolved={"feather": feather},
        provenance=provenance,
        notes=notes,
    )


def _load_text_mask(request: Inpaint | Edit, path: Path, loaded: images.LoadedImage, image: Image.Image) -> InputImages:
    """Return the inputs of a request with `mask_text`. The mask is computed before the pipeline runs."""
    notes = (
        *loaded.notes,
        *_kept_properties_note(loaded.source, path),
        *_downscaling_note(loaded.image.size, request),
    )
    return InputImages(
        image,
        source=images.resize_lossless(loaded.source, image.size) if loaded.source else None,
        text_mask=text_masks.mask_input(request, loaded),
        resolved={"feather": request.feather or 0, **text_masks.resolved_settings(request)},
        provenance={"image_sha256": loaded.sha256},
        notes=notes,
    )


def _load_outpaint(request: Outpaint, path: Path) -> InputImages:
    loaded = _load_image(request, path)
    image = _downscale(loaded.image, request.max_side)
    source = images.resize_lossless(loaded.source, image.size) if loaded.source else None
    if request.expand is not None:
        by = images.parse_expand(request.expand)
    else:
        by = images.expansion_to_size(image.size, *images.parse_size(request.target_size or ""))
    feather = images.default_feather(image.size) if request.feather is None else request.feather
    canvas, mask = images.expand_canvas(image, **vars(by), feather=feather)
    notes = (
        *loaded.notes,
        *_kept_properties_note(loaded.source, path),
        *_downscaling_note(loaded.image.size, request),
    )
    if feather and request.keep_original:
        band = f"A band of {counted(feather, 'pixel')} inside the input image, at the extended sides,"
        if mask.getextrema()[0]:
            band = "The whole input image"
        notes += (f"{band} will be blended with the new border. --feather 0 keeps all pixels.",)
    return InputImages(
        canvas,
        source=images.expand_lossless(source, by) if source else None,
        mask=mask,
        resolved={"feather": feather},
        provenance={"image_sha256": loaded.sha256},
        notes=notes,
    )


def _load_edit(request: Edit, path: Path) -> InputImages:
    has_mask = request.mask is not None or request.mask_text is not None
    found = _load_inpaint(request, path) if has_mask else _load_img2img(request, path)
    if not request.reference:
        return found
    loaded = []
    for reference in request.reference:
        try:
            loaded.append(images.load_image(Path(reference), background=request.background))
        except InputFileError as error:
            raise InputFileError(f"Cannot use a reference image: {error.message}", error.hint) from error
    return dataclasses.replace(
        found,
        references=tuple(each.image for each in loaded),
        provenance={**found.provenance, "reference_sha256": [each.sha256 for each in loaded]},
        notes=(*found.notes, *(note for each in loaded for note in each.notes)),
    )


def _load_denoise(request: Denoise, path: Path) -> InputImages:
    lossless = images.load_lossless(path)
    notes = (*lossless.notes, *_downscaling_note(lossless.image.size, request))
    provenance = {"image_sha256": lossless.sha256}
    lossless = images.resize_lossless(lossless, scaled_size(lossless.image.size, request.max_side))
    return InputImages(lossless.image, lossless.low_bytes, provenance=provenance, notes=notes)


def _load_upscale(request: Upscale, path: Path) -> InputImages:
    lossless = images.load_lossless(path)
    notes = (*lossless.notes, *_downscaling_note(lossless.image.size, request))
    lossless = images.resize_lossless(lossless, scaled_size(lossless.image.size, request.max_side))
    size, more_notes = upscaled_size(request, lossless.image.size)
    provenance = {"image_sha256": lossless.sha256, "parent_record": parent_record(path)}
    return InputImages(
        lossless=lossless,
        result_size=size,
        provenance={name: value for name, value in provenance.items() if value},
        notes=(*notes, *more_notes),
    )


_LOADERS: Mapping[str, Callable[[Any, Path], InputImages]] = {
    "img2img": _load_img2img,
    "inpaint": _load_inpaint,
    "outpaint": _load_outpaint,
    "edit": _load_edit,
    "denoise": _load_denoise,
    "upscale": _load_upscale,
}


def _load_image(request: OpaqueImageRequest, path: Path) -> images.LoadedImage:
    return images.load_image(path, background=request.background, keep_source=True)


def _kept_properties_note(source: images.LosslessImage | None, path: Path) -> tuple[str, ...]:
    return (
        ()
        if source is None
        else (f"The output keeps these properties of '{path.name}': {', '.join(source.special_properties)}.",)
    )


def _percent(fraction: float) -> str:
    return f"{fraction:.1%}" if fraction >= 0.0005 else "Less than 0.1%"


def scaled_size(size: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    """Return a (width, height) with the same aspect ratio whose longer side has at most `max_side` pixels."""
    longer = max(size)
    if max_side is None or longer <= max_side:
        return size
    return max(1, round(size[0] * max_side / longer)), max(1, round(size[1] * max_side / longer))


def _downscale(image: Image.Image, max_side: int | None) -> Image.Image:
    return _resize(image, *scaled_size(image.size, max_side))


def _downscaling_note(size: tuple[int, int], request: ImageRequest) -> tuple[str, ...]:
    """Return a note if `max_side` reduces an image of (width, height)."""
    new = scaled_size(size, request.max_side)
    if new == size:
        return ()
    effect = ", which also reduces the noise" if request.task == "denoise" else ""
    return (f"The input image is downscaled from {size[0]}x{size[1]} to {new[0]}x{new[1]}{effect} (--max-side).",)


def _resize(image: Image.Image, width: int | None, height: int | None) -> Image.Image:
    """Return the image in the requested size. If one side is None, the aspect ratio is kept."""
    if width is None and height is None:
        return image
    width, height = (
        width or max(1, round(image.width * (height or 0) / image.height)),
        height or max(1, round(image.height * (width or 0) / image.width)),
    )
    return image if (width, height) == image.size else image.resize((width, height), Image.Resampling.LANCZOS)
