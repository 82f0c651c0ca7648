"""Checkpoints from which a training goes on as if nothing had been: safetensors for numbers, JSON for the rest.

A checkpoint is a folder that gets its name when all of it is on the disk, so that one with that name is whole. Random
numbers and the order of the pictures need no place in it: they follow from the seed and the step
(`artgen.engine.training.batch_order`).
"""

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from artgen.engine.training.ema import EMA
from artgen.errors import InputFileError, OutputError
from artgen.jobs.training_layout import STATE_FILE, TrainingPaths

WEIGHTS_FILE, OPTIMIZER_FILE, EMA_FILE = "weights.safetensors", "optimiser.safetensors", "average.safetensors"


@dataclass(frozen=True)
class TrainState:
    """All that changes in a training.

    Attributes:
        parameters: those that learn, by name.
        optimizer: over exactly these, in this order.
        ema: None where none is kept.
        grad_scaler: of fp16's gradients, None elsewhere.
    """

    parameters: Mapping[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    ema: EMA | None = None
    grad_scaler: Any = None


def save_checkpoint(
    paths: TrainingPaths, train_state: TrainState, step: int, settings: Mapping[str, Any], max_checkpoints: int
) -> Path:
    """Writes the checkpoint after `step` steps, then removes all but the newest `max_checkpoints`.

    Raises:
        OutputError: the disk is full, or the folder cannot be written; the checkpoints that were there still are.
    """
    place = paths.checkpoint_dir(step)
    temporary = place.with_name(f".{place.name}")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        _write_files(temporary, train_state, step, settings)
        shutil.rmtree(place, ignore_errors=True)
        temporary.replace(place)
        _fsync(place.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        newest = paths.newest_checkpoint()
        left = f"The one before is whole: {newest.name}; make room and add --resume." if newest else "Make room."
        raise OutputError(f"The checkpoint '{place}' cannot be written: {_error_text(error)}.", left) from error
    for old in sorted(paths.checkpoints_dir.glob("step-*"))[:-max_checkpoints]:
        shutil.rmtree(old, ignore_errors=True)
    return place


def _write_files(folder: Path, train_state: TrainState, step: int, settings: Mapping[str, Any]) -> None:
    weights = {name: value.detach() for name, value in train_state.parameters.items()}
    files: dict[str, Mapping[str, Tensor]] = {WEIGHTS_FILE: weights, OPTIMIZER_FILE: _optimizer_state(train_state)}
    if train_state.ema is not None:
        files[EMA_FILE] = train_state.ema.shadow
    for name, tensors in files.items():
        save_file({key: value.cpu().contiguous() for key, value in tensors.items()}, folder / name)
        _fsync(folder / name)
    scaler = train_state.grad_scaler.state_dict() if train_state.grad_scaler is not None else None
    state = {"step": step, "settings": dict(settings), "scaler": scaler, "torch": str(torch.__version__)}
    (folder / STATE_FILE).write_text(json.dumps(state, indent=1), "utf-8")
    _fsync(folder / STATE_FILE)
    _fsync(folder)


def _optimizer_state(train_state: TrainState) -> dict[str, Tensor]:
    found = {}
    for name, parameter in train_state.parameters.items():
        for key, value in train_state.optimizer.state.get(parameter, {}).items():
            found[f"{name}|{key}"] = value if isinstance(value, Tensor) else torch.tensor(value)
    return found


def restore_checkpoint(folder: Path, train_state: TrainState) -> None:
    """Puts everything back as it was when `save` wrote it.

    Raises:
        InputFileError: a file is missing, damaged or of another training.
    """
    try:
        weights = load_file(folder / WEIGHTS_FILE)
        moments = load_file(folder / OPTIMIZER_FILE)
        averages = load_file(folder / EMA_FILE) if train_state.ema is not None else {}
        scaler = json.loads((folder / STATE_FILE).read_text("utf-8")).get("scaler")
        with torch.no_grad():
            for name, parameter in train_state.parameters.items():
                parameter.copy_(weights[name])
                if train_state.ema is not None:
                    train_state.ema.shadow[name].copy_(averages[name])
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise InputFileError(
            f"The checkpoint '{folder}' cannot be read: {error}.", "Remove it to go on from the one before."
        ) from error
    by_name = dict(train_state.parameters)
    for key, value in moments.items():
        name, _, kind = key.rpartition("|")
        state = train_state.optimizer.state[by_name[name]]
        # Adam keeps its count of steps on the CPU.
        state[kind] = value if kind == "step" else value.to(by_name[name].device)
    if train_state.grad_scaler is not None and scaler:
        train_state.grad_scaler.load_state_dict(scaler)


def _fsync(path: Path) -> None:
    """Makes a file, or a folder's names, survive a power cut; folders only where that can be done."""
    flags = os.O_RDONLY
    if path.is_dir():
        with contextlib.suppress(OSError):
            _open_and_fsync(path, flags)
    else:
        _open_and_fsync(path, flags)


def _open_and_fsync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _error_text(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
