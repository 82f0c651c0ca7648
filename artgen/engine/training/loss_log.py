"""The losses of a training: a line for each step, and the lines as a picture."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from artgen.errors import OutputError
from artgen.jobs.training_layout import TrainingPaths
from artgen.outputs import atomic_replace, encode_without_metadata

PLOT_WIDTH_PX, PLOT_HEIGHT_PX, PLOT_MARGIN_PX = 960, 360, 56
_BACKGROUND_COLOR, _TEXT_COLOR, _GRID_COLOR = (255, 255, 255), (32, 32, 36), (226, 226, 230)
_VALUES_COLOR, _MEAN_COLOR = (178, 200, 235), (31, 90, 180)


@dataclass(frozen=True)
class LossRow:
    """One step: its losses by name, learning rate and seconds."""

    step: int
    losses: Mapping[str, float]
    learning_rate: float
    seconds: float


class LossLog:
    """Writes `loss.csv` line by line, and draws `loss.png` when asked.

    Args:
        paths: where.
        start_step: steps that an earlier run did; later lines of it are dropped, as those steps are done again.
    """

    def __init__(self, paths: TrainingPaths, start_step: int) -> None:
        self._paths = paths
        self._rows = [row for row in read_loss_csv(paths.loss_csv) if row.step <= start_step] if start_step else []
        try:
            paths.training_dir.mkdir(parents=True, exist_ok=True)
            if start_step or paths.loss_csv.exists():
                atomic_replace(paths.loss_csv, _to_csv(self._rows).encode())
        except OSError as error:
            raise OutputError(f"'{paths.loss_csv}' cannot be written: {error.strerror}.", "Make room.") from error

    def log_step(self, step: int, losses: Mapping[str, float], learning_rate: float, seconds: float) -> None:
        """One more step.

        Raises:
            OutputError: the line cannot be written.
        """
        row = LossRow(step, dict(losses), learning_rate, seconds)
        first = not self._rows
        self._rows.append(row)
        try:
            with self._paths.loss_csv.open("a", encoding="utf-8", newline="") as file:
                file.write(_to_csv([row], header=first))
        except OSError as error:
            raise OutputError(
                f"'{self._paths.loss_csv}' cannot be written: {error.strerror}.", "Make room, and add --resume."
            ) from error

    def save_plot(self) -> None:
        """Draws all lines so far.

        Raises:
            OutputError: the picture cannot be written.
        """
        try:
            atomic_replace(self._paths.loss_png, encode_without_metadata(plot(self._rows), "png"))
        except OSError as error:
            raise OutputError(
                f"'{self._paths.loss_png}' cannot be written: {error.strerror}.", "Make room, and add --resume."
            ) from error


def read_loss_csv(path: Path) -> list[LossRow]:
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
        rows.append(LossRow(step, values, rate, seconds))
    return rows


def _to_csv(rows: Sequence[LossRow], header: bool = True) -> str:
    if not rows:
        return ""
    names = list(rows[0].losses)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if header:
        writer.writerow(["step", *names, "learning rate", "seconds"])
    for row in rows:
        writer.writerow([row.step, *(f"{row.losses[name]:.6g}" for name in names), f"{row.learning_rate:.6g}",
                         f"{row.seconds:.3f}"])  # fmt: skip
    return out.getvalue()


def plot(rows: Sequence[LossRow]) -> Image.Image:
    """Each part of the loss over the steps, mode RGB: every value faint, their moving mean strong."""
    names = list(rows[0].losses) if rows else []
    page = Image.new("RGB", (PLOT_WIDTH_PX, max(1, len(names)) * PLOT_HEIGHT_PX), _BACKGROUND_COLOR)
    pen = ImageDraw.Draw(page)
    for number, name in enumerate(names):
        _plot_panel(pen, number * PLOT_HEIGHT_PX, name, [row.step for row in rows], [row.losses[name] for row in rows])
    return page


def _plot_panel(draw: ImageDraw.ImageDraw, top: int, name: str, steps: Sequence[int], values: Sequence[float]) -> None:
    font = ImageFont.load_default(14)
    means = _moving_means(values, max(1, len(values) // 25))
    ordered = sorted(values)
    # A few outliers would flatten everything else.
    low, high = min(0.0, ordered[0]), max(ordered[int(0.98 * (len(ordered) - 1))], max(means)) or 1.0
    left, right, bottom, ceiling = PLOT_MARGIN_PX, PLOT_WIDTH_PX - 16, top + PLOT_HEIGHT_PX - 32, top + 36

    def at(step: float, value: float) -> tuple[float, float]:
        across = (step - steps[0]) / max(1, steps[-1] - steps[0])
        up = min(1.0, (value - low) / (high - low))
        return left + across * (right - left), bottom - up * (bottom - ceiling)

    draw.text((left, top + 8), f"{name}: {means[-1]:.4g}", fill=_TEXT_COLOR, font=font)
    for part in range(5):
        value = low + (high - low) * part / 4
        height = at(steps[0], value)[1]
        draw.line((left, height, right, height), fill=_GRID_COLOR)
        draw.text((4, height - 8), f"{value:.3g}", fill=_TEXT_COLOR, font=font)
        step = steps[0] + (steps[-1] - steps[0]) * part / 4
        draw.text((at(step, low)[0] - 12, bottom + 8), f"{step:.0f}", fill=_TEXT_COLOR, font=font)
    for series, colour, width in ((values, _VALUES_COLOR, 1), (means, _MEAN_COLOR, 2)):
        points = [at(step, value) for step, value in zip(steps, series, strict=True)]
        for one, other in pairwise(points):
            draw.line((*one, *other), fill=colour, width=width)


def _moving_means(values: Sequence[float], window: int) -> list[float]:
    found, total = [], 0.0
    for number, value in enumerate(values):
        total += value - (values[number - window] if number >= window else 0.0)
        found.append(total / min(number + 1, window))
    return found
