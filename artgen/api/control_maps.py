"""Compute control maps, for the command `control` and the function `control_map`."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from artgen.api.arguments import api_function
from artgen.api.call import start_call
from artgen.api.image_lists import image_files, is_single_image
from artgen.api.keyword_types import ControlMapKeywords
from artgen.api.saved_image import NotebookImage, save_image
from artgen.errors import UsageError
from artgen.events import Listener
from artgen.registry.preprocessors import Preprocessor, resolve_preprocessors
from artgen.spec.base_requests import check_device_name
from artgen.spec.control import CONTROL_KINDS
from artgen.spec.fields import describe_value
from artgen.spec.synonyms import value_hint
from artgen.system import process

if TYPE_CHECKING:
    from PIL import Image

    from artgen.api.image_lists import ImagesInput


@dataclass(frozen=True)
class ControlMap(NotebookImage):
    """Represent a control map.

    Attributes:
        image: the map, mode RGB, in the size of the input image.
        kind: kind of the map.
        notes: notes of the call, one sentence each.
        source_type: digital source type of IPTC, if the input image has a mark of AI generation; otherwise empty.
    """

    image: "Image.Image"
    kind: str
    notes: tuple[str, ...] = field(default=(), compare=False)
    source_type: str = ""

    def save(self, path: str | os.PathLike[str] = "map.png", *, overwrite: bool = False) -> Path:
        """Write the map, and return its path.

        Args:
            path: PNG, JPEG or WebP file.
            overwrite: replace an existing file.

        Raises:
            UsageError: the path has another type, or the suffix is not an image suffix.
            OutputError: the file exists already, or cannot be written.
        """
        return save_image(self, path, "map.png", "A control map", overwrite=overwrite)


@api_function("control_map")
def control_map(
    kind: str, images: "ImagesInput", **settings: Unpack[ControlMapKeywords]
) -> ControlMap | list[ControlMap]:
    """Compute the control map of an image, as `control` of `txt2img` does for an image in the size of the result.

    One image gives one map; several images or a folder give a list.

    Args:
        kind: kind of the map: canny, depth, pose, lineart, scribble, seg, tile, gray or raw.
        images: path, folder, PIL image, array or result, or a list of them.

    Raises:
        UsageError, InputFileError, ModelUnavailableError: A value, an image or a preprocessor is invalid.
    """
    with start_call("control_map", settings) as call:
        from artgen.images import load_image
        from artgen.metadata.input_marks import find_marks
        from artgen.outputs.mark_notes import source_marks

        device, offline, folders = _read_values(call.values)
        check_settings(kind, device)
        files = image_files(images, call.listener.add_note)
        for file in files:  # reports unreadable files before a preprocessor is loaded
            for text in load_image(file).notes:
                call.listener.add_note(text)
        found = resolve_preprocessors(kind, folders, offline=offline, listener=call.listener)
        maps = list(compute_maps(kind, files, found, device, call.listener))
        for text in source_marks(files).notes:
            call.listener.add_note(text)
        marks = [find_marks(file).source_type for file in files]
        results = [ControlMap(image, kind, call.notes, mark) for image, mark in zip(maps, marks, strict=True)]
    return results[0] if is_single_image(images) else results


def _read_values(values: Mapping[str, Any]) -> tuple[str, bool, str | None]:
    """Return the device, whether the network is disabled, and the folders of the preprocessor."""
    device, offline, folders = values.get("device", "auto"), values.get("offline", False), values.get("preprocessor")
    checks = (
        ("device", "text", isinstance(device, str)),
        ("offline", "True or False", isinstance(offline, bool)),
        ("preprocessor", "a path", isinstance(folders, str | os.PathLike | None)),
    )
    for name, expected, is_valid in checks:
        if not is_valid:
            raise UsageError(f"{name} must be {expected}, not {describe_value(values[name])}.")
    return device, offline, None if folders is None else os.fspath(folders)


def check_settings(kind: str, device: str) -> None:
    """Check the kind of a control map and the device.

    Raises:
        UsageError: the kind is unknown, or the device is unknown or does not exist.
    """
    from artgen.jobs import checks

    if not isinstance(kind, str) or kind not in CONTROL_KINDS:
        hint = value_hint("control", str(kind), CONTROL_KINDS) or "artgen control canny photo.png"
        raise UsageError(f"kind must be one of {', '.join(CONTROL_KINDS)}, not {describe_value(kind)}.", hint)
    check_device_name(device)
    checks.check_device(device, None)


def compute_maps(
    kind: str, files: Sequence[Path], preprocessors: Sequence[Preprocessor], device: str, listener: Listener
) -> "Iterator[Image.Image]":
    """Yield the control map of each image.

    Args:
        kind: one of `CONTROL_KINDS`.
        files: image files.
        preprocessors: models of the kind, on the disk.
        device: `auto` or a device name of torch.
        listener: receives notes and the events of the loading.

    Raises:
        ModelUnavailableError: a model cannot be loaded.
        MemoryExhaustedError: an image is too large for the memory.
    """
    from artgen import images
    from artgen.engine.control_maps.maps import MapModels
    from artgen.engine.control_maps.maps import control_map as compute
    from artgen.engine.lock import ENGINE_LOCK
    from artgen.engine.out_of_memory import report_out_of_memory

    models = MapModels()
    if preprocessors:
        from artgen.engine import fast_import

        with process.paused_gc(), fast_import.quiet_log():
            from artgen.engine.control_maps import depth, pose, seg  # noqa: F401 - imports transformers
            from artgen.engine.loading.device import resolve_device
        models = MapModels(preprocessors, resolve_device(device, "fp32").device)
    for file in files:
        image = images.load_image(file).image
        message = f"Cannot compute the {kind} map of {image.width}x{image.height}: out of memory."
        with ENGINE_LOCK, report_out_of_memory(message, "Use a smaller image, or --device cpu."):
            found = compute(kind, image, models, listener)
        yield found
