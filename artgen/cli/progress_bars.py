"""Create the progress bars of single images and of downloads. Importing rich takes longer than many commands."""

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from artgen.cli.status_line import status_line
from artgen.system.counts import format_duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

MAX_PREVIEW_COLUMNS = 60
MAX_PREVIEW_ROWS = 20


def create_progress_bars(console: "Console") -> "Progress":
    """Return the progress bars of one image or file, which are removed when they stop."""
    from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.table import Column
    from rich.text import Text

    class Rate(ProgressColumn):
        """Show completed steps or bytes, and the number per second."""

        def render(self, task: Any) -> Text:
            if not task.total:
                return Text("")
            speed = task.finished_speed or task.speed  # None before the second step
            if task.fields["unit"] == "bytes":
                rate = f" {speed / 1e6:.1f} MB/s" if speed else ""
                return Text(f"{task.completed / 1e6:,.0f}/{task.total / 1e6:,.0f} MB{rate}")
            rate = f" {speed:.2f} it/s" if speed else ""
            tiles = " tiles" if task.fields["unit"] == "tiles" else ""
            return Text(f"{task.completed:.0f}/{task.total:.0f}{tiles}{rate}")

    class TimeLeft(TimeRemainingColumn):
        """Show the estimate of the progress bar, or the estimate for the command while a model is loaded."""

        def render(self, task: Any) -> Text:
            if task.total:
                return super().render(task)
            seconds = status_line.remaining_seconds
            return Text(f"about {format_duration(seconds)} left" if seconds else "")

    class Bars(Progress):
        """Show a preview of the image above the progress bars."""

        preview: Any = None

        def get_renderables(self) -> Iterator[Any]:
            if self.preview is not None:
                yield self.preview
            yield from super().get_renderables()

    return Bars(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        Rate(Column(no_wrap=True)),  # only the bar becomes narrower in a narrow terminal
        TimeLeft(table_column=Column(no_wrap=True)),
        console=console,
        transient=True,
    )


class _Lines:
    """Represent lines with escape sequences for rich. Parsed styles would take a large part of the time of a core."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines

    def __rich_console__(self, *_: Any) -> Iterator[Any]:
        from rich.segment import ControlType, Segment

        for line in self._lines:
            yield Segment(line, None, [(ControlType.HOME,)])  # a control segment is written unchanged
            yield Segment.line()


def show_preview(bars: Any, image: Any) -> None:
    """Show an image above the progress bars of `create_progress_bars`, as half blocks."""
    from artgen.system.terminal_images import RESERVED_ROWS, TerminalSize, half_blocks, has_true_color

    columns, rows = bars.console.size
    size = TerminalSize(min(columns, MAX_PREVIEW_COLUMNS), min(rows, MAX_PREVIEW_ROWS + RESERVED_ROWS))
    bars.preview = _Lines(half_blocks(image.convert("RGB"), size, true_color=has_true_color(os.environ)))
