"""Find the pixels of images that a text describes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from artgen.api.arguments import api_function, take_group
from artgen.api.call import start_call
from artgen.api.image_lists import image_files, is_single_image
from artgen.api.keyword_types import MaskKeywords
from artgen.errors import UsageError
from artgen.events import Listener, Notice
from artgen.spec.mask_text import parse_mask_text
from artgen.spec.settings import DeviceSettings, MaskModelSettings
from artgen.system import process

if TYPE_CHECKING:
    from PIL import Image

    from artgen.api.image_lists import ImagesInput
    from artgen.registry.mask_models import MaskModel


@dataclass(frozen=True)
class SelectedMask:
    """Store the mask of a text.

    Attributes:
        mask: PIL image, mode L, in the size of the image; 255 where the text selects a pixel, else 0.
        share: fraction of the selected pixels, above 0, at most 1.
        highest: highest score of a pixel, 0 to 1.
    """

    mask: "Image.Image"
    share: float
    highest: float


@api_function("mask")
def mask(images: "ImagesInput", text: str, **settings: Unpack[MaskKeywords]) -> "SelectedMask | list[SelectedMask]":
    """Find the pixels of images that a text describes. One image gives one result; several images give a list.

    A result has the attributes `mask` (PIL image, white where the text selects a pixel), `share` and `highest`.

    Args:
        images: path, folder, PIL image, array or result, or a list of them.
        text: description, such as `dog AND NOT collar`; see docs/editing.md.

    Raises:
        UsageError, InputFileError, ModelUnavailableError: A value, an image or the mask model is invalid, or the text
            selects no pixel.
    """
    with start_call("mask", settings) as call:
        from artgen.images import load_image

        options, compute = take_group(MaskModelSettings, call.values), take_group(DeviceSettings, call.values)
        offline = bool(call.values.pop("offline", False))
        parse_mask_text(text)
        files = image_files(images, call.listener.add_note)
        for file in files:
            load_image(file)  # reports unreadable files before the model is downloaded
        model = resolve_mask_models(options, offline=offline, listener=call.listener)
        results = [find_mask(file, text, options, model, compute, call.listener) for file in files]
    return results[0] if is_single_image(images) else results


def resolve_mask_models(
    options: MaskModelSettings, *, offline: bool, listener: Listener, download: bool = True
) -> "MaskModel":
    """Find or download the mask model.

    Raises:
        UsageError, ModelUnavailableError, RefusedError: the model is unknown or cannot be used.
    """
    from artgen.registry.mask_models import DEFAULT_MASK_MODEL, resolve_mask_model

    name = options.mask_model or DEFAULT_MASK_MODEL
    return resolve_mask_model(name, offline=offline, download=download, listener=listener)


def find_mask(
    file: Path,
    text: str,
    options: MaskModelSettings,
    model: "MaskModel",
    compute: DeviceSettings,
    listener: Listener,
) -> SelectedMask:
    """Return the mask of a text in an image file.

    Raises:
        InputFileError: the image cannot be used, or the text selects no pixel.
        ModelUnavailableError: the mask model cannot be loaded.
        MemoryExhaustedError: the image is too large for the memory.
    """
    from artgen.engine import fast_import
    from artgen.images import load_image
    from artgen.jobs import text_masks
    from artgen.jobs.text_mask_input import TextMaskInput
    from artgen.outputs.mark_notes import source_marks

    loaded = load_image(file)
    for note in (*loaded.notes, *source_marks([file]).notes):
        listener(Notice(note))
    with process.paused_gc(), fast_import.quiet_log():
        from artgen.engine.loading.device import resolve_device
        from artgen.engine.text_masks.compute import compute_mask
    from artgen.engine.out_of_memory import report_out_of_memory

    expression = parse_mask_text(text)
    source = TextMaskInput(
        expression, loaded.image, loaded.sha256, options.mask_threshold, options.grow or 0, model
    )  # fmt: skip
    size = f"{loaded.image.width}x{loaded.image.height}"
    with report_out_of_memory(
        f"Cannot compute the mask of {size}: out of memory.", "Use a smaller image, or --device cpu."
    ):
        found = compute_mask(source, resolve_device(compute.device, "fp32"), listener)
    if found.mask.getbbox() is None:
        settings = MaskModelSettings(mask_threshold=found.threshold)
        raise text_masks.empty_mask_error(file.name, settings, str(expression), found.highest)
    for note in text_masks.share_notes(str(expression), file.name, found.mask):
        listener(Notice(note))
    return SelectedMask(found.mask, text_masks.selected_share(found.mask), found.highest)


def split_text(values: Sequence[str]) -> tuple[list[Path], str]:
    """Return the images and the text of the positional arguments `IMAGE... TEXT`.

    Raises:
        UsageError: an image or the text is missing.
    """
    if len(values) < 2:
        raise UsageError("mask needs an image and a text.", 'artgen mask photo.png "the dog" -o mask.png')
    if "" in values[:-1]:
        raise UsageError("Cannot use an empty text as a path.", "Check the variables of the shell.")
    return [Path(value) for value in values[:-1]], values[-1]


def iter_files(paths: Sequence[Path], listener: Listener) -> Iterator[Path]:
    """Yield the image files of paths. Folders are replaced by their images."""
    from artgen.images import iter_images

    for path, _ in iter_images(paths, on_note=lambda note: listener(Notice(note))):
        yield path
