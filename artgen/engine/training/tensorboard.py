"""Write losses to TensorBoard if it is installed."""

import importlib.util
from pathlib import Path
from typing import Any

from artgen.engine.training.loop import TrainStep


class TensorBoardLogger:
    """Write losses and the learning rate to a folder for TensorBoard; do nothing if TensorBoard is not installed."""

    def __init__(self, folder: Path, start_step: int) -> None:
        self._writer: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            # A resumed run repeats the steps after its checkpoint.
            self._writer = SummaryWriter(str(folder), purge_step=start_step + 1 if start_step else None)

    def log_step(self, train_step: TrainStep) -> None:
        """Write the values of one step."""
        if self._writer is not None:
            for name, value in {**train_step.losses, "learning rate": train_step.learning_rate}.items():
                self._writer.add_scalar(name, value, train_step.step)

    def close(self) -> None:
        """Write buffered values and close the files."""
        if self._writer is not None:
            self._writer.close()
