"""Measure the time of a generation without loading the model."""

import time

from artgen.events import Event, Listener, Loading, StepEvent


class GenerationTimer:
    """Measure the generation time without model loading, and forward events to a listener."""

    def __init__(self, listener: Listener) -> None:
        """Start the timer.

        Args:
            listener: receives all events.
        """
        self._listener = listener
        self._is_loading = False
        self.restart()

    def __call__(self, event: Event) -> None:
        """Forward an event. The first step after a model was loaded restarts the timer."""
        if isinstance(event, Loading):
            self._is_loading = True
        elif isinstance(event, StepEvent) and self._is_loading:
            self.restart()
            self._is_loading = False
        self._listener(event)

    def restart(self) -> None:
        """Set the elapsed time to 0."""
        self._start_time = time.monotonic()

    @property
    def elapsed_seconds(self) -> float:
        """Return the seconds since the start, or since the first step after a model was loaded."""
        return time.monotonic() - self._start_time
