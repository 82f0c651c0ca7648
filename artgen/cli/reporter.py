"""Show the progress of one command on stderr: the loading line, progress bars, notes and previews."""

import sys
from typing import TYPE_CHECKING, Any

from artgen.cli.console import is_output_closed, print_note, stderr_console
from artgen.cli.interrupts import DeferredSigint, OutputClosed
from artgen.cli.status_line import status_line
from artgen.cli.verbose import StageTimes
from artgen.events import (
    CheckingImages,
    Decoding,
    Downloading,
    Event,
    Loading,
    ModelSelected,
    Notice,
    PlanNote,
    Preview,
    StepEvent,
    WaitingForOthers,
    WaitingForServer,
)
from artgen.system import attempt, process
from artgen.system.terminal import is_terminal, printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Reporter:
    """Show the events of the engine as progress on stderr. Use it as a context manager around the work.

    An event raises KeyboardInterrupt after Ctrl-C, and OutputClosed if the reader of the output closed the pipe. Before
    the first step, Ctrl-C ends the process at once.

    Attributes:
        loading_seconds: seconds from the start of the process to the end of the first step; None before.
    """

    def __init__(self, quiet: bool, verbose: bool = False) -> None:
        """Create a display.

        Args:
            quiet: show nothing.
            verbose: also print what is loaded, which choices were made, and the time of each stage.
        """
        self.loading_seconds: float | None = None
        self._quiet = quiet
        self._verbose = verbose
        self._progress: Progress | None = None
        self._task_id: TaskID | None = None
        self._announced_model: ModelSelected | None = None
        self._stage_times = StageTimes() if verbose and not quiet else None
        self._interrupts = DeferredSigint()

    def __enter__(self) -> "Reporter":
        self._interrupts.__enter__()
        self._interrupts.set_exit_at_once(True)
        if not self._quiet:
            if note := attempt.take_note():
                print_note(note)
            status_line.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()
        status_line.close()
        if self._stage_times is not None and (text := self._stage_times.note()):
            print_note(text)
        self._interrupts.__exit__(*error)

    def __call__(self, event: Event) -> None:
        self._note_progress(event)
        if self._quiet:
            return
        match event:
            case ModelSelected() if event != self._announced_model:
                self._announced_model = event
                self.close()
                print_note(_model_line(event))
            case Downloading(file, done, total):
                self._show_progress(f"downloading {file}", done, total or None, "bytes")
            case PlanNote(text):
                if self._verbose:
                    print_note(text)
            case Loading(component):
                if self._verbose:
                    print_note(f"Loading {component}.")
                self._show_progress(f"loading {component}", 0, None, "")
            case StepEvent(done, steps, first, num_images, total, unit):
                numbers = f"{first}" if num_images == 1 else f"{first}-{first + num_images - 1}"
                one_image = "generating" if unit == "step" else "upscaling"
                activity = f"image {numbers} of {total}" if total > 1 else one_image
                self._show_progress(activity, done, steps, f"{unit}s")
            case Preview(image) if self._progress is not None:
                from artgen.cli.progress_bars import show_preview

                show_preview(self._progress, image)
            case Decoding():
                self._show_progress("decoding", 0, None, "")
            case WaitingForServer(position, is_loading):
                ahead = f" ({position} before this)" if position else ""
                activity = "loading the model on the server" if is_loading else f"waiting for the server{ahead}"
                if self._progress is None or self._progress.tasks[0].description != activity:
                    self._show_progress(activity, 0, None, "")
            case CheckingImages(done, total):
                self._show_progress("checking images", done, total, "steps")
            case Notice(text):
                print_note(text)
            case _:
                pass

    def _note_progress(self, event: Event) -> None:
        """Stop if requested. From the first step on, results can be lost, so Ctrl-C no longer ends the process at once.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed, or the reader of the output closed the pipe.
        """
        self._stop_if_requested()
        if self._stage_times is not None:
            self._stage_times.on_event(event)
        if isinstance(event, StepEvent | Decoding) and self.loading_seconds is None:
            self.loading_seconds = process.elapsed_seconds()
        if isinstance(event, StepEvent | Decoding | Downloading | CheckingImages | WaitingForOthers | WaitingForServer):
            self._interrupts.set_exit_at_once(False)
        elif isinstance(event, Loading) and self.loading_seconds is None:
            self._interrupts.set_exit_at_once(True)

    def _stop_if_requested(self) -> None:
        process.stop_if_abandoned()
        self._interrupts.raise_if_interrupted()
        if is_output_closed():
            raise OutputClosed

    def start(self, total: int) -> None:
        """Set the number of images of a batch. The display of single images does not use it."""

    def advance(self) -> None:
        """Count one more completed or failed image of a batch."""

    def show_saving(self) -> None:
        """Show that an image is being written."""
        self._interrupts.set_exit_at_once(False)
        if self._stage_times is not None:
            self._stage_times.enter("save")
        if not self._quiet:
            self._show_progress("saving", 0, None, "")

    def _show_progress(self, activity: str, done: int, total: int | None, unit: str) -> None:
        if not is_terminal(sys.stderr) or not stderr_console().is_terminal:
            return
        if self._progress is None:
            from artgen.cli.progress_bars import create_progress_bars

            self._progress = create_progress_bars(stderr_console())
            status_line.close()
            self._progress.start()
            self._task_id = None
        description = printable(activity)
        bar = self._task_id
        if bar is None or self._progress.tasks[0].description != description or done == 0:
            if bar is not None:
                self._progress.remove_task(bar)
            bar = self._task_id = self._progress.add_task(description, total=total, unit=unit)
        self._progress.update(bar, completed=done, total=total)

    def close(self) -> None:
        """Remove the progress display. The next event shows it again."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _model_line(event: ModelSelected) -> str:
    from artgen.system import hardware

    device = event.device
    if device == "cpu":
        device = "the CPU" if hardware.cuda_device_count() else "the CPU (no CUDA device found)"
    return f"Using {event.model} on {device} in {event.dtype}."
