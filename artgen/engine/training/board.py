"""TensorBoard, where it is installed."""

import importlib.util
from pathlib import Path
from typing import Any

from artgen.engine.training.loop import Step


class Board:
    """Writes losses and learning rate for TensorBoard into a folder; does nothing where it is not installed."""

    def __init__(self, folder: Path, begun: int) -> None:
        self._writer: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            # What an earlier run wrote after the checkpoint is done again.
            self._writer = SummaryWriter(str(folder), purge_step=begun + 1 if begun else None)

    def add(self, step: Step) -> None:
        """One more step."""
        if self._writer is not None:
            for name, value in {**step.parts, "learning rate": step.rate}.items():
                self._writer.add_scalar(name, value, step.step)

    def close(self) -> None:
        """Writes what is still in memory."""
        if self._writer is not None:
            self._writer.close()
