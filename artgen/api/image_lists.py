"""Convert the images that a function receives, one or several, to files."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from artgen import images as image_package
from artgen.api.inputs import input_file
from artgen.errors import UsageError
from artgen.spec.fields import describe_value
from artgen.system.files import missing_file_error

if TYPE_CHECKING:
    from artgen.api.inputs import ImageInput

    ImagesInput: TypeAlias = ImageInput | Iterable[ImageInput]
    """One image, a folder of images, or several of them."""


def is_single_image(value: Any) -> bool:
    """Return whether a value is one image: not a folder and not several images."""
    if isinstance(value, str | os.PathLike):
        return not os.path.isdir(value)  # noqa: PTH112 - Path.is_dir raises for long names
    return _is_image(value)


def _is_image(value: Any) -> bool:
    # PIL images, results and open files are not iterable; arrays are.
    return isinstance(value, bytes | bytearray) or not isinstance(value, Iterable) or hasattr(value, "dtype")


def image_files(values: Any, on_note: Callable[[str], None]) -> list[Path]:
    """Return the files of images, in order. Folders are replaced by their images.

    Args:
        values: one image, a folder of images, or several of them; see `ImagesInput`.
        on_note: receives a note about each skipped file.

    Raises:
        InputFileError: a file is missing, or a folder contains no images.
        UsageError: an input is not an image, or the list of inputs is empty.
    """
    items = [values] if isinstance(values, str | os.PathLike) or _is_image(values) else list(values)
    files: list[Path] = []
    for item in items:
        file = input_file(item)
        is_path = isinstance(item, str | os.PathLike)
        if is_path and not os.path.lexists(file):
            raise missing_file_error(file)
        files += [path for path, _ in image_package.iter_images([file], on_note=on_note)] if is_path else [file]
    if not files:
        raise UsageError(f"The list of images is empty: {describe_value(values)}.", 'For example: ["fox.png"].')
    return files
