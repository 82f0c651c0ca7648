"""Train a LoRA, all weights of a model, its autoencoder, or a new pixel-space model."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from artgen.api.arguments import api_function, take_group
from artgen.api.call import start_call
from artgen.api.keyword_types import TrainKeywords
from artgen.errors import UsageError
from artgen.events import StepEvent
from artgen.spec.python_values import path_text
from artgen.spec.settings import (
    MAX_SEED,
    CheckpointSettings,
    DatasetSettings,
    DeviceSettings,
    LoraTrainingSettings,
    LossSettings,
    ModelRef,
    OptimizerSettings,
)
from artgen.spec.value_checks import check_range

if TYPE_CHECKING:
    from artgen.jobs.training_plan import TrainingPlan


@dataclass(frozen=True)
class TrainingResult:
    """Describe a finished training.

    Attributes:
        path: the LoRA file, or the model folder.
        steps: number of completed steps.
        loss: mean loss of the newest steps; None if no step was necessary, and in other processes than the first.
        training_folder: folder with the checkpoints, `loss.csv`, sample images and the datasheet.
        settings: settings of the training, with defaults filled in.
        notes: notes about the data set and the settings, one sentence each.
    """

    path: Path
    steps: int
    loss: float | None
    training_folder: Path
    settings: Mapping[str, Any]
    notes: tuple[str, ...]


@api_function("train")
def train(folder: str | os.PathLike[str], **settings: Unpack[TrainKeywords]) -> TrainingResult:
    """Train a LoRA or a model on a folder of images.

    `mode` selects what is trained: a LoRA, all weights of a model, its autoencoder, or a new pixel-space model. Ctrl-C
    saves a checkpoint after the current step and raises KeyboardInterrupt; the same call with `resume=True` continues,
    bit-identical to an uninterrupted training. On several GPUs, run the script with `accelerate launch`.

    Args:
        folder: folder of images; see docs/training.md.

    Raises:
        DatasetError: Captions or metadata files are invalid; the attribute `errors` lists all of them.
        UsageError, InputFileError, ModelUnavailableError, RefusedError: A setting, an image or the model is invalid.
            Raised before the model is loaded.
        OutputError: The result exists already, or a file cannot be written.
        MemoryExhaustedError, NonFiniteError: The training failed.
    """
    with start_call("train", settings) as call:
        plan = _plan({**call.values, "folder": Path(path_text(folder, "folder", "photos"))}, call.listener)
        for text in plan.dataset.notes:
            call.listener.add_note(text)
        path, steps, loss = _run(plan, call.listener)
        return TrainingResult(path, steps, loss, plan.paths.training_dir, plan.settings_record(), call.notes)


def _plan(values: dict[str, Any], listener: Any) -> "TrainingPlan":
    from artgen.jobs import training_plan

    steps, output = values.pop("steps", None), values.pop("output", None)
    overwrite, seed = values.pop("overwrite", False), values.pop("seed", 0)
    check_range("seed", seed, 0, MAX_SEED)
    if steps is not None and "train_steps" in values:
        raise UsageError("Cannot use steps with train_steps: both set the same value.", "Remove steps.")
    if steps is not None:
        values["train_steps"] = steps
    settings = training_plan.TrainingSettings(
        take_group(DatasetSettings, values),
        take_group(LoraTrainingSettings, values),
        take_group(OptimizerSettings, values),
        take_group(LossSettings, values),
        take_group(CheckpointSettings, values),
        take_group(DeviceSettings, values),
        seed,
    )
    return training_plan.create_training_plan(
        settings,
        take_group(ModelRef, values),
        None if output is None else path_text(output, "output", "my-style.safetensors"),
        overwrite=overwrite,
        listener=listener,
    )


def _run(plan: "TrainingPlan", listener: Any) -> tuple[Path, int, float | None]:
    """Run a training. Return the path of the result, the number of steps and the loss."""
    from artgen.engine.lock import ENGINE_LOCK

    result: tuple[Path, int, float | None] = plan.paths.result, plan.num_steps, None
    with ENGINE_LOCK, _deferred_interrupt() as is_interrupted:
        from artgen.engine.training import run

        for event in run.train(plan, listener=listener, should_stop=is_interrupted):
            if isinstance(event, run.TrainStep):
                listener(StepEvent(event.step, plan.num_steps, 1, 1, 1))
            elif isinstance(event, run.Finished):
                result = event.path, event.steps, event.loss
    return result


@contextlib.contextmanager
def _deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether Ctrl-C was pressed. A second Ctrl-C raises KeyboardInterrupt at once.

    In other threads than the main thread, Python delivers no signals, and the function returns False.
    """
    requested = False

    def request_stop(*_: object) -> None:
        nonlocal requested
        if requested:
            raise KeyboardInterrupt
        requested = True

    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if threading.current_thread() is not threading.main_thread() or not is_default:
        yield lambda: False
        return
    signal.signal(signal.SIGINT, request_stop)
    try:
        yield lambda: requested
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
