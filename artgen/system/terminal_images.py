"""Convert images to text and escape sequences that show them in a terminal.

Three protocols: kitty (https://sw.kovidgoyal.net/kitty/graphics-protocol/), iTerm2
(https://iterm2.com/documentation-images.html), and half blocks, characters whose two colors are two pixels, which every
terminal with colors shows. The sequences contain encoded pixels and numbers only, no text of the user or of a file.

The protocol is selected from environment variables. A query of the terminal could wait for an answer, or read keys that
the user typed. Libraries for this: term-image requires an older Pillow; textual-image queries the terminal when it is
imported and does not support iTerm2.
"""

import base64
import contextlib
import io
import math
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TextIO

if TYPE_CHECKING:
    from PIL import Image

Protocol = Literal["kitty", "iterm2", "blocks"]

RGB = tuple[int, int, int]

MULTIPLEXER_VARIABLES = ("TMUX", "STY", "ZELLIJ")
"""Variables of tmux, screen and Zellij, which pass graphics to the terminal only with a special configuration."""

ITERM2_PROGRAMS = frozenset({"iTerm.app", "WezTerm", "mintty"})
KITTY_TERMS = frozenset({"xterm-kitty", "xterm-ghostty"})
TRUE_COLOR_PROGRAMS = frozenset({"iTerm.app", "WezTerm", "mintty", "vscode", "Hyper", "ghostty"})

DEFAULT_CELL_PX = (10, 20)
"""Width and height of a character in pixels, if the terminal does not report them."""

KITTY_CHUNK_CHARS = 4096
"""Maximum number of base64 characters in one kitty sequence."""

RESERVED_ROWS = 4
"""Rows of the terminal that an image leaves free for the lines after it."""

_CUBE_LEVELS = (0, 95, 135, 175, 215, 255)
"""Levels of each channel in the 6x6x6 color cube of the 256 colors."""


@dataclass(frozen=True)
class TerminalSize:
    """Store the size of a terminal.

    Attributes:
        columns, rows: size in characters.
        cell_px: width and height of a character in pixels.
    """

    columns: int
    rows: int
    cell_px: tuple[int, int] = DEFAULT_CELL_PX


def terminal_size(stream: TextIO) -> TerminalSize:
    """Return the size of a terminal, with defaults for values that it does not report."""
    rows = columns = width = height = 0
    with contextlib.suppress(ImportError, OSError, ValueError):  # Windows, or a stream without a terminal
        import fcntl
        import termios

        reported = fcntl.ioctl(stream.fileno(), termios.TIOCGWINSZ, bytes(8))
        rows, columns, width, height = struct.unpack("HHHH", reported)
    if not columns:
        with contextlib.suppress(OSError, ValueError):
            columns, rows = os.get_terminal_size(stream.fileno())
    columns, rows = columns or 80, rows or 24
    cell_px = (width // columns, height // rows)
    return TerminalSize(columns, rows, cell_px if min(cell_px) > 0 else DEFAULT_CELL_PX)


def select_protocol(environment: Mapping[str, str]) -> Protocol:
    """Return the best protocol that the environment variables of a terminal name."""
    term = environment.get("TERM", "")
    if any(environment.get(name) for name in MULTIPLEXER_VARIABLES) or term.startswith(("tmux", "screen")):
        return "blocks"
    program = environment.get("TERM_PROGRAM", "")
    if term in KITTY_TERMS or program == "ghostty" or environment.get("KITTY_WINDOW_ID"):
        return "kitty"
    if program in ITERM2_PROGRAMS or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    return "blocks"


def has_true_color(environment: Mapping[str, str]) -> bool:
    """Return whether the environment variables name a terminal with 24-bit colors. Others have 256 colors."""
    return (
        environment.get("COLORTERM", "").lower() in ("truecolor", "24bit")
        or "direct" in environment.get("TERM", "")
        or environment.get("TERM_PROGRAM") in TRUE_COLOR_PROGRAMS
        or bool(environment.get("WT_SESSION"))
    )


def image_text(image: "Image.Image", size: TerminalSize, environment: Mapping[str, str]) -> str:
    """Return the text that shows an image in a terminal, at most as large as the terminal; it ends with a newline.

    Args:
        image: RGB image.
        size: size of the terminal. `RESERVED_ROWS` stay free.
        environment: environment variables of the terminal.
    """
    protocol = select_protocol(environment)
    if protocol == "blocks":
        return "".join(f"{line}\n" for line in half_blocks(image, size, true_color=has_true_color(environment)))
    cell_width, cell_height = size.cell_px
    # The terminal computes the rows from the columns and the aspect ratio.
    width, height = _fit(image.size, (size.columns * cell_width, _usable_rows(size) * cell_height))
    columns = max(1, round(width / cell_width))
    data = _encode_png(image, width, height)
    return f"{_kitty_sequence(data, columns) if protocol == 'kitty' else _iterm2_sequence(data, columns)}\n"


def half_blocks(image: "Image.Image", size: TerminalSize, *, true_color: bool) -> list[str]:
    """Return the lines of half blocks that show an RGB image. A character has two pixels, one above the other."""
    width, height = _fit(image.size, (size.columns, 2 * _usable_rows(size)))
    rows = _pixel_rows(image, width, height)
    color = _true_color if true_color else _color_256
    return [_block_line(rows[top], rows[top + 1] if top + 1 < height else None, color) for top in range(0, height, 2)]


def image_rows(
    images: "Sequence[Image.Image | None]",
    captions: Sequence[str],
    size: TerminalSize,
    environment: Mapping[str, str],
    cell_columns: int,
) -> str:
    """Return the text that shows small images in rows, with a caption below each image; it ends with a newline.

    Args:
        images: images. None leaves a cell empty.
        captions: printable ASCII text for each image.
        size: size of the terminal.
        environment: environment variables of the terminal.
        cell_columns: width of an image in characters. The height of its cell is half of it.
    """
    cell_columns = min(cell_columns, size.columns)
    per_row = max(1, (size.columns + 1) // (cell_columns + 1))
    cell = TerminalSize(cell_columns, cell_columns // 2 + RESERVED_ROWS, size.cell_px)
    show_row = _block_row if select_protocol(environment) == "blocks" else _pixel_row
    lines: list[str] = []
    for start in range(0, len(images), per_row):
        lines += show_row(images[start : start + per_row], cell, environment)
        names = (caption[:cell_columns].ljust(cell_columns) for caption in captions[start : start + per_row])
        lines.append(" ".join(names).rstrip())
    return "".join(f"{line}\n" for line in lines)


def _block_row(
    images: "Sequence[Image.Image | None]", cell: TerminalSize, environment: Mapping[str, str]
) -> Iterator[str]:
    """Yield the lines of images of half blocks side by side."""
    true_color = has_true_color(environment)
    cells = [half_blocks(image, cell, true_color=true_color) if image else [] for image in images]
    for row in range(max(map(len, cells))):
        lines = [each[row] if row < len(each) else "" for each in cells]
        padded = [line + " " * (cell.columns - line.count("\N{UPPER HALF BLOCK}")) for line in lines]
        yield " ".join(padded).rstrip()


def _pixel_row(
    images: "Sequence[Image.Image | None]", cell: TerminalSize, environment: Mapping[str, str]
) -> Iterator[str]:
    """Yield the sequence that shows images side by side as one image."""
    from PIL import Image

    cell_width, cell_height = cell.cell_px
    box = (cell.columns * cell_width, _usable_rows(cell) * cell_height)
    columns = len(images) * (cell.columns + 1) - 1
    strip = Image.new("RGB", (columns * cell_width, box[1]))
    for index, image in enumerate(images):
        if image is not None:
            left = index * (box[0] + cell_width)
            strip.paste(_resize(image.convert("RGB"), *_fit(image.size, box)), (left, 0))
    data = _encode_png(strip, *strip.size)
    yield _kitty_sequence(data, columns) if select_protocol(environment) == "kitty" else _iterm2_sequence(data, columns)


def _usable_rows(size: TerminalSize) -> int:
    return max(1, size.rows - RESERVED_ROWS)


def _fit(image_size: tuple[int, int], maximum: tuple[int, int]) -> tuple[int, int]:
    """Return the size of an image, reduced to a maximum width and height in pixels with the same aspect ratio."""
    scale = min(1.0, *(limit / side for limit, side in zip(maximum, image_size, strict=True)))
    width, height = (max(1, round(side * scale)) for side in image_size)
    return width, height


def _resize(image: "Image.Image", width: int, height: int) -> "Image.Image":
    from PIL import Image

    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def _pixel_rows(image: "Image.Image", width: int, height: int) -> list[list[RGB]]:
    data = _resize(image.convert("RGB"), width, height).tobytes()
    pixels = list(zip(data[::3], data[1::3], data[2::3], strict=True))
    return [pixels[start : start + width] for start in range(0, len(pixels), width)]


def _block_line(above: Sequence[RGB], below: Sequence[RGB] | None, color: Callable[[RGB], str]) -> str:
    """Return a line of characters whose upper half has the text color and whose lower half has the background color."""
    parts: list[str] = []
    last: tuple[str, str] | None = None
    for column, upper in enumerate(above):
        colors = (f"38;{color(upper)}", f"48;{color(below[column])}" if below else "49")
        if colors != last:
            changed = colors if last is None else [new for new, old in zip(colors, last, strict=True) if new != old]
            parts.append(f"\x1b[{';'.join(changed)}m")
        parts.append("\N{UPPER HALF BLOCK}")
        last = colors
    return f"{''.join(parts)}\x1b[0m"


def _true_color(pixel: RGB) -> str:
    return f"2;{pixel[0]};{pixel[1]};{pixel[2]}"


@lru_cache(maxsize=1 << 16)
def _color_256(pixel: RGB) -> str:
    """Return the number of the nearest of the 240 fixed colors: a color cube (16 to 231) and grays (232 to 255)."""
    levels = [min(range(6), key=lambda index: abs(_CUBE_LEVELS[index] - channel)) for channel in pixel]
    gray = min(23, max(0, round((sum(pixel) / 3 - 8) / 10)))
    candidates = {
        16 + 36 * levels[0] + 6 * levels[1] + levels[2]: tuple(_CUBE_LEVELS[level] for level in levels),
        232 + gray: (8 + 10 * gray,) * 3,
    }
    return f"5;{min(candidates, key=lambda number: math.dist(candidates[number], pixel))}"


def _encode_png(image: "Image.Image", width: int, height: int) -> bytes:
    """Return the pixels as PNG without metadata, in this size."""
    buffer = io.BytesIO()
    pixels = _resize(image.convert("RGB"), width, height).copy()
    pixels.info.clear()
    pixels.save(buffer, "PNG")
    return buffer.getvalue()


def _kitty_sequence(data: bytes, columns: int) -> str:
    """Return the sequences that transmit and show a PNG file. q=2: the terminal sends no answer."""
    text = base64.b64encode(data).decode("ascii")
    chunks = [text[start : start + KITTY_CHUNK_CHARS] for start in range(0, len(text), KITTY_CHUNK_CHARS)]
    parts = []
    for index, chunk in enumerate(chunks):
        control = f"a=T,f=100,c={columns},q=2," if index == 0 else ""
        parts.append(f"\x1b_G{control}m={int(index < len(chunks) - 1)};{chunk}\x1b\\")
    return "".join(parts)


def _iterm2_sequence(data: bytes, columns: int) -> str:
    """Return the sequence that transmits and shows a PNG file."""
    arguments = f"inline=1;size={len(data)};width={columns};height=auto;preserveAspectRatio=1"
    return f"\x1b]1337;File={arguments}:{base64.b64encode(data).decode('ascii')}\x07"
