"""Find the images of other tools by the names in their metadata.

Metadata is untrusted: only the last parts of a name are used, below some folders, and the file is opened as an image.
"""

import os
import re
from pathlib import Path, PurePosixPath

from artgen.images.formats import IMAGE_SUFFIXES
from artgen.spec import config

_FOLDER_NOTE = re.compile(r"\s*\[(?:input|output|temp)\]$")
"""Folder that ComfyUI adds to the name of an image."""
INPUT_FOLDER = "input"


def find_named_image(path: Path, name: str) -> Path | None:
    """Return the image file that metadata names; None if it is not in the known folders.

    The folders are the folder of `path`, the current folder, and ComfyUI's folder `input`: next to the image or to its
    folder, and in the user's `model_folders` or next to them.

    Args:
        path: image with the metadata.
        name: recorded name.
    """
    recorded = PurePosixPath(_FOLDER_NOTE.sub("", name).replace("\\", "/"))
    if not recorded.name or recorded.suffix.lower() not in IMAGE_SUFFIXES:
        return None
    parts = [part for part in recorded.parts if part not in ("/", "..") and ":" not in part]
    folder = path.parent
    inputs = [folder / INPUT_FOLDER, folder.parent / INPUT_FOLDER]
    inputs += [each / INPUT_FOLDER for models in config.model_folders() for each in (models, models.parent)]
    candidates = [folder / recorded.name, Path(recorded.name)]
    candidates += [file for base in inputs for file in (base.joinpath(*parts), base / recorded.name)]
    return next((each for each in candidates if os.path.isfile(each)), None)  # noqa: PTH113 - does not raise
