"""Write measurements as Markdown: one table per row, and the table of performance goals."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness import Measured, Row, median, ratio

COLUMNS = {
    "wall": ("wall s", 1.0),
    "cpu": ("CPU s", 1.0),
    "peak": ("peak MiB", 1.0),
    "step": ("s per step", 1.0),
    "step_cpu": ("CPU s per step", 1.0),
    "gpu": ("GPU peak MiB", 1.0),
    "limit": ("% of the peak matrix rate", 100.0),
    "planned": ("planned, CPU s", 1.0),
    "resumed": ("resumed, CPU s", 1.0),
    "first output": ("first output, s", 1.0),
    "longest pause": ("longest pause, s", 1.0),
    "silent": ("before the first output, %", 100.0),
    "cache": ("cache MiB", 1.0),
}
"""Column -> heading and factor."""

TIME_COLUMNS = frozenset({"wall", "cpu", "step", "step_cpu", "first output", "longest pause"})


@dataclass(frozen=True)
class Result:
    """Store the measurements of a row.

    Attributes:
        title, note, columns: same as in the row.
        samples, pixels: as in `harness.Measured`.
        date: date of the measurement.
        rounds: number of runs per variant.
        load: load average before and after the measurement; the latter includes the measured processes.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    samples: dict[str, dict[str, list[float]]]
    pixels: dict[str, str]
    date: str
    rounds: int
    load: tuple[float, float]

    @classmethod
    def from_measured(cls, row: Row, measured: Measured, date: str, load: tuple[float, float]) -> "Result":
        rounds = max(len(values) for columns in measured.samples.values() for values in columns.values())
        return cls(row.title, row.note, row.columns, measured.samples, measured.pixels, date, rounds, load)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Result":
        return cls(**{**data, "columns": tuple(data["columns"]), "load": tuple(data["load"])})

    def to_json(self) -> dict[str, Any]:
        rounded = {
            variant: {column: [float(f"{value:.5g}") for value in values] for column, values in columns.items()}
            for variant, columns in self.samples.items()
        }
        return {**asdict(self), "samples": rounded}

    def speedup(self, variant: str, column: str, reference: str | None = None) -> float:
        """Return the speedup of a variant relative to another variant; by default, to the first one."""
        return ratio(self.samples, variant, reference or next(iter(self.samples)), column)

    def table(self) -> str:
        """Return a Markdown table: median (minimum to maximum) of each column, and the speedup.

        The cell of a column that a variant does not measure is empty.
        """
        columns = [name for name in self.columns if any(name in values for values in self.samples.values())]
        headings = [""]
        for name in columns:
            headings += [COLUMNS[name][0], *(["x"] if name in TIME_COLUMNS and len(self.samples) > 1 else [])]
        headings += ["pixels"] if self.pixels else []
        load = f"load {self.load[0]:.1f} to {self.load[1]:.1f}"
        lines = [f"### {self.title}", "", f"{self.date}, {self.rounds} rounds, {load}. {self.note}".strip(), ""]
        lines += [_line(headings), _line(["---"] * len(headings))]
        for variant, values in self.samples.items():
            cells = [variant]
            for name in columns:
                cells.append(spread(values[name], COLUMNS[name][1]) if name in values else "")
                if name in TIME_COLUMNS and len(self.samples) > 1:
                    cells.append(f"{self.speedup(variant, name):.2f}")
            lines.append(_line(cells + ([self.pixels.get(variant, "")] if self.pixels else [])))
        return "\n".join(lines)


def spread(values: Sequence[float], factor: float = 1.0) -> str:
    """Return the median, with the minimum and the maximum if there are several values."""
    scaled = [value * factor for value in values]
    middle = three_digits(median(scaled))
    return f"{middle} ({three_digits(min(scaled))} to {three_digits(max(scaled))})" if len(scaled) > 1 else middle


def three_digits(value: float) -> str:
    """Return a number with three significant digits."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def goals_table(rows: Sequence[tuple[str, str, str]]) -> str:
    """Return the table of goals, measurements and verdicts."""
    return "\n".join([_line(["goal", "measured", ""]), _line(["---"] * 3), *(_line(row) for row in rows)])
