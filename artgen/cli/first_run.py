"""Print the next step once, at the end of the first run with the demonstration model on a terminal."""

import sys

from artgen.cli.console import print_note
from artgen.errors import ArtgenError
from artgen.spec.settings import ReportSettings
from artgen.system.paths import user_state_folder
from artgen.system.terminal import is_terminal

MARKER = "first-run"
"""Name of the empty file in the state folder that exists after the next step was printed."""


def print_first_step(models: set[str], report: ReportSettings) -> None:
    """Print the next step if images of the demonstration model were saved for the first time on a terminal.

    The note is not printed in pipes, and if the state folder is read-only, so that it is never repeated.

    Args:
        models: recorded models of the saved images.
        report: what is printed.
    """
    if report.quiet or report.json or not models or not is_terminal(sys.stderr):
        return
    from artgen.jobs.next_step import next_step
    from artgen.registry import BUNDLED_MODEL

    if models != {BUNDLED_MODEL}:
        return
    try:
        marker = user_state_folder() / MARKER
        if marker.exists():
            return
        text = next_step()
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch(exist_ok=False)
    except (OSError, ArtgenError):
        return
    print_note(text)
