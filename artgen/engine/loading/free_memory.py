"""Measure and limit memory, and unload idle models when the memory is needed."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch

from artgen.engine.loading import loaded_models
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.oom import is_oom
from artgen.registry import ResolvedModel
from artgen.registry.memory import DTYPE_BYTES, parameter_counts
from artgen.spec import memory_budget as budget
from artgen.system import hardware

ACTIVATION_BYTES = 2 << 30
"""Memory for activations that is kept free for work without an estimate: denoising, anomaly scores and VAE tests."""

Result = TypeVar("Result")


def available_bytes(device_config: DeviceConfig, memory_budget: str | None) -> int | None:
    """Return the bytes that a model and its images may use, including memory that this process already holds.

    The bytes are GPU memory for a GPU and main memory for the CPU. The result is None if neither the system nor
    `memory_budget` gives a limit.
    """
    limits = [budget.parse_bytes(memory_budget)] if memory_budget else []
    if device_config.is_gpu:
        free_bytes, _ = torch.cuda.mem_get_info(device_config.device)
        limits.append(free_bytes + torch.cuda.memory_reserved(device_config.device))
    elif (available := hardware.available_ram()) is not None:
        limits.append(available)
    return min(limits, default=None)


def make_room(required_bytes: int, device_config: DeviceConfig, memory_budget: str | None = None) -> None:
    """Unload idle models until the available memory beside the remaining idle models is large enough.

    Args:
        required_bytes: memory of the active models and of their work.
        device_config: device of the work. Nothing is unloaded on MPS, whose memory is unknown.
        memory_budget: limit of the user.
    """
    if device_config.is_gpu and not device_config.device.startswith("cuda"):
        return
    while loaded_models.has_idle():
        available = available_bytes(device_config, memory_budget)
        if available is None or available - loaded_bytes(device_config, active=False) >= required_bytes:
            return
        loaded_models.unload_idle(1)


def make_room_for_model(model: ResolvedModel, device_config: DeviceConfig) -> None:
    """Unload idle models until a model and `ACTIVATION_BYTES` fit into the memory."""
    if loaded_models.has_idle():
        weight_bytes = sum(parameter_counts(model).values()) * DTYPE_BYTES[device_config.dtype]
        make_room(weight_bytes + ACTIVATION_BYTES + budget.RUNTIME_BYTES, device_config)


def loaded_bytes(device_config: DeviceConfig, *, active: bool) -> int:
    """Return the bytes of the active or the idle models on a device."""
    device = torch.device(device_config.device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    return loaded_models.loaded_bytes(str(device), active=active)


def count_bytes(loaded: Any) -> dict[str, int]:
    """Return the bytes of the tensors of a pipeline, a module or another object with modules, by device."""
    members = getattr(loaded, "components", None) or getattr(loaded, "__dict__", {})
    modules = [each for each in (loaded, *members.values()) if isinstance(each, torch.nn.Module)]
    tensors = {id(tensor): tensor for module in modules for tensor in (*module.parameters(), *module.buffers())}
    device_bytes: dict[str, int] = {}
    for tensor in tensors.values():
        device_bytes[str(tensor.device)] = device_bytes.get(str(tensor.device), 0) + tensor.nbytes
    return device_bytes


@contextlib.contextmanager
def memory_limit(device_config: DeviceConfig, memory_budget: str | None) -> Iterator[None]:
    """Limit torch to `memory_budget` of GPU memory. An allocation beyond the limit raises an out-of-memory error."""
    if memory_budget is None or not device_config.is_gpu:
        yield
        return
    total_bytes = torch.cuda.get_device_properties(device_config.device).total_memory
    fraction = min(1.0, budget.parse_bytes(memory_budget) / total_bytes)
    index = torch.device(device_config.device).index
    # Unlike the calls above, set_per_process_memory_fraction requires an index.
    index = torch.cuda.current_device() if index is None else index
    torch.cuda.set_per_process_memory_fraction(fraction, index)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, index)


def retry_without_idle_models(function: Callable[[], Result]) -> Result:
    """Call a function. If memory runs out while idle models are loaded, unload them and call the function again."""
    try:
        return function()
    except (MemoryError, RuntimeError) as error:
        if not is_oom(error):
            raise
        loaded_models.unload_after_command()
        if not loaded_models.has_idle():
            raise
    # Outside the except block: the traceback references the memory of the call.
    loaded_models.unload_idle()
    return function()
