"""Show images in the terminal (`--show`), and open them with the default program of the system (`--open`)."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from artgen.cli.console import print_note
from artgen.cli.status_line import status_line
from artgen.cli.stdout_image import is_stdout
from artgen.cli.user_defaults import is_typed
from artgen.errors import ArtgenError, UsageError
from artgen.spec.settings import DisplaySettings, FramesSettings, ReportSettings, ShowSettings
from artgen.system.terminal import has_styles, is_terminal

if TYPE_CHECKING:
    from PIL import Image

    from artgen.jobs.job import Job
    from artgen.system.terminal_images import TerminalSize


class Display:
    """Show and open the images of one command. A typed option that has no effect is reported once."""

    def __init__(self, display: ShowSettings, *, quiet: bool = False) -> None:
        """Store the options.

        Args:
            display: the options. `ReportSettings` also contain whether the command is quiet.
            quiet: ignore values of the environment and of configuration files, and print no notes.
        """
        self._quiet = quiet or (isinstance(display, ReportSettings) and display.quiet)
        self._shows = display.show and (not self._quiet or is_typed("show"))
        self._opens = isinstance(display, DisplaySettings) and display.open and (not self._quiet or is_typed("open"))

    @property
    def shows(self) -> bool:
        """Return whether images are shown in the terminal."""
        return self._shows

    def show_file(self, path: Path, *, reports_errors: bool = True) -> None:
        """Show an image file in the terminal, if requested.

        Args:
            path: the file.
            reports_errors: print a note if the file is not an image.
        """
        if not self._shows or not self._can_show():
            return
        if is_stdout(path):
            self._note_hidden("it is not a file")
            return
        from artgen.images import load_image

        try:
            self.show(load_image(path).image)
        except ArtgenError as error:
            if reports_errors:
                self._note_hidden(error.message.rstrip("."))

    def show(self, image: "Image.Image") -> None:
        """Show an image in the terminal, if requested: on stderr, so that stdout contains only paths."""
        from artgen.system.terminal_images import image_text

        self.show_text(lambda size: image_text(image, size, os.environ))

    def show_text(self, create_text: "Callable[[TerminalSize], str]") -> None:
        """Write text with images to the terminal, if requested: on stderr.

        Args:
            create_text: returns the text for a size of the terminal.
        """
        if not self._shows or not self._can_show():
            return
        from artgen.system.terminal_images import terminal_size

        text = create_text(terminal_size(sys.stderr))
        with status_line.hidden(), contextlib.suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()

    def _can_show(self) -> bool:
        if reason := _hidden_reason():
            self._shows = False
            self._note_hidden(reason)
        return self._shows

    def _note_hidden(self, reason: str) -> None:
        if is_typed("show") and not self._quiet:
            print_note(f"Cannot show the image in the terminal: {reason}.")

    def open(self, path: Path | None) -> None:
        """Open a file or a folder with the default program of the system, if requested. None: nothing was written."""
        if not self._opens:
            return
        reason = "it is not written to a file" if path is None or is_stdout(path) else open_path(path)
        if reason and is_typed("open") and not self._quiet:
            print_note(f"Cannot open the image: {reason}.")


def _hidden_reason() -> str:
    """Return why stderr cannot show images; empty if it can."""
    if not is_terminal(sys.stderr):
        return "stderr is not a terminal"
    if not has_styles(sys.stderr):
        return "NO_COLOR is set" if os.environ.get("NO_COLOR") else "TERM is dumb"
    if not _encodes_blocks(sys.stderr.encoding):
        return f"the encoding of the terminal is {sys.stderr.encoding}, not UTF-8"
    return ""


def _encodes_blocks(encoding: str | None) -> bool:
    try:
        "\N{UPPER HALF BLOCK}".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def has_previews(report: ReportSettings, jobs: "Sequence[Job]") -> bool:
    """Return whether `--preview` shows unfinished images. Print a note if it was typed and has no effect."""
    if not getattr(report, "preview", False) or (report.quiet and not is_typed("preview")):
        return False
    from artgen.jobs import checks
    from artgen.jobs.job import DenoiseJob

    reason = _hidden_reason()
    if not reason and isinstance(jobs[0], DenoiseJob):
        reason = "denoise has no previews"
    if not reason and getattr(jobs[0].request, "strength", None) == 0:
        reason = "with strength 0, no step runs"
    try:
        checks.check_frames(FramesSettings(), jobs[0])
    except UsageError as error:
        reason = reason or error.message.rstrip(".")
    if reason:
        note_unused_preview(report, reason)
    return not reason


def note_unused_preview(report: ReportSettings, reason: str) -> None:
    """Print a note if `--preview` was typed, but no preview is shown."""
    if getattr(report, "preview", False) and is_typed("preview") and not report.quiet:
        print_note(f"No preview is shown: {reason}.")


def open_path(path: Path) -> str:
    """Open a file or a folder with the default program of the system. Return why this is impossible, or an empty text.

    The program gets the path as one argument, without a shell; an absolute path cannot be read as an option. The
    program continues to run after artgen ends.
    """
    target = str(path.absolute())
    if sys.platform == "win32":
        os.startfile(target)
        return ""
    program = "open" if sys.platform == "darwin" else "xdg-open"
    if sys.platform != "darwin" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "a display was not found (DISPLAY and WAYLAND_DISPLAY are unset)"
    if (executable := shutil.which(program)) is None:
        return f"the program {program} is not installed"
    try:
        subprocess.Popen(
            [executable, target],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        return f"{program} cannot be started: {error.strerror}"
    return ""
