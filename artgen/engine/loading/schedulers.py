"""Create the diffusers scheduler of a job.

Each job has a new scheduler, because some schedulers change their own configuration (`DPMSolverSinglestepScheduler`).
The scheduler is created from the model's configuration, which defines the noise schedule and the prediction type.
"""

import functools
import importlib.util
import inspect
import types
from collections.abc import Sequence
from typing import Any

import diffusers
import torch

from artgen.errors import UsageError
from artgen.spec.schedulers import find_scheduler
from artgen.system.counts import counted
from artgen.system.optional_packages import install_command

CPU_TIMESTEP_SCHEDULERS = frozenset({"PNDMScheduler", "DDIMScheduler"})
"""Schedulers that use the timestep only as an index. Others (LCM) compute with the timestep on the device; on the CPU,
rounding would differ."""

SIGMA_FLAGS = {"karras": "use_karras_sigmas", "exponential": "use_exponential_sigmas", "beta": "use_beta_sigmas"}


def build_scheduler(model_scheduler: Any, name: str | None, sigmas: str | None) -> Any:
    """Return a new scheduler for a model.

    Args:
        model_scheduler: the scheduler of the loaded model.
        name: artgen's name of the scheduler; None for the model's own class.
        sigmas: `normal`, `karras`, `exponential` or `beta`; None: the value in the model's configuration.

    Raises:
        UsageError: a required package is missing, or the scheduler does not support the sigmas.
    """
    cls = type(model_scheduler)
    overrides: dict[str, object] = {}
    if sigmas:
        overrides = {flag: flag == SIGMA_FLAGS.get(sigmas) for flag in SIGMA_FLAGS.values()}
    if name is not None:
        entry = find_scheduler(name)
        require_packages(entry.name, entry.required_packages)
        cls = getattr(diffusers, entry.class_name)
        overrides |= entry.config_overrides
    if sigmas in SIGMA_FLAGS and SIGMA_FLAGS[sigmas] not in inspect.signature(cls.__init__).parameters:
        raise UsageError(
            f"The scheduler of the model, {cls.__name__}, does not support {sigmas} sigmas.",
            "Remove --sigmas, or add --scheduler euler.",
            settings=("sigmas",),
        )
    # Not merged into the configuration: `from_config` ignores the keys that the model's own class has as defaults.
    return start_at_first_timestep(cls.from_config(model_scheduler.config, **overrides))


def start_at_first_timestep(scheduler: Any) -> Any:
    """Patch a scheduler to start at its first noise level if its first timesteps are equal. Return the scheduler.

    Rounded timesteps of several noise levels can be equal, for example with Karras sigmas and zero terminal SNR. Then
    diffusers (0.42.1) starts at the second level, and raises an IndexError in the last step.
    """
    if hasattr(scheduler, "index_for_timestep"):
        scheduler.index_for_timestep = types.MethodType(_index_for_timestep, scheduler)
    return scheduler


def _index_for_timestep(self: Any, timestep: Any, schedule_timesteps: torch.Tensor | None = None) -> int:
    timesteps = self.timesteps if schedule_timesteps is None else schedule_timesteps
    if timesteps is not None and len(timesteps) > 1 and timesteps[0] == timesteps[1] == timestep:
        return 0
    arguments = () if schedule_timesteps is None else (schedule_timesteps,)
    index: int = type(self).index_for_timestep(self, timestep, *arguments)
    return index


def seed_noise(scheduler: Any, seeds: Sequence[int]) -> None:
    """Seed the noise of a scheduler that does not accept a generator; one seed per image of the batch.

    Without a seed, `DPMSolverSDEScheduler` selects one with the global generator of torch, so that an image depends on
    the images before it.
    """
    if hasattr(scheduler, "noise_sampler_seed"):
        scheduler.noise_sampler_seed = [seed % 2**32 for seed in seeds]


def use_cpu_timesteps(scheduler: Any) -> Any:
    """Patch a scheduler of `CPU_TIMESTEP_SCHEDULERS` to read timesteps from CPU memory. Return the scheduler.

    A pipeline passes an element of `timesteps`, a tensor on the device. To read its value, the scheduler would wait for
    the denoiser at each step.
    """
    if type(scheduler).__name__ not in CPU_TIMESTEP_SCHEDULERS:
        return scheduler
    step = scheduler.step
    device_timesteps: torch.Tensor | None = None
    cpu_timesteps: torch.Tensor | None = None

    @functools.wraps(step)
    def step_with_cpu_timestep(model_output: torch.Tensor, timestep: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal device_timesteps, cpu_timesteps
        timesteps = scheduler.timesteps
        if device_timesteps is not timesteps or cpu_timesteps is None:
            device_timesteps, cpu_timesteps = timesteps, timesteps.cpu()
        if isinstance(timestep, torch.Tensor) and _is_element_of(timestep, timesteps):
            timestep = cpu_timesteps[timestep.storage_offset() - timesteps.storage_offset()]
        return step(model_output, timestep, *args, **kwargs)

    scheduler.step = step_with_cpu_timestep
    return scheduler


def _is_element_of(timestep: torch.Tensor, timesteps: torch.Tensor) -> bool:
    """Return whether a timestep is an element of `timesteps`, not a copy."""
    same = timestep.untyped_storage().data_ptr() == timesteps.untyped_storage().data_ptr()
    return same and timestep.ndim == 0 and timesteps.stride() == (1,)


def set_timesteps(scheduler: Any, steps: int) -> None:
    """Set the timesteps of a scheduler without a pipeline."""
    arguments: dict[str, Any] = {}
    if scheduler.config.get("use_dynamic_shifting"):
        arguments["mu"] = 1.0  # The pipelines compute mu from the size of the image.
    if "intermediate_timesteps" in inspect.signature(scheduler.set_timesteps).parameters:
        arguments["intermediate_timesteps"] = None  # The default value is for 2 steps only.
    scheduler.set_timesteps(steps, **arguments)


def check_steps(scheduler: Any, steps: int) -> None:
    """Check that a scheduler supports a number of steps. diffusers raises an IndexError during the call otherwise.

    Raises:
        UsageError: a timestep would be larger than the last training timestep.
    """
    num_train_timesteps = scheduler.config.get("num_train_timesteps")
    if num_train_timesteps is None or type(scheduler).__name__.startswith("FlowMatch"):
        return
    probe = type(scheduler).from_config(scheduler.config)
    set_timesteps(probe, steps)
    if float(probe.timesteps.max()) >= num_train_timesteps:
        raise UsageError(
            f"Cannot use {counted(steps, 'step')}: the scheduler has "
            f"{counted(num_train_timesteps, 'training timestep')}.",
            f"Use --steps {num_train_timesteps // 2} or fewer, or another --scheduler.",
        )


def require_packages(feature: str, packages: tuple[str, ...]) -> None:
    """Check that packages are installed, before an ImportError occurs during the call.

    Raises:
        UsageError: a package is not installed. The hint is the command that installs it.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UsageError(f"Cannot use {feature}: it needs {' and '.join(missing)}.", install_command(missing))
