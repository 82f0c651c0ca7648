"""Show the progress of a training: a live table on a terminal, otherwise one line every 10 seconds."""

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from artgen.cli.console import print_note, stderr_console
from artgen.cli.reporter import Reporter
from artgen.events import Event
from artgen.system.counts import counted
from artgen.system.terminal import printable

if TYPE_CHECKING:
    from artgen.jobs.training_plan import TrainingPlan

LINE_INTERVAL_SECONDS = 10.0
"""Seconds between lines without a terminal."""

AVERAGE_WINDOW_STEPS = 50
"""Number of recent steps that losses and durations are averaged over."""


class TrainingProgressTable:
    """Show the events of a training. Use it as a context manager around the training."""

    def __init__(self, plan: "TrainingPlan", *, quiet: bool) -> None:
        self._plan, self._quiet = plan, quiet
        self._reporter = Reporter(quiet)
        self._recent_steps: deque[Any] = deque(maxlen=AVERAGE_WINDOW_STEPS)
        self._live: Any = None
        self._last_update = 0.0

    def __enter__(self) -> "TrainingProgressTable":
        return self

    def __exit__(self, *_: object) -> None:
        self._reporter.close()
        self._stop_live()

    def on_loading(self, event: Event) -> None:
        """Show a loading event before the first training step."""
        if self._live is None:
            self._reporter(event)

    def on_training_event(self, event: Any) -> None:
        """Show one training event."""
        from artgen.engine.training import run

        if self._quiet:
            return
        match event:
            case run.Started(start_step=start_step, num_parameters=num_parameters, num_processes=num_processes):
                self._reporter.close()
                processes = f" in {counted(num_processes, 'process', 'processes')}" if num_processes > 1 else ""
                resumed = f" The training resumes after step {start_step}." if start_step else ""
                print_note(f"{counted(num_parameters, 'trainable parameter')}{processes}.{resumed}")
            case run.TrainStep():
                self._show_step(event)
            case run.CheckpointSaved(step, path) if stderr_console().is_terminal is False:
                print_note(f"Step {step}: saved '{path}'.")
            case _:
                pass

    def _show_step(self, step: Any) -> None:
        self._recent_steps.append(step)
        now = time.monotonic()
        if stderr_console().is_terminal:
            if self._live is None:
                from rich.live import Live

                self._live = Live(console=stderr_console(), transient=False, auto_refresh=False)
                self._live.start()
            if now - self._last_update > 0.2 or step.step == self._plan.num_steps:
                self._last_update = now
                self._live.update(self._build_table(), refresh=True)
        elif now - self._last_update > LINE_INTERVAL_SECONDS or step.step == self._plan.num_steps:
            self._last_update = now
            print_note("  ".join(f"{name} {value}" for name, value in self._metrics()))

    def _metrics(self) -> list[tuple[str, str]]:
        last = self._recent_steps[-1]
        total = self._plan.num_steps
        seconds = sum(step.seconds for step in self._recent_steps) / len(self._recent_steps)
        means = {
            name: sum(step.losses[name] for step in self._recent_steps) / len(self._recent_steps)
            for name in last.losses
        }
        return [
            ("step", f"{last.step}/{total}"),
            *((name, f"{value:.4f}") for name, value in means.items()),
            ("learning rate", f"{last.learning_rate:.2e}"),
            ("samples/s", f"{last.num_images / max(seconds, 1e-9):.1f}"),
            ("left", _format_clock(seconds * (total - last.step))),
        ]

    def _build_table(self) -> Any:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE, title=printable(self._plan.paths.result.name), title_justify="left")
        for name, _ in self._metrics():
            table.add_column(name, justify="right")
        table.add_row(*(value for _, value in self._metrics()))
        return table

    def _stop_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def _format_clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
