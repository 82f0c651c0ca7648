"""List the styles in the user's style_folder."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from artgen.errors import UsageError
from artgen.spec.python_text import for_python

if TYPE_CHECKING:
    from artgen.spec.style_files import Style, StyleFolder


@for_python()
def list_styles(text: str = "") -> "list[Style]":
    """Return the styles in the folder of the setting `style_folder`.

    Args:
        text: text that the names must contain. The case is ignored.

    Raises:
        InputFileError: the folder is not set, or a file in it is not valid.
        UsageError: no name contains the text.
    """
    found, folder = find_styles(text)
    if folder.errors:
        raise folder.errors[0]
    check_found(found, text, folder)
    return list(found)


def find_styles(text: str) -> "tuple[Sequence[Style], StyleFolder]":
    """Return the styles whose name contains a text, and the folder of styles.

    Raises:
        InputFileError: the folder is not set or cannot be read.
    """
    from artgen.spec import config
    from artgen.spec.style_files import StyleFolder

    folder = StyleFolder(config.style_folder())
    return [style for style in folder.styles if text.casefold() in style.name.casefold()], folder


def check_found(found: "Sequence[Style]", text: str, folder: "StyleFolder") -> None:
    """Check that a name contains the text.

    Raises:
        UsageError: the folder contains styles, and no name contains the text.
    """
    if not found and text and folder.styles:
        raise UsageError(f"No style has a name that contains '{text}'.", "`artgen styles` lists all styles.")
