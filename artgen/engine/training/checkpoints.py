"""Save and restore checkpoints. A resumed training is bit-identical to an uninterrupted one.

Tensors are stored as safetensors, other values as JSON. A checkpoint is a folder that gets its final name after
all files are on the disk, so a folder with a final name is complete. Random states and the batch order are not stored:
they depend only on the seed and the step (`artgen.engine.training.batch_order`).
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from artgen.engine.loading.oom import first_line
from artgen.engine.training.ema import EMA
from artgen.errors import ArtgenError, InputFileError, OutputError
from artgen.jobs.training_layout import STATE_FILE, TrainingPaths, read_checkpoint_state
from artgen.registry.safetensors_header import read_header
from artgen.system.files import atomic_folder
from artgen.system.temporary import clean_stale

WEIGHTS_FILE, OPTIMIZER_FILE, EMA_FILE = "weights.safetensors", "optimiser.safetensors", "average.safetensors"


@dataclass(frozen=True)
class TrainState:
    """Store everything that training steps change.

    Attributes:
        parameters: trainable parameters by name.
        optimizer: optimizer of exactly these parameters, in this order.
        ema: moving average of the parameters; None if disabled.
        grad_scaler: gradient scaler of fp16 training; None for other precisions.
    """

    parameters: Mapping[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    ema: EMA | None = None
    grad_scaler: Any = None


def save_checkpoint(
    paths: TrainingPaths, train_state: TrainState, step: int, settings: Mapping[str, Any], max_checkpoints: int
) -> Path:
    """Write the checkpoint after `step` steps, then delete all but the newest `max_checkpoints` checkpoints.

    Raises:
        OutputError: the disk is full, or the folder cannot be written. Existing checkpoints are unchanged.
    """
    folder = paths.checkpoint_dir(step)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        clean_stale(folder.parent)
        with atomic_folder(folder, overwrite=True) as temporary:
            _write_files(temporary, train_state, step, settings)
    except (OSError, SafetensorError) as error:
        newest = paths.newest_checkpoint()
        hint = (
            f"Free disk space, then run the same command with --resume. It continues from '{newest.name}'."
            if newest
            else "Free disk space."
        )
        raise OutputError(f"Cannot write the checkpoint '{folder}': {_error_text(error)}.", hint) from error
    for old in sorted(paths.checkpoints_dir.glob("step-*"))[:-max_checkpoints]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def _write_files(folder: Path, train_state: TrainState, step: int, settings: Mapping[str, Any]) -> None:
    weights = {name: value.detach() for name, value in train_state.parameters.items()}
    files: dict[str, Mapping[str, Tensor]] = {WEIGHTS_FILE: weights, OPTIMIZER_FILE: _optimizer_state(train_state)}
    if train_state.ema is not None:
        files[EMA_FILE] = train_state.ema.shadow
    for name, tensors in files.items():
        save_file({key: value.cpu().contiguous() for key, value in tensors.items()}, folder / name)
    scaler = train_state.grad_scaler.state_dict() if train_state.grad_scaler is not None else None
    state = {"step": step, "settings": dict(settings), "scaler": scaler, "torch": str(torch.__version__)}
    (folder / STATE_FILE).write_text(json.dumps(state, indent=1), "utf-8")


def _optimizer_state(train_state: TrainState) -> dict[str, Tensor]:
    tensors = {}
    for name, parameter in train_state.parameters.items():
        for key, value in train_state.optimizer.state.get(parameter, {}).items():
            tensors[f"{name}|{key}"] = value if isinstance(value, Tensor) else torch.tensor(value)
    return tensors


def restore_checkpoint(folder: Path, train_state: TrainState) -> None:
    """Load a checkpoint into a training state.

    Raises:
        InputFileError: a file is missing, damaged or from a training with other parameters.
    """
    scaler = read_checkpoint_state(folder).get("scaler")
    names = (WEIGHTS_FILE, OPTIMIZER_FILE, *((EMA_FILE,) if train_state.ema is not None else ()))
    try:
        for name in names:
            if not (folder / name).is_file():  # a pipe would wait for data
                raise ValueError(f"'{name}' is missing or not a regular file")
            read_header(folder / name)
        weights, optimizer_state, *shadows = (load_file(folder / name) for name in names)
        with torch.no_grad():
            for name, parameter in train_state.parameters.items():
                parameter.copy_(weights[name])
                if train_state.ema is not None:
                    train_state.ema.shadow[name].copy_(shadows[0][name])
        for key, value in optimizer_state.items():
            name, _, field = key.rpartition("|")
            parameter = train_state.parameters[name]
            if value.dim() and value.shape != parameter.shape:
                raise ValueError(f"'{key}' of the optimizer has the shape {tuple(value.shape)}")
            # Adam stores its step counter on the CPU.
            train_state.optimizer.state[parameter][field] = value if field == "step" else value.to(parameter.device)
        if train_state.grad_scaler is not None and scaler:
            train_state.grad_scaler.load_state_dict(scaler)
    except (ArtgenError, OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputFileError(
            f"Cannot read the checkpoint '{folder}': {first_line(error).rstrip('.')}.",
            "Delete it; --resume then continues from the previous checkpoint.",
        ) from error


def _error_text(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
