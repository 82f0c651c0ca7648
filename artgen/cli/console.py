"""What is printed, and where: results on stdout, everything else on stderr.

Every string that a user, a file or a model could have written passes `printable` before a terminal sees it; JSON
stays exact.
"""

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TextIO

import typer

from artgen.cli.interrupts import DeferredSigint
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
    StepEvent,
)
from artgen.system.terminal import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

EXIT_SOME_FAILED = 7
"""The exit code when some of several pictures failed."""


def print_result(line: str) -> None:
    """One line of result on stdout, sanitised when a terminal reads it and exact when a program does."""
    _write_stdout((printable(line) if _is_terminal(sys.stdout) else line) + "\n")


def print_json(value: Any) -> None:
    """One line of JSON on stdout; ASCII, so that no terminal and no encoding can be hurt by it."""
    _write_stdout(json.dumps(value, ensure_ascii=True) + "\n")


def print_text(text: str) -> None:
    """Text of artgen's own on stdout, as it is."""
    _write_stdout(text + "\n")


def _write_stdout(text: str) -> None:
    # Flushed at once: what fails only when Python leaves can be answered no more.
    if sys.stdout is None:
        raise OutputError("There is no standard output to write to.", "Start artgen without closing it.")
    try:
        try:
            sys.stdout.write(text)
        except UnicodeEncodeError:
            sys.stdout.buffer.write(_encode_for_stdout(text))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_broken_streams()
        raise OutputError(
            f"Standard output cannot be written: {error.strerror}.", "Look where it is redirected to."
        ) from error


def _encode_for_stdout(text: str) -> bytes:
    """Text that stdout's encoding does not have: a file's name as it is, anything else as escapes."""
    try:
        if not _is_terminal(sys.stdout):
            return os.fsencode(text)
    except UnicodeEncodeError:
        pass
    return text.encode(sys.stdout.encoding, "backslashreplace")


def discard_broken_streams() -> None:
    """Sends what a failed stdout or stderr still holds nowhere: Python would complain of it on leaving."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def print_note(text: str) -> None:
    """A line on stderr."""
    try:
        _write_stderr(styled(sys.stderr, printable(text), dim=True))
    except BrokenPipeError:
        raise
    except OSError:
        pass  # a full disk, and nowhere to say so


def print_error(error: ArtgenError) -> None:
    """An error on stderr: what was wrong, and what to do."""
    with contextlib.suppress(OSError):  # the exit code still says it
        _write_stderr(styled(sys.stderr, "error: ", fg="red", bold=True) + printable(error.message))
        if error.hint:
            _write_stderr(styled(sys.stderr, f"  {printable(error.hint)}", fg="cyan"))
    discard_broken_streams()


def _write_stderr(line: str) -> None:
    # Not by rich, which a refusal would wait for; where its progress is shown, it sees to it that lines go above.
    if sys.stderr is not None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def styled(stream: TextIO, text: str, **style: Any) -> str:
    """The text in colour where a terminal shows it, unless NO_COLOR or TERM=dumb are set."""

    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not _is_terminal(stream)
    return text if plain else typer.style(text, **style)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


@cache
def stderr_console() -> "Console":
    """The console on stderr that shows progress. No escapes without a terminal, with NO_COLOR or TERM=dumb."""
    from rich.console import Console

    class Stderr(Console):
        def on_broken_pipe(self) -> None:
            # rich would leave with 1, which is for bugs.
            raise BrokenPipeError

    # rich takes NO_COLOR to leave bold and cursor movements in.
    plain = False if os.environ.get("NO_COLOR") else None
    return Stderr(stderr=True, highlight=False, soft_wrap=True, force_terminal=plain)


class Reporter:
    """Draws the engine's events as progress on stderr; a context manager around the work."""

    def __init__(self, quiet: bool, verbose: bool = False) -> None:
        self._quiet = quiet
        self._verbose = verbose
        self._progress: Progress | None = None
        self._task_id: TaskID | None = None
        self._announced_model: ModelSelected | None = None
        self._interrupts = DeferredSigint()

    def __enter__(self) -> "Reporter":
        self._interrupts.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()
        self._interrupts.__exit__(*error)

    def __call__(self, event: Event) -> None:
        self._interrupts.raise_if_interrupted()
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
                    print_note(f"loading {component}")
                self._show_progress(f"loading {component}", 0, None, "")
            case StepEvent(done, steps, first, pictures, total):
                which = f"{first}" if pictures == 1 else f"{first}-{first + pictures - 1}"
                self._show_progress(f"picture {which} of {total}" if total > 1 else "drawing", done, steps, "steps")
            case Decoding():
                self._show_progress("decoding", 0, None, "")
            case CheckingImages(done, total):
                self._show_progress("reading pictures", done, total, "steps")
            case Notice(text):
                print_note(text)
            case _:
                pass

    def show_saving(self) -> None:
        """Says that a picture is being written."""
        if not self._quiet:
            self._show_progress("saving", 0, None, "")

    def _show_progress(self, activity: str, done: int, total: int | None, unit: str) -> None:
        if not _is_terminal(sys.stderr) or not stderr_console().is_terminal:
            return
        if self._progress is None:
            self._progress = _create_progress_bars()
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
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _model_line(event: ModelSelected) -> str:
    from artgen.system import hardware

    device = event.device
    if device == "cpu":
        device = "the CPU" if hardware.cuda_device_count() else "the CPU (no CUDA device found)"
    return f"{event.model} on {device} in {event.dtype}"


def _create_progress_bars() -> "Progress":
    from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Steps or bytes done, and how many a second."""

        def render(self, task: Any) -> Text:
            if not task.total:
                return Text("")
            speed = task.finished_speed or task.speed  # None until the second step
            if task.fields["unit"] == "bytes":
                rate = f" {speed / 1e6:.1f} MB/s" if speed else ""
                return Text(f"{task.completed / 1e6:,.0f}/{task.total / 1e6:,.0f} MB{rate}")
            rate = f" {speed:.2f} it/s" if speed else ""
            return Text(f"{task.completed:.0f}/{task.total:.0f}{rate}")

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        Rate(),
        TimeRemainingColumn(),
        console=stderr_console(),
        transient=True,
    )


def summary_line(record: Mapping[str, Any]) -> str:
    """A record in one line, for `--dry-run`."""
    names = ("task", "prompt", "image", "method", "sigma", "seed", "steps", "guidance_scale", "scheduler")
    shown = (name for name in (*names, "width", "height", "model") if record.get(name) not in (None, ""))
    loras = [f"lora={text}" for text in record.get("lora") or ()]
    return "  ".join([*(f"{name}={record[name]}" for name in shown), *loras])
