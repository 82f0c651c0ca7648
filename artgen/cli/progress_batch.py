"""Show the progress of a batch on stderr in one line."""

import time
from typing import TYPE_CHECKING, Any

from artgen.cli.console import stderr_console
from artgen.cli.reporter import Reporter
from artgen.cli.status_line import status_line
from artgen.events import Decoding, Event, Loading, StepEvent, WaitingForServer
from artgen.system.counts import format_duration
from artgen.system.terminal import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class BatchReporter(Reporter):
    """Show completed images, images per minute, the remaining time and the current activity."""

    def __init__(self, quiet: bool, verbose: bool = False) -> None:
        super().__init__(quiet, verbose)
        self._total = 0
        self._done = 0
        self._batch_task_id: TaskID | None = None

    def __call__(self, event: Event) -> None:
        match event:
            case StepEvent(completed, steps, _, num_images, _, unit):
                self._note_progress(event)
                batch = f"{num_images} images, " if num_images > 1 else ""
                self._update_progress(f"{batch}{unit} {completed}/{steps}")
            case Loading(component):
                self._note_progress(event)
                self._update_progress(f"loading {component}")
            case Decoding():
                self._note_progress(event)
                self._update_progress("decoding")
            case WaitingForServer(position, is_loading):
                self._note_progress(event)
                ahead = f", {position} before" if position else ""
                self._update_progress("the server loads the model" if is_loading else f"waiting for the server{ahead}")
            case _:
                super().__call__(event)

    def start(self, total: int) -> None:
        self.close()  # downloads of the preparation
        self._total = total

    def advance(self) -> None:
        self._stop_if_requested()
        self._done += 1
        self._update_progress("")

    def _update_progress(self, activity: str) -> None:
        if self._quiet or not stderr_console().is_terminal:
            return
        if self._progress is None:
            self._progress = _create_progress_line()
            status_line.close()
            self._progress.start()
            self._batch_task_id = None
        if self._batch_task_id is None:
            self._batch_task_id = self._progress.add_task(
                "", total=self._total, completed=self._done, rate_baseline=self._rate_baseline()
            )
        self._progress.update(self._batch_task_id, completed=self._done, description=printable(activity))

    def _rate_baseline(self) -> tuple[float, int]:
        """Return the current time and number of images: the rate does not include the time to load a model."""
        return time.monotonic(), self._done


def _create_progress_line() -> "Progress":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Rate(ProgressColumn):
        """Show images per minute and the remaining time."""

        def render(self, task: Any) -> Text:
            start_time, start_count = task.fields["rate_baseline"]
            num_images, seconds = task.completed - start_count, time.monotonic() - start_time
            if num_images < 1 or seconds <= 0:
                return Text("")
            remaining = format_duration((task.total - task.completed) * seconds / num_images)
            return Text(f"{format_rate(num_images, seconds)}, {remaining} left")

    return Progress(
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        Rate(Column(no_wrap=True)),
        TextColumn("{task.description}", markup=False, style="dim"),
        console=stderr_console(),
        transient=True,
    )


def format_rate(num_images: float, seconds: float) -> str:
    """Return a rate such as `42 images/min`, or `9.5 images/h` below 10 images per minute."""
    per_minute = 60 * num_images / seconds
    number, unit = (f"{per_minute:.0f}", "min") if per_minute >= 10 else (f"{60 * per_minute:.3g}", "h")
    return f"{number} {'image' if number == '1' else 'images'}/{unit}"
