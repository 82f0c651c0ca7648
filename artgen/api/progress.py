"""Show the events of a call as a progress bar, and collect its notes."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from artgen.errors import UsageError
from artgen.events import Decoding, Downloading, Event, Listener, Loading, ModelSelected, Notice, StepEvent
from artgen.spec.python_text import python_text

logger = logging.getLogger("artgen")


@dataclass
class CallListener:
    """Receive the events of one call: collect and log its notes, update its progress bar, and forward all events.

    Attributes:
        notes: notes so far, each once.
    """

    listener: Listener | None = None
    notes: dict[str, None] = field(default_factory=dict)
    bar: "_ProgressBar | None" = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.add_note(event.text)
        elif isinstance(event, ModelSelected):
            logger.info("Using %s on %s in %s.", event.model, event.device, event.dtype)
        if self.bar is not None:
            self.bar.show(event)
        if self.listener is not None:
            self.listener(event)

    def add_note(self, text: str) -> None:
        """Log a note as a warning, and keep it for the result. A note that is repeated is logged once."""
        text = python_text(text)
        if text not in self.notes:
            self.notes[text] = None
            logger.warning("%s", text)


@contextlib.contextmanager
def call_listener(progress: bool | None, listener: Listener | None) -> Iterator[CallListener]:
    """Yield the listener of a call, and close its progress bar at the end.

    Args:
        progress: show a progress bar on stderr; None: only in a notebook.
        listener: function that also receives all events.

    Raises:
        UsageError: an argument has the wrong type.
    """
    if progress is not None and not isinstance(progress, bool):
        raise UsageError(f"progress must be True, False or None, not {progress!r}.")
    if listener is not None and not callable(listener):
        raise UsageError(f"listener must be a function, not {type(listener).__name__}.")
    bar = _ProgressBar() if (is_notebook() if progress is None else progress) else None
    try:
        yield CallListener(listener, bar=bar)
    finally:
        if bar is not None:
            bar.close()


def is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook. IPython in a terminal is not a notebook."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


class _ProgressBar:
    """Show the current activity as a bar of tqdm, which is a widget in a notebook."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._activity = ""

    def show(self, event: Event) -> None:
        match event:
            case Downloading(file, done, total):
                self._update(f"downloading {file}", done, total or None, "B")
            case Loading(component):
                self._update(f"loading {component}", 0, None, "")
            case StepEvent(done, steps, first, num_images, total, unit):
                last = first + num_images - 1
                numbers = f"{first}" if num_images == 1 else f"{first}-{last}"
                self._update(f"image {numbers} of {total}" if total > 1 else "generating", done, steps, unit)
            case Decoding():
                self._update("decoding", 0, None, "")
            case _:
                pass

    def _update(self, activity: str, done: int, total: int | None, unit: str) -> None:
        """Show an activity: with a unit as a bar, without a unit as a text."""
        if not unit and self._bar is not None:
            self._bar.set_description(activity)
            return
        if self._bar is None or activity != self._activity or done < self._bar.n:
            self.close()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # tqdm warns if a notebook has no widgets, and then shows a text
                from tqdm.auto import tqdm

            self._activity = activity
            look = {"unit": unit, "unit_scale": unit == "B"} if unit else {"bar_format": "{desc}"}
            self._bar = tqdm(total=total, desc=activity, leave=False, **look)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
