"""Arrange images on labeled contact sheets, for the command and the function `sheet`."""

import os
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

        return encode_without_metadata(self.image, "png")


def create_sheet(
    files: Sequence[Path],
    on_note: "Callable[[str], None]",
    *,
    columns: int = 0,
    rows: int = 12,
    cell: int = 256,
    label: str = "auto",
) -> Sheet:
    """Return the sheet of image files. See `artgen.sheet`.

    Args:
        files: the images, in order.
        on_note: receives notes.
        columns: images per row, 0 to 100; 0 makes the sheet square.
        rows: rows per page, 1 to 100.
        cell: width and height of each cell in pixels, 32 to 2048.
        label: auto, none, or names of settings with commas.

    Raises:
        UsageError: a value is invalid.
    """
    from artgen.images import contact_sheet

    check_range("columns", columns, 0, MAX_COLUMNS)
    check_range("rows", rows, 1, MAX_ROWS)
    check_range("cell", cell, MIN_CELL_PX, MAX_CELL_PX)
    if not isinstance(label, str):
        raise UsageError(f"label must be text, not {describe_value(label)}.", "label='seed,steps'")
    records = [_read_record(file) for file in files]
    shared, differing = contact_sheet.split_common_settings(records, LABEL_SETTINGS)
    names = _label_settings(label, differing, on_note)
    cells = [
        contact_sheet.Cell(file, _label_text(record, names, file if label == "auto" and not differing else None))
        for file, record in zip(files, records, strict=True)
    ]
    num_columns = columns or max(1, round(len(cells) ** 0.5))
    title = "" if label == "none" else str(shared.get("prompt") or "")
    return Sheet(contact_sheet.paginate(cells, columns=num_columns, rows=rows, title=title), cell)


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
        return file.stem
    values = [(name, record[name]) for name in names if record.get(name) not in (None, "")]
    return "\n".join(str(value) if name == "prompt" else f"{name} {value}" for name, value in values)
