"""What was measured as Markdown: a table a row, and the table of targets."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from measuring import Measured, Row, median, ratio

COLUMNS = {
    "wall": ("wall s", 1.0),
    "cpu": ("CPU s", 1.0),
    "peak": ("peak MiB", 1.0),
    "step": ("a step s", 1.0),
    "step_cpu": ("a step CPU s", 1.0),
    "gpu": ("GPU peak MiB", 1.0),
    "limit": ("% of the matrix limit", 100.0),
    "planned": ("planned, CPU s", 1.0),
    "resumed": ("looked up, CPU s", 1.0),
}
"""Column -> what it is called, and what its values are multiplied with."""

TIMES = frozenset({"wall", "cpu", "step", "step_cpu"})


@dataclass(frozen=True)
class Result:
    """A row as it was measured.

    Attributes:
        title, note, columns: the row's.
        samples, pixels: of `measuring.Measured`.
        date: of the day.
        rounds: how often each way ran.
        load: processes that wanted a core when it began and when it ended, besides what was measured as it ended.
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
    def of(cls, row: Row, measured: Measured, date: str, load: tuple[float, float]) -> "Result":
        rounds = max(len(values) for columns in measured.samples.values() for values in columns.values())
        return cls(row.title, row.note, row.columns, measured.samples, measured.pixels, date, rounds, load)

    @classmethod
    def read(cls, numbers: dict[str, Any]) -> "Result":
        return cls(**{**numbers, "columns": tuple(numbers["columns"]), "load": tuple(numbers["load"])})

    def numbers(self) -> dict[str, Any]:
        rounded = {
            way: {column: [float(f"{value:.5g}") for value in values] for column, values in columns.items()}
            for way, columns in self.samples.items()
        }
        return {**asdict(self), "samples": rounded}

    def times(self, way: str, column: str, over: str | None = None) -> float:
        """How many times less `way` takes than the first way, or than `over`."""
        return ratio(self.samples, way, over or next(iter(self.samples)), column)

    def table(self) -> str:
        """The row in Markdown: median (least to most) of each column, and how many times the first way takes it."""
        first = next(iter(self.samples))
        columns = [name for name in self.columns if name in self.samples[first]]
        heads = [""]
        for name in columns:
            heads += [COLUMNS[name][0], *(["x"] if name in TIMES and len(self.samples) > 1 else [])]
        heads += ["pixels"] if self.pixels else []
        lines = [f"### {self.title}", "", f"{self.date}, {self.rounds} rounds, load {self.load[0]:.1f} to "
                 f"{self.load[1]:.1f}. {self.note}".strip(), "", _line(heads), _line(["---"] * len(heads))]  # fmt: skip
        for way, values in self.samples.items():
            cells = [way]
            for name in columns:
                cells.append(spread(values[name], COLUMNS[name][1]))
                if name in TIMES and len(self.samples) > 1:
                    cells.append(f"{self.times(way, name):.2f}")
            lines.append(_line(cells + ([self.pixels.get(way, "")] if self.pixels else [])))
        return "\n".join(lines)


def spread(values: Sequence[float], factor: float = 1.0) -> str:
    """The median, and the least and the most where there are several."""
    scaled = [value * factor for value in values]
    middle = digits(median(scaled))
    return f"{middle} ({digits(min(scaled))} to {digits(max(scaled))})" if len(scaled) > 1 else middle


def digits(value: float) -> str:
    """Three digits that count."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def targets_table(rows: Sequence[tuple[str, str, str]]) -> str:
    """What is wanted, what was measured, and whether that is enough."""
    return "\n".join([_line(["target", "measured", ""]), _line(["---"] * 3), *(_line(row) for row in rows)])
