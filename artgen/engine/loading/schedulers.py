"""Scheduler names -> diffusers objects, made afresh for each job.

Afresh, because some change their own configuration when used (`DPMSolverSinglestepScheduler`), and always from the
model's own configuration, because the noise schedule and what the network predicts belong to the model.
"""

import functools
import importlib.util
from typing import Any

import diffusers
import torch

from artgen.errors import UsageError
from artgen.spec.schedulers import find_scheduler

CPU_TIMESTEP_SCHEDULERS = frozenset({"PNDMScheduler", "DDIMScheduler"})
"""Those that only look their numbers up by the timestep. Some others (LCM) compute with it on the device as well, and
would round otherwise in main memory."""

SIGMA_FLAGS = {"karras": "use_karras_sigmas", "exponential": "use_exponential_sigmas", "beta": "use_beta_sigmas"}


def build_scheduler(model_scheduler: Any, name: str | None, sigmas: str | None) -> Any:
    """A new scheduler for a model.

    Args:
        model_scheduler: the scheduler that the model was loaded with.
        name: artgen's name of the one wanted; None for the model's own.
        sigmas: `normal`, `karras`, `exponential` or `beta`; None keeps what the configuration says.

    Raises:
        UsageError: a package it needs is missing, or it does not fit the model's kind of prediction.
    """
    config = dict(model_scheduler.config)
    if sigmas:
        config.update({flag: False for flag in SIGMA_FLAGS.values() if flag in config or sigmas != "normal"})
        if sigmas in SIGMA_FLAGS:
            config[SIGMA_FLAGS[sigmas]] = True
    if sigmas == "beta":
        require_packages(name or "beta sigmas", ("scipy",))
    if name is None:
        return type(model_scheduler).from_config(config)
    entry = find_scheduler(name)
    require_packages(entry.name, entry.required_packages)
    config.update(entry.config_overrides)
    return getattr(diffusers, entry.class_name).from_config(config)


def use_cpu_timesteps(scheduler: Any) -> Any:
    """The scheduler; one of `BY_TIMESTEP` is told the timestep of each step in main memory.

    A pipeline hands it a part of `timesteps`, which lie on the device, so that it would wait at every step until the
    denoiser is done.
    """
    if type(scheduler).__name__ not in CPU_TIMESTEP_SCHEDULERS:
        return scheduler
    step = scheduler.step
    there: torch.Tensor | None = None
    here: torch.Tensor | None = None

    @functools.wraps(step)
    def stepped(model_output: torch.Tensor, timestep: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal there, here
        every = scheduler.timesteps
        if there is not every or here is None:
            there, here = every, every.cpu()
        if isinstance(timestep, torch.Tensor) and _is_element_of(timestep, every):
            timestep = here[timestep.storage_offset() - every.storage_offset()]
        return step(model_output, timestep, *args, **kwargs)

    scheduler.step = stepped
    return scheduler


def _is_element_of(timestep: torch.Tensor, timesteps: torch.Tensor) -> bool:
    """Whether a timestep is an element of a list of them, not a copy."""
    same = timestep.untyped_storage().data_ptr() == timesteps.untyped_storage().data_ptr()
    return same and timestep.ndim == 0 and timesteps.stride() == (1,)


def check_steps(scheduler: Any, steps: int) -> None:
    """Refuses more steps than a scheduler can place, which diffusers finds out halfway, by an IndexError.

    Raises:
        UsageError: a timestep would lie beyond the last one of the training.
    """
    trained = scheduler.config.get("num_train_timesteps")
    if trained is None or type(scheduler).__name__.startswith("FlowMatch"):
        return
    probe = type(scheduler).from_config(scheduler.config)
    probe.set_timesteps(steps)
    if float(probe.timesteps.max()) >= trained:
        raise UsageError(
            f"{steps} steps are more than this model's scheduler can place among its {trained} timesteps.",
            f"Use --steps {trained // 2} or fewer, or another --scheduler.",
        )


def require_packages(feature: str, packages: tuple[str, ...]) -> None:
    """Refuses early, with the command that mends it, what would fail with an ImportError halfway.

    Raises:
        UsageError: one of `packages` is not installed.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UsageError(f"{feature} needs {' and '.join(missing)}.", f"pip install {' '.join(missing)}")
