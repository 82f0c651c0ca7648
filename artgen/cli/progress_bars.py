"""Create the progress bars of single images and of downloads. Importing rich takes longer than many commands."""

from typing import TYPE_CHECKING, Any

from artgen.cli.status_line import status_line
from artgen.system.counts import format_duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


def create_progress_bars(console: "Console") -> "Progress":
    """Return the progress bars of one image or file, which are removed when they stop."""
    from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
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
            return Text(f"{task.completed:.0f}/{task.total:.0f}{rate}")

    class TimeLeft(TimeRemainingColumn):
        """Show the estimate of the progress bar, or the estimate for the command while a model is loaded."""

        def render(self, task: Any) -> Text:
            if task.total:
                return super().render(task)
            seconds = status_line.remaining_seconds
            return Text(f"about {format_duration(seconds)} left" if seconds else "")

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        Rate(),
        TimeLeft(),
        console=console,
        transient=True,
    )
