"""Check and write contact sheets of one or several pages."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from artgen.errors import OutputError, UsageError
from artgen.outputs.encoding import encode_without_metadata
from artgen.outputs.mark_notes import SourceMarks, source_marks
from artgen.outputs.parse_output import format_from_suffix
from artgen.outputs.streams import find_stream
from artgen.outputs.writing import write_user_file

if TYPE_CHECKING:
    from PIL import Image

    from artgen.images.contact_sheet import ContactSheet


def check_sheet_path(output: Path, overwrite: bool, option: str) -> None:
    """Check that a sheet can be written, before images are generated.

    Raises:
        UsageError: the suffix is not an image suffix.
        OutputError: the file exists already.
    """
    flag = "-o" if option == "--output" else option
    if option == "--output" and find_stream(str(output)) is not None:
        return
    format_from_suffix(output, "A sheet", f"{flag} sheet.png")
    if output.exists() and not overwrite:
        raise OutputError(f"'{output}' exists already.", f"Choose another {option}, or add --overwrite.")


def write_sheets(
    pages: "Sequence[ContactSheet]",
    output: Path,
    *,
    cell_px: int,
    overwrite: bool,
    on_written: Callable[[Path], object] = lambda _: None,
) -> list[Path]:
    """Render pages, write them to `sheet.png`, `sheet-2.png` ... and return their paths.

    Args:
        pages: the pages.
        output: path of the first page, or a stream; see `artgen.outputs.find_stream`.
        cell_px: width and height of a cell, in pixels.
        overwrite: existing files may be overwritten.
        on_written: receives the path of each page after it is written.

    Raises:
        UsageError: the suffix is not an image suffix, or standard output receives several pages.
        OutputError: a file exists already, or cannot be written.
    """
    from artgen.images import contact_sheet

    stream = find_stream(str(output))
    if stream is not None and len(pages) > 1:
        raise UsageError(f"Cannot write several pages to '{output}': it takes one page.", "Use -o sheet.png.")
    image_format = "png" if stream is not None else format_from_suffix(output, "A sheet", "-o sheet.png")
    hint = "Choose another --output, or add --overwrite."
    paths = [output, *(output.with_stem(f"{output.stem}-{number}") for number in range(2, len(pages) + 1))]
    if not overwrite and stream is None and (existing := next((path for path in paths if path.exists()), None)):
        raise OutputError(f"'{existing}' exists already.", hint)
    for path, page in zip(paths, pages, strict=True):
        image = contact_sheet.render_sheet(page, cell_px=cell_px)
        data = encode_without_metadata(image, image_format, sheet_marks(page).source_type)
        write_user_file(path, data, overwrite=overwrite, hint=hint)
        on_written(path)
    return paths


def sheet_marks(page: "ContactSheet") -> SourceMarks:
    """Return the marks of AI generation of the images on a page."""
    cells = [cell for row in page.rows for cell in row]
    return source_marks(file for cell in cells if (file := cell.path or cell.source) is not None)


def write_image(image: "Image.Image", path: Path, what: str, *, overwrite: bool, source_type: str = "") -> Path:
    """Write an image without metadata, and return its path.

    Args:
        image: the image.
        path: PNG, JPEG or WebP file.
        what: name of the image in messages, such as `A heat map`.
        overwrite: replace an existing file.
        source_type: mark of AI generation, see `encode_without_metadata`.

    Raises:
        UsageError: the suffix is not an image suffix.
        OutputError: the file exists already, or cannot be written.
    """
    image_format = format_from_suffix(path, what, f"Use '{path.with_suffix('.png')}'.")
    data = encode_without_metadata(image, image_format, source_type)
    write_user_file(path, data, overwrite=overwrite, hint="Choose another path, or add --overwrite.")
    return path
