"""Checkpoints from which a training goes on as if nothing had been: safetensors for numbers, JSON for the rest.

A checkpoint is a folder that gets its name when all of it is on the disk, so that one with that name is whole. Random
numbers and the order of the pictures need no place in it: they follow from the seed and the step
(`artgen.engine.training.order`).
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

from artgen.engine.training.averages import Average
from artgen.errors import InputFileError, OutputError
from artgen.training.results import STATE, Layout

WEIGHTS, OPTIMISER, AVERAGE = "weights.safetensors", "optimiser.safetensors", "average.safetensors"


@dataclass(frozen=True)
class Learner:
    """All that changes in a training.

    Attributes:
        parameters: those that learn, by name.
        optimiser: over exactly these, in this order.
        average: None where none is kept.
        scaler: of fp16's gradients, None elsewhere.
    """

    parameters: Mapping[str, nn.Parameter]
    optimiser: torch.optim.Optimizer
    average: Average | None = None
    scaler: Any = None


def save(layout: Layout, learner: Learner, step: int, settings: Mapping[str, Any], keep: int) -> Path:
    """Writes the checkpoint after `step` steps, then removes all but the newest `keep`.

    Raises:
        OutputError: the disk is full, or the folder cannot be written; the checkpoints that were there still are.
    """
    place = layout.checkpoint(step)
    temporary = place.with_name(f".{place.name}")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        _write(temporary, learner, step, settings)
        shutil.rmtree(place, ignore_errors=True)
        temporary.replace(place)
        _flush(place.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        newest = layout.newest()
        left = f"The one before is whole: {newest.name}; make room and add --resume." if newest else "Make room."
        raise OutputError(f"The checkpoint '{place}' cannot be written: {_why(error)}.", left) from error
    for old in sorted(layout.checkpoints.glob("step-*"))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return place


def _write(folder: Path, learner: Learner, step: int, settings: Mapping[str, Any]) -> None:
    weights = {name: value.detach() for name, value in learner.parameters.items()}
    files: dict[str, Mapping[str, Tensor]] = {WEIGHTS: weights, OPTIMISER: _moments(learner)}
    if learner.average is not None:
        files[AVERAGE] = learner.average.shadow
    for name, tensors in files.items():
        save_file({key: value.cpu().contiguous() for key, value in tensors.items()}, folder / name)
        _flush(folder / name)
    scaler = learner.scaler.state_dict() if learner.scaler is not None else None
    state = {"step": step, "settings": dict(settings), "scaler": scaler, "torch": str(torch.__version__)}
    (folder / STATE).write_text(json.dumps(state, indent=1), "utf-8")
    _flush(folder / STATE)
    _flush(folder)


def _moments(learner: Learner) -> dict[str, Tensor]:
    found = {}
    for name, parameter in learner.parameters.items():
        for key, value in learner.optimiser.state.get(parameter, {}).items():
            found[f"{name}|{key}"] = value if isinstance(value, Tensor) else torch.tensor(value)
    return found


def restore(folder: Path, learner: Learner) -> None:
    """Puts everything back as it was when `save` wrote it.

    Raises:
        InputFileError: a file is missing, damaged or of another training.
    """
    try:
        weights = load_file(folder / WEIGHTS)
        moments = load_file(folder / OPTIMISER)
        averages = load_file(folder / AVERAGE) if learner.average is not None else {}
        scaler = json.loads((folder / STATE).read_text("utf-8")).get("scaler")
        with torch.no_grad():
            for name, parameter in learner.parameters.items():
                parameter.copy_(weights[name])
                if learner.average is not None:
                    learner.average.shadow[name].copy_(averages[name])
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise InputFileError(
            f"The checkpoint '{folder}' cannot be read: {error}.", "Remove it to go on from the one before."
        ) from error
    by_name = dict(learner.parameters)
    for key, value in moments.items():
        name, _, kind = key.rpartition("|")
        state = learner.optimiser.state[by_name[name]]
        # Adam keeps its count of steps on the CPU.
        state[kind] = value if kind == "step" else value.to(by_name[name].device)
    if learner.scaler is not None and scaler:
        learner.scaler.load_state_dict(scaler)


def _flush(path: Path) -> None:
    """Makes a file, or a folder's names, survive a power cut; folders only where that can be done."""
    flags = os.O_RDONLY
    if path.is_dir():
        with contextlib.suppress(OSError):
            _sync(path, flags)
    else:
        _sync(path, flags)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
