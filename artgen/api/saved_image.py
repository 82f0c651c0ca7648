"""Save results with one image, and show them in notebooks."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def save_image(
    result: "NotebookImage", path: str | os.PathLike[str], default: str, title: str, *, overwrite: bool
) -> Path:
    """Write the image of a result, and return its path.

    Args:
        result: result with the image.
        path: path of the user.
        default: default path, for the message about a path of another type.
        title: what the image is, with its article, for messages.
        overwrite: replace an existing file.

    Raises:
        UsageError: the path has another type, or the suffix is not an image suffix.
        OutputError: the file exists already, or cannot be written.
    """
    from artgen.outputs.sheets import write_image
    from artgen.spec.python_text import for_python
    from artgen.spec.python_values import path_text

    with for_python():
        file = Path(path_text(path, "path", default))
        return write_image(result.image, file, title, overwrite=overwrite, source_type=result.source_type)


class NotebookImage:
    """Show the image of a result in notebooks.

    Attributes:
        image: the image.
        source_type: digital source type of IPTC, if the input image has a mark of AI generation; otherwise empty.
    """

    image: "Image.Image"
    source_type: str = ""

    def _repr_png_(self) -> bytes:
        """Return the image as a PNG file."""
        from artgen.outputs import encode_without_metadata

        return encode_without_metadata(self.image, "png", self.source_type)
