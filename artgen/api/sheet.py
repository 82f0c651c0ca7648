"""Define the function `sheet`."""

from typing import TYPE_CHECKING, Unpack

from artgen.api.arguments import api_function
from artgen.api.call import start_call
from artgen.api.image_lists import image_files
from artgen.api.keyword_types import SheetKeywords
from artgen.api.sheet_pages import Sheet, create_sheet

if TYPE_CHECKING:
    from artgen.api.image_lists import ImagesInput


@api_function("sheet")
def sheet(images: "ImagesInput", **settings: Unpack[SheetKeywords]) -> Sheet:
    """Arrange images on a labeled contact sheet. By default, the labels are the settings that differ.

    Args:
        images: paths, folders, PIL images, arrays or results.

    Raises:
        InputFileError: a file cannot be read.
        UsageError: a value is invalid.
    """
    with start_call("sheet", settings) as call:
        files = image_files(images, call.listener.add_note)
        return create_sheet(files, call.listener.add_note, **call.values)
