"""The losses of a training: a line for each step, and the lines as a picture."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from artgen.errors import OutputError
from artgen.outputs import encode_plain, write_over
from artgen.training.results import Layout

WIDTH, HEIGHT, MARGIN = 960, 360, 56
_PAPER, _INK, _GRID = (255, 255, 255), (32, 32, 36), (226, 226, 230)
_FAINT, _LINE = (178, 200, 235), (31, 90, 180)


@dataclass(frozen=True)
class Row:
    """One step: its losses by name, learning rate and seconds."""

    step: int
    parts: Mapping[str, float]
    rate: float
    seconds: float


class Curves:
    """Writes `loss.csv` line by line, and draws `loss.png` when asked.

    Args:
        layout: where.
        begun: steps that an earlier run did; later lines of it are dropped, as those steps are done again.
    """

    def __init__(self, layout: Layout, begun: int) -> None:
        self._layout = layout
        self._rows = [row for row in read(layout.losses) if row.step <= begun] if begun else []
        try:
            layout.folder.mkdir(parents=True, exist_ok=True)
            if begun or layout.losses.exists():
                write_over(layout.losses, _text(self._rows).encode())
        except OSError as error:
            raise OutputError(f"'{layout.losses}' cannot be written: {error.strerror}.", "Make room.") from error

    def add(self, step: int, parts: Mapping[str, float], rate: float, seconds: float) -> None:
        """One more step.

        Raises:
            OutputError: the line cannot be written.
        """
        row = Row(step, dict(parts), rate, seconds)
        first = not self._rows
        self._rows.append(row)
        try:
            with self._layout.losses.open("a", encoding="utf-8", newline="") as file:
                file.write(_text([row], head=first))
        except OSError as error:
            raise OutputError(
                f"'{self._layout.losses}' cannot be written: {error.strerror}.", "Make room, and add --resume."
            ) from error

    def draw(self) -> None:
        """Draws all lines so far.

        Raises:
            OutputError: the picture cannot be written.
        """
        try:
            write_over(self._layout.curve, encode_plain(picture(self._rows), "png"))
        except OSError as error:
            raise OutputError(
                f"'{self._layout.curve}' cannot be written: {error.strerror}.", "Make room, and add --resume."
            ) from error


def read(path: Path) -> list[Row]:
    """The lines of a `loss.csv`; none where there is no such file, and none that a crash cut short."""
    try:
        lines = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
    except FileNotFoundError:
        return []
    rows = []
    for line in lines:
        try:
            values = {name: float(value) for name, value in line.items()}
            step, rate, seconds = int(values.pop("step")), values.pop("learning rate"), values.pop("seconds")
        except (TypeError, ValueError, KeyError):
            continue
        rows.append(Row(step, values, rate, seconds))
    return rows


def _text(rows: Sequence[Row], head: bool = True) -> str:
    if not rows:
        return ""
    names = list(rows[0].parts)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if head:
        writer.writerow(["step", *names, "learning rate", "seconds"])
    for row in rows:
        writer.writerow([row.step, *(f"{row.parts[name]:.6g}" for name in names), f"{row.rate:.6g}",
                         f"{row.seconds:.3f}"])  # fmt: skip
    return out.getvalue()


def picture(rows: Sequence[Row]) -> Image.Image:
    """Each part of the loss over the steps, mode RGB: every value faint, their moving mean strong."""
    names = list(rows[0].parts) if rows else []
    page = Image.new("RGB", (WIDTH, max(1, len(names)) * HEIGHT), _PAPER)
    pen = ImageDraw.Draw(page)
    for number, name in enumerate(names):
        _plot(pen, number * HEIGHT, name, [row.step for row in rows], [row.parts[name] for row in rows])
    return page


def _plot(pen: ImageDraw.ImageDraw, top: int, name: str, steps: Sequence[int], values: Sequence[float]) -> None:
    font = ImageFont.load_default(14)
    means = _means(values, max(1, len(values) // 25))
    ordered = sorted(values)
    # A few outliers would flatten everything else.
    low, high = min(0.0, ordered[0]), max(ordered[int(0.98 * (len(ordered) - 1))], max(means)) or 1.0
    left, right, bottom, ceiling = MARGIN, WIDTH - 16, top + HEIGHT - 32, top + 36

    def at(step: float, value: float) -> tuple[float, float]:
        across = (step - steps[0]) / max(1, steps[-1] - steps[0])
        up = min(1.0, (value - low) / (high - low))
        return left + across * (right - left), bottom - up * (bottom - ceiling)

    pen.text((left, top + 8), f"{name}: {means[-1]:.4g}", fill=_INK, font=font)
    for part in range(5):
        value = low + (high - low) * part / 4
        height = at(steps[0], value)[1]
        pen.line((left, height, right, height), fill=_GRID)
        pen.text((4, height - 8), f"{value:.3g}", fill=_INK, font=font)
        step = steps[0] + (steps[-1] - steps[0]) * part / 4
        pen.text((at(step, low)[0] - 12, bottom + 8), f"{step:.0f}", fill=_INK, font=font)
    for series, colour, width in ((values, _FAINT, 1), (means, _LINE, 2)):
        points = [at(step, value) for step, value in zip(steps, series, strict=True)]
        for one, other in pairwise(points):
            pen.line((*one, *other), fill=colour, width=width)


def _means(values: Sequence[float], window: int) -> list[float]:
    found, total = [], 0.0
    for number, value in enumerate(values):
        total += value - (values[number - window] if number >= window else 0.0)
        found.append(total / min(number + 1, window))
    return found
