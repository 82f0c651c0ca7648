"""Write the losses of a training to a CSV file, one line per step."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from artgen.errors import InputFileError
from artgen.jobs.training_layout import TrainingPaths
from artgen.system.external_data import read_optional
from artgen.system.files import wrap_write_errors, write_atomically

MAX_LOSS_CSV_BYTES = 1 << 28


@dataclass(frozen=True)
class LossRow:
    """Represent one line of the CSV file: the losses by name, the learning rate and the duration of a step."""

    step: int
    losses: Mapping[str, float]
    learning_rate: float
    seconds: float


class LossLog:
    """Append to `loss.csv`, one line per step.

    Args:
        paths: paths of the training.
        start_step: number of steps of the run that is resumed. Later lines are deleted, because their steps run again.

    Raises:
        InputFileError: the file of an earlier run cannot be read.
        OutputError: the file cannot be written.
    """

    def __init__(self, paths: TrainingPaths, start_step: int) -> None:
        self._paths = paths
        rows = [row for row in read_loss_csv(paths.loss_csv) if row.step <= start_step] if start_step else []
        self._needs_header = not rows
        with wrap_write_errors(paths.loss_csv):
            paths.training_dir.mkdir(parents=True, exist_ok=True)
        if start_step or paths.loss_csv.exists():
            write_atomically(paths.loss_csv, _to_csv(rows))

    def log_step(self, step: int, losses: Mapping[str, float], learning_rate: float, seconds: float) -> None:
        """Append the line of one step.

        Raises:
            OutputError: the line cannot be written.
        """
        row = LossRow(step, dict(losses), learning_rate, seconds)
        path, hint = self._paths.loss_csv, "Free disk space, then run the same command with --resume."
        with wrap_write_errors(path, hint), path.open("a", encoding="utf-8", newline="") as file:
            file.write(_to_csv([row], header=self._needs_header))
        self._needs_header = False


def read_loss_csv(path: Path) -> list[LossRow]:
    """Return the lines of a `loss.csv`, without lines that a crash truncated; empty if the file does not exist.

    Raises:
        InputFileError: the file cannot be read.
    """
    data = read_optional(path, MAX_LOSS_CSV_BYTES)
    if data is None and os.path.lexists(path):
        raise InputFileError(f"Cannot read '{path}'.", "Move it away.")
    try:
        lines = list(csv.DictReader(io.StringIO((data or b"").decode("utf-8", "replace"))))
    except csv.Error as error:
        raise InputFileError(f"Cannot read '{path}': {error}.", "Move it away.") from error
    rows = []
    for line in lines:
        try:
            values = {name: float(value) for name, value in line.items()}
            step, rate, seconds = int(values.pop("step")), values.pop("learning rate"), values.pop("seconds")
        except (TypeError, ValueError, KeyError, OverflowError):
            continue
        rows.append(LossRow(step, values, rate, seconds))
    names = list(rows[0].losses) if rows else []
    return [row for row in rows if list(row.losses) == names]


def _to_csv(rows: Sequence[LossRow], header: bool = True) -> str:
    if not rows:
        return ""
    names = list(rows[0].losses)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if header:
        writer.writerow(["step", *names, "learning rate", "seconds"])
    for row in rows:
        writer.writerow([row.step, *(f"{row.losses[name]:.6g}" for name in names), f"{row.learning_rate:.6g}",
                         f"{row.seconds:.3f}"])  # fmt: skip
    return out.getvalue()
