"""Check and report images that are written to standard output (`-o -`)."""

import sys
from pathlib import Path

from artgen.cli.console import print_note, print_path
from artgen.errors import OutputError, UsageError
from artgen.system.terminal import is_terminal

STDOUT = "-"


def print_saved_path(path: Path, frames: Path | None = None) -> None:
    """Print the path of an image and of its frames. If stdout contains the image (`-`), print to stderr."""
    if not is_stdout(path):
        print_path(path)
    if frames and is_stdout(path):
        print_note(str(frames))
    elif frames:
        print_path(frames)


def is_stdout(path: Path | str | None) -> bool:
    """Return whether an output is standard output."""
    return path is not None and str(path) in (STDOUT, "/dev/stdout")


def check_stdout_image(is_stdout: bool, *, json: bool, dry_run: bool = False) -> None:
    """Check that stdout can receive an image.

    Args:
        is_stdout: whether the image is written to stdout. Otherwise nothing is checked.
        json: whether stdout receives JSON.
        dry_run: nothing is written, so stdout may be a terminal.

    Raises:
        UsageError: stdout is a terminal or receives JSON.
        OutputError: stdout is closed.
    """
    if not is_stdout:
        return
    if sys.stdout is None:
        raise OutputError("Cannot write to standard output: it is closed.", "Run artgen with standard output open.")
    if json:
        raise UsageError("Cannot combine -o - with --json: standard output contains the image.", "Use -o fox.png.")
    if not dry_run and is_terminal(sys.stdout):
        raise UsageError(
            "Cannot write an image to a terminal.",
            "Redirect standard output: artgen ... -o - > fox.png",
        )
