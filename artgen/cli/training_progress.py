"""How a training is shown: a live table on a terminal, a line now and then elsewhere."""

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from artgen.cli.reporting import Reporter, console, note
from artgen.events import Event
from artgen.terminal import printable

if TYPE_CHECKING:
    from artgen.training.plans import Plan

LINE_EVERY = 10.0
"""Seconds between lines where there is no terminal."""

WINDOW = 50
"""Steps that figures are the mean of."""


class Table:
    """Shows what a training yields; a context manager around it."""

    def __init__(self, plan: "Plan", *, quiet: bool) -> None:
        self._plan, self._quiet = plan, quiet
        self._reporter = Reporter(quiet)
        self._recent: deque[Any] = deque(maxlen=WINDOW)
        self._live: Any = None
        self._said = 0.0

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_: object) -> None:
        self._reporter.close()
        self._close()

    def listen(self, event: Event) -> None:
        """Hears of loading."""
        if self._live is None:
            self._reporter(event)

    def show(self, happening: Any) -> None:
        """Shows one thing that happened."""
        from artgen.engine.training import run

        if self._quiet:
            return
        match happening:
            case run.Begun(done=done, parameters=parameters, processes=processes):
                self._reporter.close()
                many = f" in {processes} processes" if processes > 1 else ""
                went = f", going on after step {done}" if done else ""
                note(f"{parameters:,} numbers learn{many}{went}")
            case run.Step():
                self._step(happening)
            case run.Saved(step, path) if console().is_terminal is False:
                note(f"step {step}: saved {path}")
            case _:
                pass

    def _step(self, step: Any) -> None:
        self._recent.append(step)
        now = time.monotonic()
        if console().is_terminal:
            if self._live is None:
                from rich.live import Live

                self._live = Live(console=console(), transient=False, auto_refresh=False)
                self._live.start()
            if now - self._said > 0.2 or step.step == self._plan.settings.optimisation.train_steps:
                self._said = now
                self._live.update(self._table(), refresh=True)
        elif now - self._said > LINE_EVERY or step.step == self._plan.settings.optimisation.train_steps:
            self._said = now
            note("  ".join(f"{name} {value}" for name, value in self._figures()))

    def _figures(self) -> list[tuple[str, str]]:
        last = self._recent[-1]
        total = self._plan.settings.optimisation.train_steps
        seconds = sum(step.seconds for step in self._recent) / len(self._recent)
        means = {name: sum(step.parts[name] for step in self._recent) / len(self._recent) for name in last.parts}
        return [
            ("step", f"{last.step}/{total}"),
            *((name, f"{value:.4f}") for name, value in means.items()),
            ("learning rate", f"{last.rate:.2e}"),
            ("samples/s", f"{last.pictures / max(seconds, 1e-9):.1f}"),
            ("left", _clock(seconds * (total - last.step))),
        ]

    def _table(self) -> Any:
        from rich import box
        from rich.table import Table as Rich

        table = Rich(box=box.SIMPLE, title=printable(self._plan.layout.result.name), title_justify="left")
        for name, _ in self._figures():
            table.add_column(name, justify="right")
        table.add_row(*(value for _, value in self._figures()))
        return table

    def _close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
