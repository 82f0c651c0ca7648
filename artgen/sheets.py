"""Contact sheets: pictures side by side, labelled, in rows, columns and pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from artgen.errors import InputFileError, UsageError

MAX_SIDE = 16_000
"""Of a sheet, in pixels; what would be larger goes onto further pages."""

_FONTS = ("NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "DejaVuSans.ttf", "Arial Unicode.ttf", "arial.ttf")
_GAP = 8
_INK, _PAPER = (32, 32, 36), (255, 255, 255)


@dataclass(frozen=True)
class Cell:
    """One picture and what is written under it.

    Attributes:
        path: None where a picture is missing or in memory.
        label: lines of text, possibly none.
        picture: one that is in no file.
    """

    path: Path | None
    label: str = ""
    picture: Image.Image | None = None


@dataclass(frozen=True)
class Sheet:
    """Rows of cells with what is written above and beside them.

    Attributes:
        rows: all of the same length.
        title: above everything.
        columns: above each column; empty for none.
        sides: left of each row; empty for none.
    """

    rows: Sequence[Sequence[Cell]]
    title: str = ""
    columns: Sequence[str] = ()
    sides: Sequence[str] = ()


def draw_sheet(sheet: Sheet, *, cell: int = 256) -> Image.Image:
    """Draws a sheet, mode RGB; every picture is fitted into `cell` pixels a side and never enlarged beyond twice.

    Raises:
        InputFileError: a picture cannot be read.
        UsageError: the sheet would be larger than 16,000 pixels a side.
    """
    font = label_font(max(11, cell // 16))
    small = label_font(max(10, cell // 20))
    line = int(font.getbbox("Ag|")[3]) + 4
    width = len(sheet.rows[0])
    labels = [[_wrapped(each.label, small, cell) for each in row] for row in sheet.rows]
    under = [max((len(text) for text in row), default=0) * line for row in labels]
    side = max((int(font.getlength(text)) for text in sheet.sides), default=0)
    side = min(side, 2 * cell) + _GAP if sheet.sides else 0
    heads = [_wrapped(text, font, cell) for text in sheet.columns]
    head = max((len(text) for text in heads), default=0) * line
    left = _GAP + side
    total = left + width * (cell + _GAP)
    title = _wrapped(sheet.title, font, total - 2 * _GAP)
    top = _GAP + len(title) * line + head
    height = top + sum(cell + extra + _GAP for extra in under)
    if max(total, height) > MAX_SIDE:
        raise UsageError(
            f"The sheet would have {total}x{height} pixels; {MAX_SIDE:,} a side is the most.", "Make --cell smaller."
        )
    page = Image.new("RGB", (total, height), _PAPER)
    pen = ImageDraw.Draw(page)
    _write(pen, (_GAP, _GAP), title, font, line)
    for column, text in enumerate(heads):
        _write(pen, (left + column * (cell + _GAP), top - head), text, font, line)
    y = top
    for number, row in enumerate(sheet.rows):
        if sheet.sides:
            _write(pen, (_GAP, y + cell // 2 - line // 2), _wrapped(sheet.sides[number], font, side), font, line)
        for column, each in enumerate(row):
            x = left + column * (cell + _GAP)
            if each.path is not None or each.picture is not None:
                picture = _fitted(each.picture or _read(each.path), cell)
                page.paste(picture, (x + (cell - picture.width) // 2, y + (cell - picture.height) // 2))
            _write(pen, (x, y + cell + 2), labels[number][column], small, line)
        y += cell + under[number] + _GAP
    return page


def pages(cells: Sequence[Cell], *, columns: int, rows: int, title: str = "") -> list[Sheet]:
    """Cells in reading order, `columns` wide and at most `rows` high a page; the last row is filled up."""
    found = []
    for start in range(0, len(cells), columns * rows):
        page = list(cells[start : start + columns * rows])
        wide = min(columns, len(page))
        page += [Cell(None)] * (-len(page) % wide)
        found.append(Sheet([page[at : at + wide] for at in range(0, len(page), wide)], title))
    return found


def differences(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
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


def _read(path: Path | None) -> Image.Image:
    if path is None:
        raise TypeError("this cell has no picture")
    try:
        with Image.open(path) as file:
            return file.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputFileError(f"'{path}' cannot be read as a picture: {error}.") from error


def _fitted(picture: Image.Image, cell: int) -> Image.Image:
    factor = min(cell / picture.width, cell / picture.height, 2)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture if factor == 1 else picture.resize(size, Image.Resampling.LANCZOS)


@cache
def label_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The first font at hand that knows many scripts, at a size in pixels."""
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def _wrapped(text: str, font: Any, width: int) -> list[str]:
    """Lines no wider than `width` pixels; what cannot be drawn is left out, and long words are broken."""
    lines = []
    for paragraph in text.splitlines():
        line = ""
        for character in _drawable(paragraph):
            if font.getlength(line + character) > width and line:
                cut = line.rfind(" ") + 1 or len(line)
                lines.append(line[:cut].rstrip())
                line = line[cut:]
            line += character
        lines.append(line)
    return lines


def _drawable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _write(pen: ImageDraw.ImageDraw, at: tuple[int, int], lines: Sequence[str], font: Any, height: int) -> None:
    for number, line in enumerate(lines):
        pen.text((at[0], at[1] + number * height), line, fill=_INK, font=font)
