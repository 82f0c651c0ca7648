"""Arrange images on labeled contact sheets, for the command and the function `sheet`."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artgen.errors import InputFileError, UsageError
from artgen.spec.fields import describe_value
from artgen.spec.python_text import for_python
from artgen.spec.value_checks import check_range
from artgen.system.counts import counted
from artgen.system.input_files import input_stem

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from artgen.images.contact_sheet import ContactSheet

LABEL_SETTINGS = (
    "prompt", "negative_prompt", "model", "seed", "steps", "guidance_scale", "scheduler", "sigmas", "strength",
    "image", "width", "height", "task",
)  # fmt: skip
"""Settings that a label can contain, in order."""

MAX_COLUMNS = MAX_ROWS = 100
MIN_CELL_PX = 32
MAX_CELL_PX = 2048
DEFAULT_CELL_PX = 256
MAX_REPEATS = 16
"""Largest number of copies of an image per row and per column."""


@dataclass(frozen=True, repr=False)
class Sheet:
    """Represent a contact sheet of one or several pages.

    Attributes:
        cell_px: width and height of each cell, in pixels.
    """

    _pages: "Sequence[ContactSheet]"
    cell_px: int

    @cached_property
    def pages(self) -> "tuple[Image.Image, ...]":
        """Return the image of each page, mode RGB."""
        from artgen.images.contact_sheet import render_sheet

        return tuple(render_sheet(page, cell_px=self.cell_px) for page in self._pages)

    @property
    def image(self) -> "Image.Image":
        """Return the image of the first page."""
        return self.pages[0]

    @for_python()
    def save(self, path: str | os.PathLike[str] = "sheet.png", *, overwrite: bool = False) -> list[Path]:
        """Write the pages to `sheet.png`, `sheet-2.png` ... and return their paths.

        Args:
            path: file of the first page: PNG, JPEG or WebP.
            overwrite: replace existing files.

        Raises:
            UsageError: the suffix is not an image suffix.
            OutputError: a file exists already, or cannot be written.
        """
        from artgen.spec.python_text import for_python
        from artgen.spec.python_values import path_text

        with for_python():
            return self.write(Path(path_text(path, "path", "sheet.png")), overwrite=overwrite)

    def write(
        self, path: Path, *, overwrite: bool, on_written: "Callable[[Path], object]" = lambda _: None
    ) -> list[Path]:
        """Write the pages, and call `on_written` with the path of each page. See `save`."""
        from artgen.outputs import write_sheets

        return write_sheets(self._pages, path, cell_px=self.cell_px, overwrite=overwrite, on_written=on_written)

    def __repr__(self) -> str:
        return f"<Sheet {counted(len(self._pages), 'page')}, cell_px={self.cell_px}>"

    def _repr_png_(self) -> bytes:
        """Return the first page as a PNG file, which notebooks show."""
        from artgen.outputs import encode_without_metadata
        from artgen.outputs.sheets import sheet_marks

        return encode_without_metadata(self.image, "png", sheet_marks(self._pages[0]).source_type)


def create_sheet(
    files: Sequence[Path],
    on_note: "Callable[[str], None]",
    *,
    columns: int = 0,
    rows: int = 12,
    cell: int | None = None,
    label: str = "auto",
    repeat: str | None = None,
) -> Sheet:
    """Return the sheet of image files. See `artgen.sheet`.

    Args:
        files: the images, in order.
        on_note: receives notes.
        columns: images per row, 0 to 100; 0 makes the sheet square.
        rows: rows per page, 1 to 100.
        cell: width and height of each cell in pixels, 32 to 2048; None: 256, or the size of the repeated image.
        label: auto, none, or names of settings with commas.
        repeat: copies of each image per row and per column, such as 3x3: a texture without gaps; None: one copy.

    Raises:
        UsageError: a value is invalid.
    """
    from artgen.images import contact_sheet
    from artgen.outputs.mark_notes import source_marks

    check_range("columns", columns, 0, MAX_COLUMNS)
    check_range("rows", rows, 1, MAX_ROWS)
    if cell is not None:
        check_range("cell", cell, MIN_CELL_PX, MAX_CELL_PX)
    copies = None if repeat is None else parse_repeat(repeat)
    if not isinstance(label, str):
        raise UsageError(f"label must be text, not {describe_value(label)}.", "label='seed,steps'")
    for note in source_marks(files).notes:
        on_note(note)
    records = [_read_record(file) for file in files]
    shared, differing = contact_sheet.split_common_settings(records, LABEL_SETTINGS)
    if copies is not None and len(files) == 1 and label == "auto":
        label = "none"
    names = _label_settings(label, differing, on_note)
    labels = [
        _label_text(record, names, file if label == "auto" and not differing else None)
        for file, record in zip(files, records, strict=True)
    ]
    cells = [contact_sheet.Cell(file, text) for file, text in zip(files, labels, strict=True)]
    if copies is not None:
        textures = [_repeated(file, *copies) for file in files]
        cells = [
            contact_sheet.Cell(None, text, image, file)
            for image, file, text in zip(textures, files, labels, strict=True)
        ]
        cell = cell or min(MAX_CELL_PX, max(MIN_CELL_PX, *(max(image.size) for image in textures)))
    num_columns = columns or max(1, round(len(cells) ** 0.5))
    title = "" if label == "none" else str(shared.get("prompt") or "")
    return Sheet(contact_sheet.paginate(cells, columns=num_columns, rows=rows, title=title), cell or DEFAULT_CELL_PX)


def parse_repeat(text: str) -> tuple[int, int]:
    """Return the copies per row and per column of a text such as `3x3`.

    Raises:
        UsageError: the text is not two numbers from 1 to 16.
    """
    match = re.fullmatch(r"([0-9]{1,3})[x×]([0-9]{1,3})", str(text).strip().lower())
    copies = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(1 <= each <= MAX_REPEATS for each in copies):
        raise UsageError(
            f"repeat must be COLUMNSxROWS with numbers from 1 to {MAX_REPEATS}, not {describe_value(text)}.",
            "--repeat 3x3",
        )
    return copies


def _repeated(file: Path, columns: int, rows: int) -> "Image.Image":
    """Return copies of an image side by side, RGB. A large image is reduced first: a cell has at most 2048 pixels."""
    from PIL import Image

    from artgen.images import load_image

    image = load_image(file).image
    image.thumbnail((max(1, MAX_CELL_PX // columns), max(1, MAX_CELL_PX // rows)))
    texture = Image.new("RGB", (columns * image.width, rows * image.height))
    for index in range(columns * rows):
        texture.paste(image, (index % columns * image.width, index // columns * image.height))
    return texture


def _read_record(path: Path) -> dict[str, Any]:
    from artgen import metadata

    try:
        image_metadata = metadata.read_metadata(path)
    except InputFileError:
        return {}
    return image_metadata.fields


def _label_settings(label: str, differing: list[str], on_note: "Callable[[str], None]") -> list[str]:
    from artgen.queue.entries import setting_name

    if label == "none":
        return []
    if label == "auto":
        if not differing:
            on_note("The metadata of the images does not differ. The labels are the file names.")
        return differing
    return [setting_name(name) for name in label.split(",")]


def _label_text(record: dict[str, Any], names: list[str], file: Path | None) -> str:
    if file is not None:
        return input_stem(file)
    values = [(name, record[name]) for name in names if record.get(name) not in (None, "")]
    return "\n".join(str(value) if name == "prompt" else f"{name} {value}" for name, value in values)
