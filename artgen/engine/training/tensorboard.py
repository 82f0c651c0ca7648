"""TensorBoard, where it is installed."""

import importlib.util
from pathlib import Path
from typing import Any

from artgen.engine.training.loop import TrainStep


class TensorBoardLogger:
    """Writes losses and learning rate for TensorBoard into a folder; does nothing where it is not installed."""

    def __init__(self, folder: Path, start_step: int) -> None:
        self._writer: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            # What an earlier run wrote after the checkpoint is done again.
            self._writer = SummaryWriter(str(folder), purge_step=start_step + 1 if start_step else None)

    def log_step(self, train_step: TrainStep) -> None:
        """One more step."""
        if self._writer is not None:
            for name, value in {**train_step.losses, "learning rate": train_step.learning_rate}.items():
                self._writer.add_scalar(name, value, train_step.step)

    def close(self) -> None:
        """Writes what is still in memory."""
        if self._writer is not None:
            self._writer.close()
