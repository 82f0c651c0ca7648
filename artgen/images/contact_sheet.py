"""Draw contact sheets: labeled images in rows, columns and pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from artgen.errors import UsageError
from artgen.images.loading import load_image
from artgen.system.command_state import cleared_after_command

MAX_SHEET_SIDE_PX = 16_000
"""Longest side of a sheet."""

_FONTS = ("NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "DejaVuSans.ttf", "Arial Unicode.ttf", "arial.ttf")
MAX_LABEL_CHARS = 2000
"""Limit of a title or label; the rest of a longer text is not shown."""
_GAP_PX = 8
_TEXT_COLOR, _BACKGROUND_COLOR = (32, 32, 36), (255, 255, 255)


@dataclass(frozen=True)
class Cell:
    """Represent one image and its label.

    Attributes:
        path: image file; None if the image is missing or in memory.
        label: lines of text below the image; can be empty.
        image: image in memory.
        source: file of the image in memory, for its marks; None if it is unknown.
    """

    path: Path | None
    label: str = ""
    image: Image.Image | None = None
    source: Path | None = None


@dataclass(frozen=True)
class ContactSheet:
    """Represent rows of cells with labels.

    Attributes:
        rows: rows of equal length.
        title: text above the sheet.
        column_labels: texts above the columns; empty without labels.
        row_labels: texts to the left of the rows; empty without labels.
    """

    rows: Sequence[Sequence[Cell]]
    title: str = ""
    column_labels: Sequence[str] = ()
    row_labels: Sequence[str] = ()


def render_sheet(sheet: ContactSheet, *, cell_px: int = 256) -> Image.Image:
    """Draw a sheet, mode RGB. Each image is scaled to fit into `cell_px` pixels per side, by a factor of at most 2.

    Raises:
        InputFileError: An image cannot be read.
        UsageError: A side of the sheet has more than 16,000 pixels.
    """
    font = label_font(max(11, cell_px // 16))
    caption_font = label_font(max(10, cell_px // 20))
    line_height = int(font.getbbox("Ag|")[3]) + 4
    columns = len(sheet.rows[0])
    labels = [[_wrap_text(cell.label, caption_font, cell_px) for cell in row] for row in sheet.rows]
    label_heights = [max((len(text) for text in row), default=0) * line_height for row in labels]
    row_label_width = max((int(font.getlength(text)) for text in sheet.row_labels), default=0)
    row_label_width = min(row_label_width, 2 * cell_px) + _GAP_PX if sheet.row_labels else 0
    headings = [_wrap_text(text, font, cell_px) for text in sheet.column_labels]
    heading_height = max((len(text) for text in headings), default=0) * line_height
    left = _GAP_PX + row_label_width
    page_width = left + columns * (cell_px + _GAP_PX)
    title = _wrap_text(sheet.title, font, page_width - 2 * _GAP_PX)
    top = _GAP_PX + len(title) * line_height + heading_height
    page_height = top + sum(cell_px + label_height + _GAP_PX for label_height in label_heights)
    if max(page_width, page_height) > MAX_SHEET_SIDE_PX:
        raise UsageError(
            f"The sheet has {page_width}x{page_height} pixels; a side has at most {MAX_SHEET_SIDE_PX:,} pixels.",
            "Use a smaller --cell.",
        )
    page = Image.new("RGB", (page_width, page_height), _BACKGROUND_COLOR)
    draw = ImageDraw.Draw(page)
    _draw_lines(draw, (_GAP_PX, _GAP_PX), title, font, line_height)
    for column, text in enumerate(headings):
        _draw_lines(draw, (left + column * (cell_px + _GAP_PX), top - heading_height), text, font, line_height)
    y = top
    for row_index, row in enumerate(sheet.rows):
        if sheet.row_labels:
            _draw_lines(
                draw,
                (_GAP_PX, y + cell_px // 2 - line_height // 2),
                _wrap_text(sheet.row_labels[row_index], font, row_label_width),
                font,
                line_height,
            )
        for column, cell in enumerate(row):
            x = left + column * (cell_px + _GAP_PX)
            if cell.path is not None or cell.image is not None:
                image = _fit_image(cell.image or _read_cell_image(cell.path), cell_px)
                page.paste(image, (x + (cell_px - image.width) // 2, y + (cell_px - image.height) // 2))
            _draw_lines(draw, (x, y + cell_px + 2), labels[row_index][column], caption_font, line_height)
        y += cell_px + label_heights[row_index] + _GAP_PX
    return page


def paginate(cells: Sequence[Cell], *, columns: int, rows: int, title: str = "") -> list[ContactSheet]:
    """Arrange cells in reading order into pages of at most `columns` by `rows`. Fill the last row with empty cells."""
    pages = []
    for start in range(0, len(cells), columns * rows):
        page = list(cells[start : start + columns * rows])
        width = min(columns, len(page))
        page += [Cell(None)] * (-len(page) % width)
        pages.append(ContactSheet([page[first : first + width] for first in range(0, len(page), width)], title))
    return pages


def split_common_settings(
    records: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """Return the settings among `names` that all records share, and the names of the others."""
    shared: dict[str, Any] = {}
    differing: list[str] = []
    for name in names:
        values = [record.get(name) for record in records]
        if all(value == values[0] for value in values):
            shared[name] = values[0]
        else:
            differing.append(name)
    return shared, differing


def _read_cell_image(path: Path | None) -> Image.Image:
    if path is None:
        raise TypeError("the cell has no image")
    return load_image(path).image


def _fit_image(image: Image.Image, cell_px: int) -> Image.Image:
    factor = min(cell_px / image.width, cell_px / image.height, 2)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image if factor == 1 else image.resize(size, Image.Resampling.LANCZOS)


@cleared_after_command
@cache
def label_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Load the first installed font with many scripts, or Pillow's default font, at a size in pixels."""
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def _wrap_text(text: str, font: Any, width: int) -> list[str]:
    """Split text into lines of at most `width` pixels. Long words are split."""
    if len(text) > MAX_LABEL_CHARS:
        text = f"{text[:MAX_LABEL_CHARS]}..."
    lines = []
    for paragraph in text.splitlines():
        line = ""
        for character in _replace_unprintable(paragraph):
            if font.getlength(line + character) > width and line:
                cut = line.rfind(" ") + 1 or len(line)
                lines.append(line[:cut].rstrip())
                line = line[cut:]
            line += character
        lines.append(line)
    return lines


def _replace_unprintable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _draw_lines(
    draw: ImageDraw.ImageDraw, position: tuple[int, int], lines: Sequence[str], font: Any, line_height: int
) -> None:
    for number, line in enumerate(lines):
        draw.text((position[0], position[1] + number * line_height), line, fill=_TEXT_COLOR, font=font)
