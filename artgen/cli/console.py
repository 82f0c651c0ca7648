"""Print results to stdout, and everything else to stderr.

Text from a user, a file or a model passes `printable` before it is written, also to a pipe: one value is one line and
contains no escape sequences. JSON is not changed.

If the reader of a pipe closes it (`| head -1`), the rest of the output is discarded without a message. A command that
only prints exits as usual. A command that generates images stops before the next step, see `Reporter`.
"""

import contextlib
import json
import os
import sys
import weakref
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from artgen.cli.interrupts import DeferredSigint, OutputClosed
from artgen.cli.status_line import status_line
from artgen.cli.verbose import StageTimes
from artgen.errors import ArtgenError, OutputError
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
)
from artgen.system import process
from artgen.system.terminal import has_styles, is_terminal, printable, printable_message, printable_path

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

EXIT_SOME_FAILED = 7
"""Exit code if some of several images failed."""


EXIT_OUTPUT_CLOSED = 141
"""Exit code if the reader of stdout or stderr closed the pipe before all images were generated (128 + SIGPIPE)."""

_closed_streams: "weakref.WeakSet[TextIO]" = weakref.WeakSet()
"""Streams whose reader closed the pipe."""


def print_result(line: str) -> None:
    """Print one line of results to stdout, sanitized."""
    _write_stdout(printable(line) + "\n")


def print_path(path: Path) -> None:
    """Print a path to stdout: sanitized for a terminal; in a pipe or a file, undecodable bytes are kept."""
    _write_stdout((printable(str(path)) if is_terminal(sys.stdout) else printable_path(str(path))) + "\n")


def print_json(value: Any) -> None:
    """Print one line of JSON to stdout, in ASCII, which every terminal and encoding supports."""
    _write_stdout(json.dumps(value, ensure_ascii=True) + "\n")


def print_text(text: str) -> None:
    """Print text that artgen itself defines to stdout, unchanged."""
    _write_stdout(text + "\n")


def _write_stdout(text: str) -> None:
    with status_line.hidden(), _open_stdout() as stream:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            stream.buffer.write(_encode_for_stdout(text))
        stream.flush()  # an error during interpreter shutdown cannot be reported


@contextlib.contextmanager
def _open_stdout() -> Iterator[Any]:
    """Yield stdout, and convert its errors. If the reader closed the pipe, the output is discarded."""
    if sys.stdout is None:
        raise OutputError("Cannot write to standard output: it is closed.", "Run artgen with standard output open.")
    try:
        yield sys.stdout
    except OSError as error:
        _discard_stream(sys.stdout, error)
        if not isinstance(error, BrokenPipeError):
            raise OutputError(
                f"Cannot write to standard output: {error.strerror}.", "Check the target of the redirection."
            ) from error


def _encode_for_stdout(text: str) -> bytes:
    """Encode text that the encoding of stdout does not support: file names unchanged, other text with escapes."""
    try:
        if not is_terminal(sys.stdout):
            return os.fsencode(text)
    except UnicodeEncodeError:
        pass
    return text.encode(sys.stdout.encoding, "backslashreplace")


def discard_broken_streams() -> None:
    """Redirect a broken stdout or stderr to the null device. Python would otherwise report an error at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            _discard_stream(stream, error)


def _discard_stream(stream: TextIO, error: OSError) -> None:
    if isinstance(error, BrokenPipeError):
        _closed_streams.add(stream)
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def is_output_closed() -> bool:
    """Return whether the reader of stdout or stderr closed the pipe."""
    return any(stream in _closed_streams for stream in (sys.stdout, sys.stderr) if stream is not None)


def print_note(text: str, end: str = "\n") -> None:
    """Print one line to stderr. With another `end`, the caller continues the line."""
    try:
        _write_stderr(styled(sys.stderr, printable_message(text), dim=True), end)
    except OSError as error:  # the note cannot be reported elsewhere
        _discard_stream(sys.stderr, error)


def discard_note(text: str) -> None:
    """Ignore a note: the effect of `--quiet`."""


def note_unreadable_files() -> None:
    """Print a note for each file and model folder of the user that is ignored, because it cannot be read."""
    from artgen.spec import config

    for path in config.unreadable_files():
        print_note(f"Cannot read '{path}'. The file is ignored.")
    with contextlib.suppress(ArtgenError):  # A command that needs the configuration reports an invalid file.
        for folder in config.missing_model_folders():
            print_note(f"The folder '{folder}' of model_folders does not exist. It is ignored.")


def print_error(error: ArtgenError) -> None:
    """Print an error and its hint to stderr."""
    status_line.close()
    with contextlib.suppress(OSError):  # the exit code still reports the error
        _write_stderr(styled(sys.stderr, "error: ", fg="red", bold=True) + printable_message(error.message))
        if error.hint:
            _write_stderr(styled(sys.stderr, f"  {printable_message(error.hint)}", fg="cyan"))
    discard_broken_streams()


def _write_stderr(line: str, end: str = "\n") -> None:
    # Without rich, whose import would delay error messages. An active rich progress bar prints the line above itself.
    if sys.stderr is not None:
        with status_line.hidden():
            sys.stderr.write(line + end)
            sys.stderr.flush()


def styled(stream: TextIO, text: str, **style: Any) -> str:
    """Return the text with styles for a terminal. NO_COLOR and TERM=dumb disable styles."""
    return typer.style(text, **style) if has_styles(stream) else text


def shares_terminal() -> bool:
    """Return whether stdout and stderr are the same terminal: the user sees both as one text."""
    try:
        return is_terminal(sys.stdout) and os.path.samestat(
            os.fstat(sys.stdout.fileno()), os.fstat(sys.stderr.fileno())
        )
    except (OSError, ValueError, AttributeError):  # a stream is closed or is not a file
        return False


@cache
def stderr_console() -> "Console":
    """Return the console that shows progress on stderr, without escape sequences if styles are disabled."""
    from rich.console import Console

    class Stderr(Console):
        def on_broken_pipe(self) -> None:
            # rich would exit with code 1, which is reserved for bugs.
            discard_broken_streams()

    # With NO_COLOR, rich still writes bold text and cursor movements.
    plain = False if os.environ.get("NO_COLOR") else None
    return Stderr(stderr=True, highlight=False, soft_wrap=True, force_terminal=plain)


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
            case StepEvent(done, steps, first, num_images, total):
                numbers = f"{first}" if num_images == 1 else f"{first}-{first + num_images - 1}"
                activity = f"image {numbers} of {total}" if total > 1 else "generating"
                self._show_progress(activity, done, steps, "steps")
            case Preview(image) if self._progress is not None:
                from artgen.cli.progress_bars import show_preview

                show_preview(self._progress, image)
            case Decoding():
                self._show_progress("decoding", 0, None, "")
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
        if isinstance(event, StepEvent | Decoding | Downloading | WaitingForOthers):
            self._interrupts.set_exit_at_once(False)
        elif isinstance(event, Loading) and self.loading_seconds is None:
            self._interrupts.set_exit_at_once(True)

    def _stop_if_requested(self) -> None:
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
