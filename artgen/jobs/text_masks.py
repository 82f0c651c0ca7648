"""Prepare masks that a text selects. A mask is computed before its pipeline runs, or read from a record.

The record of an image contains the mask, so that `replay` gives the same pixels without the mask model. The recorded
mask is used only if the input image and all settings that affect the mask have the recorded values.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from artgen import images
from artgen.errors import InputFileError, OutputError
from artgen.images import text_mask
from artgen.jobs.job import GenerationJob
from artgen.jobs.text_mask_input import TextMaskInput
from artgen.metadata.input_marks import find_marks
from artgen.metadata.writing import mark_save_args
from artgen.registry.mask_models import DEFAULT_MASK_MODEL, mask_model_entries
from artgen.spec.mask_source import recorded_mask_model
from artgen.spec.mask_text import parse_mask_text, phrases
from artgen.spec.settings import MaskModelSettings
from artgen.system.files import write_atomically
from artgen.system.input_files import input_stem

WARN_SHARE = 0.95
_FOLDER_SUFFIXES = ("/", "\\")


def mask_input(request: Any, image: images.LoadedImage) -> TextMaskInput:
    """Return what the computation of the mask of a request needs, with the mask of its record if it fits.

    Raises:
        InputFileError: the recorded mask is damaged.
    """
    key, _, packed = str(request.recorded_mask).partition(":")
    is_recorded = bool(packed) and key == _settings_key(request, image.sha256)
    return TextMaskInput(
        parse_mask_text(request.mask_text),
        image.image,
        image.sha256,
        request.mask_threshold,
        request.grow or 0,
        selected=text_mask.unpack_mask(packed, image.image.size) if is_recorded else None,
    )


def resolved_settings(request: Any) -> dict[str, Any]:
    """Return the values of unset settings of a request with `mask_text`."""
    name = request.mask_model or DEFAULT_MASK_MODEL
    entry = mask_model_entries().get(name)
    return {"grow": 0, "mask_model": name, "mask_threshold": entry.threshold if entry else None}


def complete_job(job: GenerationJob, selected: Image.Image, threshold: float) -> GenerationJob:
    """Return a job with the mask that its text selects.

    Args:
        job: job with `text_mask`.
        selected: mode L, 255 where the text selects a pixel, in the size of the file of the input image.
        threshold: threshold of the mask.

    Raises:
        InputFileError: `invert_mask` leaves no pixel.
        OutputError: the mask cannot be saved.
    """
    if job.text_mask is None:
        return job
    request: Any = job.request.replace(mask_threshold=threshold)
    mask = ImageOps.invert(selected) if request.invert_mask else selected
    if mask.getbbox() is None:
        raise InputFileError(
            f"The text {request.mask_text!r} selects all pixels, so --invert-mask keeps the whole image.",
            "Remove --invert-mask, or increase --mask-threshold.",
        )
    if request.save_mask is not None:
        save_mask(mask, request.save_mask, request.input_paths["image"])
    resized = mask if mask.size == job.size else mask.resize(job.size, Image.Resampling.BILINEAR)
    provenance = {**job.provenance, "mask_sha256": text_mask.mask_hash(selected)}
    if mask_data := _record_text(request, selected, job.text_mask.image_sha256):
        provenance["mask_data"] = mask_data
    if job.text_mask.model is not None:
        provenance |= job.text_mask.model.provenance()
    elif request.recorded_mask_source:
        provenance["mask_model_source"] = list(request.recorded_mask_source)
    feathered = images.feather(resized, request.feather or 0)
    return replace(job, request=request, mask=feathered, text_mask=None, provenance=provenance)


def selected_share(mask: Image.Image) -> float:
    """Return the fraction of the pixels of a mask with the values 0 and 255 that are 255."""
    return mask.histogram()[255] / (mask.width * mask.height)


def share_notes(text: str, image_name: str, mask: Image.Image, *, invert: bool = False) -> tuple[str, ...]:
    """Return a sentence about the share of the image that a mask selects, and warnings about the share and the text."""
    share = selected_share(mask)
    percent = f"{share:.1%}" if share >= 0.0005 else "less than 0.1%"
    rest = "; the rest will be repainted" if invert else ""
    notes: tuple[str, ...] = (f"'{text}' selects {percent} of '{image_name}'{rest}.",)
    if share > WARN_SHARE:
        notes += (
            f"The mask of '{text}' covers almost the whole image '{image_name}'. Increase --mask-threshold, or use "
            "another text.",
        )
    notes += tuple(
        f"'{phrase}' is one phrase: operators are in upper case, AND, OR and NOT."
        for phrase in phrases(parse_mask_text(text))
        if {"not", "or"} & {*phrase.lower().split()}
    )
    return notes


def empty_mask_error(image_name: str, settings: MaskModelSettings, text: str, highest: float) -> InputFileError:
    """Return the error for a mask without a selected pixel.

    Args:
        image_name: name of the image.
        settings: settings of the mask; the threshold is set.
        text: expression.
        highest: highest score of a pixel, 0 to 1.
    """
    threshold = settings.mask_threshold or 0
    if highest >= threshold:
        return InputFileError(
            f"The mask of {text!r} in '{image_name}' is empty after shrinking it.", "Use a smaller value after - in "
            "--grow or {-PX}.",
        )  # fmt: skip
    step = next(value for value in (0.1, 0.01, 0.001) if highest > value or value == 0.001)
    lower = max(step, int(highest / step) * step)
    hint = f"Try --mask-threshold {lower:g}" if highest >= step else "Use another text."
    return InputFileError(
        f"Nothing in '{image_name}' matches {text!r}: the highest score is {highest:.3f}, and the threshold is "
        f"{threshold:g}.",
        hint,
    )


def mask_path(destination: str, image_name: str) -> Path:
    """Return the file of a mask.

    Args:
        destination: file; `.png` is appended to a name without a suffix. Or the folder of `{stem}-mask.png`: it ends
            with a separator or exists.
        image_name: file name of the input image.
    """
    path = Path(destination)
    if destination.endswith(_FOLDER_SUFFIXES) or path.is_dir():
        return path / f"{input_stem(image_name)}-mask.png"
    return path if path.suffix else path.with_name(f"{path.name}.png")


def save_mask(
    mask: Image.Image, destination: str, image: Path, *, overwrite: bool = False, option: str = "--save-mask"
) -> Path:
    """Save a mask as PNG; return its path. The mask has the mark of AI generation of its image.

    Args:
        mask: mode L.
        destination: see `mask_path`.
        image: input image.
        overwrite: replace an existing file.
        option: name of the option that sets the destination.

    Raises:
        OutputError: the file exists with another content, or cannot be written.
    """
    path = mask_path(destination, image.name)
    mark = find_marks(image).source_type
    buffer = io.BytesIO()
    mask.save(buffer, "PNG", **(mark_save_args("png", mark) if mark else {}))
    data = buffer.getvalue()
    if path.exists() and not overwrite:
        if path.is_file() and path.read_bytes() == data:
            return path
        raise OutputError(
            f"Cannot save the mask: '{path}' exists.", f"{option} OTHER.png, or a folder: {option} masks/"
        )
    write_atomically(path, data)
    return path


def _record_text(request: Any, mask: Image.Image, image_sha256: str) -> str:
    """Return the text of a mask for the record; empty if it is too long."""
    packed = text_mask.pack_mask(mask)
    if len(packed) > text_mask.MAX_PACKED_CHARS:
        return ""
    return f"{_settings_key(request, image_sha256)}:{packed}"


def _settings_key(request: Any, image_sha256: str) -> str:
    """Return the hash of the input image and of all settings that affect the mask, 32 hex digits."""
    values: Mapping[str, Any] = {
        "image": image_sha256,
        "text": request.mask_text,
        "grow": request.grow or 0,
        "threshold": request.mask_threshold,
        "model": recorded_mask_model(request.mask_model or DEFAULT_MASK_MODEL),
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]
