"""Contact sheets: pictures side by side, labelled, in rows, columns and pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from artgen.errors import InputFileError, UsageError

MAX_SHEET_SIDE_PX = 16_000
"""Of a sheet, in pixels; what would be larger goes onto further pages."""

_FONTS = ("NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "DejaVuSans.ttf", "Arial Unicode.ttf", "arial.ttf")
_GAP_PX = 8
_TEXT_COLOR, _BACKGROUND_COLOR = (32, 32, 36), (255, 255, 255)


@dataclass(frozen=True)
class Cell:
    """One picture and what is written under it.

    Attributes:
        path: None where a picture is missing or in memory.
        label: lines of text, possibly none.
        image: one that is in no file.
    """

    path: Path | None
    label: str = ""
    image: Image.Image | None = None


@dataclass(frozen=True)
class ContactSheet:
    """Rows of cells with what is written above and beside them.

    Attributes:
        rows: all of the same length.
        title: above everything.
        column_labels: above each column; empty for none.
        row_labels: left of each row; empty for none.
    """

    rows: Sequence[Sequence[Cell]]
    title: str = ""
    column_labels: Sequence[str] = ()
    row_labels: Sequence[str] = ()


def render_sheet(sheet: ContactSheet, *, cell_px: int = 256) -> Image.Image:
    """Draws a sheet, mode RGB; every picture is fitted into `cell_px` pixels a side and never enlarged beyond twice.

    Raises:
        InputFileError: a picture cannot be read.
        UsageError: the sheet would be larger than 16,000 pixels a side.
    """
    font = label_font(max(11, cell_px // 16))
    small = label_font(max(10, cell_px // 20))
    line = int(font.getbbox("Ag|")[3]) + 4
    width = len(sheet.rows[0])
    labels = [[_wrap_text(each.label, small, cell_px) for each in row] for row in sheet.rows]
    under = [max((len(text) for text in row), default=0) * line for row in labels]
    side = max((int(font.getlength(text)) for text in sheet.row_labels), default=0)
    side = min(side, 2 * cell_px) + _GAP_PX if sheet.row_labels else 0
    heads = [_wrap_text(text, font, cell_px) for text in sheet.column_labels]
    head = max((len(text) for text in heads), default=0) * line
    left = _GAP_PX + side
    total = left + width * (cell_px + _GAP_PX)
    title = _wrap_text(sheet.title, font, total - 2 * _GAP_PX)
    top = _GAP_PX + len(title) * line + head
    height = top + sum(cell_px + extra + _GAP_PX for extra in under)
    if max(total, height) > MAX_SHEET_SIDE_PX:
        raise UsageError(
            f"The sheet would have {total}x{height} pixels; {MAX_SHEET_SIDE_PX:,} a side is the most.",
            "Make --cell smaller.",
        )
    page = Image.new("RGB", (total, height), _BACKGROUND_COLOR)
    pen = ImageDraw.Draw(page)
    _draw_lines(pen, (_GAP_PX, _GAP_PX), title, font, line)
    for column, text in enumerate(heads):
        _draw_lines(pen, (left + column * (cell_px + _GAP_PX), top - head), text, font, line)
    y = top
    for number, row in enumerate(sheet.rows):
        if sheet.row_labels:
            _draw_lines(
                pen,
                (_GAP_PX, y + cell_px // 2 - line // 2),
                _wrap_text(sheet.row_labels[number], font, side),
                font,
                line,
            )
        for column, each in enumerate(row):
            x = left + column * (cell_px + _GAP_PX)
            if each.path is not None or each.image is not None:
                picture = _fit_image(each.image or _read_cell_image(each.path), cell_px)
                page.paste(picture, (x + (cell_px - picture.width) // 2, y + (cell_px - picture.height) // 2))
            _draw_lines(pen, (x, y + cell_px + 2), labels[number][column], small, line)
        y += cell_px + under[number] + _GAP_PX
    return page


def paginate(cells: Sequence[Cell], *, columns: int, rows: int, title: str = "") -> list[ContactSheet]:
    """Cells in reading order, `columns` wide and at most `rows` high a page; the last row is filled up."""
    found = []
    for start in range(0, len(cells), columns * rows):
        page = list(cells[start : start + columns * rows])
        wide = min(columns, len(page))
        page += [Cell(None)] * (-len(page) % wide)
        found.append(ContactSheet([page[at : at + wide] for at in range(0, len(page), wide)], title))
    return found


def split_common_settings(
    records: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """What records share, and the names of the settings in which they differ, among `names`."""
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
        raise TypeError("this cell has no picture")
    try:
        with Image.open(path) as file:
            return file.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputFileError(f"'{path}' cannot be read as a picture: {error}.") from error


def _fit_image(image: Image.Image, cell_px: int) -> Image.Image:
    factor = min(cell_px / image.width, cell_px / image.height, 2)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image if factor == 1 else image.resize(size, Image.Resampling.LANCZOS)


@cache
def label_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The first font at hand that knows many scripts, at a size in pixels."""
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def _wrap_text(text: str, font: Any, width: int) -> list[str]:
    """Lines no wider than `width` pixels; what cannot be drawn is left out, and long words are broken."""
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
