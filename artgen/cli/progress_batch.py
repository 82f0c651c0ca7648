"""Progress of a batch on stderr: one line for all of it."""

import time
from typing import TYPE_CHECKING, Any

from artgen.cli.console import Reporter, stderr_console
from artgen.events import Decoding, Event, Loading, StepEvent
from artgen.system.terminal import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class BatchReporter(Reporter):
    """Pictures done of how many, how many a minute, the time left, and what is going on."""

    def __init__(self, total: int, quiet: bool, verbose: bool = False) -> None:
        super().__init__(quiet, verbose)
        self._total = total
        self._done = 0
        self._batch_task_id: TaskID | None = None

    def __enter__(self) -> "BatchReporter":
        super().__enter__()
        return self

    def __call__(self, event: Event) -> None:
        match event:
            case StepEvent(done, steps, _, pictures, _):
                self._interrupts.raise_if_interrupted()
                together = f"{pictures} at a time, " if pictures > 1 else ""
                self._update_progress(f"{together}step {done}/{steps}")
            case Loading(component):
                self._interrupts.raise_if_interrupted()
                self._update_progress(f"loading {component}")
            case Decoding():
                self._interrupts.raise_if_interrupted()
                self._update_progress("decoding")
            case _:
                super().__call__(event)

    def advance(self) -> None:
        """One more picture is done, or failed."""
        self._done += 1
        self._update_progress("")

    def _update_progress(self, activity: str) -> None:
        if self._quiet or not stderr_console().is_terminal:
            return
        if self._progress is None:
            self._progress = _create_progress_line()
            self._progress.start()
            self._batch_task_id = None
        if self._batch_task_id is None:
            self._batch_task_id = self._progress.add_task(
                "", total=self._total, completed=self._done, begun=self._rate_baseline()
            )
        self._progress.update(self._batch_task_id, completed=self._done, description=printable(activity))

    def _rate_baseline(self) -> tuple[float, int]:
        """When counting began, and with how many: the first pictures wait for a model to load."""
        return time.monotonic(), self._done


def _create_progress_line() -> "Progress":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Pictures a minute and the time left."""

        def render(self, task: Any) -> Text:
            begun, before = task.fields["begun"]
            drawn, seconds = task.completed - before, time.monotonic() - begun
            if drawn < 1 or seconds <= 0:
                return Text("")
            return Text(
                f"{format_rate(drawn, seconds)}, {format_duration((task.total - task.completed) * seconds / drawn)} left"
            )

    return Progress(
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        Rate(),
        TextColumn("{task.description}", markup=False, style="dim"),
        console=stderr_console(),
        transient=True,
    )


def format_rate(num_images: float, seconds: float) -> str:
    """`42 pictures/min`, or `9.5 pictures/h` when they are slow."""
    a_minute = 60 * num_images / seconds
    return f"{a_minute:.0f} pictures/min" if a_minute >= 10 else f"{60 * a_minute:.3g} pictures/h"


def format_duration(seconds: float) -> str:
    """`45 s`, `3:07 min` or `2:15 h`."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 6000:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"
