"""Running out of memory, and what to try before giving up.

The order costs least first: fewer pictures at a time, the decoder in tiles, parts of the model in main memory.
Seeds stay the same throughout, and what was done is recorded.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from artgen import approximations, budget, fitting, machine
from artgen.engine.device import Placement
from artgen.events import Listener, Planned
from artgen.prepare import Prepared
from artgen.registry import demand
from artgen.requests import FromWords

_MARKS = (
    "out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED", "CUDNN_STATUS_ALLOC_FAILED", "unable to find an engine to execute",
)  # fmt: skip
"""What libraries say. cuBLAS cannot make its handle, cuDNN finds no algorithm, where too little memory is left."""


def is_exhaustion(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in _MARKS)


def is_lost(error: BaseException) -> bool:
    """Whether an exception means that a GPU answers this process no more, whatever it is asked; asks it."""
    if not isinstance(error, RuntimeError) or "CUDA error" not in str(error) or is_exhaustion(error):
        return False
    try:
        for index in range(torch.cuda.device_count()):
            if torch.cuda.memory_reserved(index):
                torch.cuda.synchronize(index)  # what has broken a process's context is told by every call
    except RuntimeError:
        return True
    return not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Economy:
    """How sparingly memory is used.

    Attributes:
        batch_size: pictures at a time, 1 or more.
        vae_tiling: decode in tiles.
        offload: None or one of `artgen.budget.MODES`.
        fallbacks: what was done because memory ran out, in order.
        automatic: whether artgen chose how to offload, and may choose again.
        without: a way of offloading that it must not choose: an approximation that skips layers cannot have them fetch
            each other.
        graphs: whether CUDA graphs may be recorded; they hold the memory that a call works in.
    """

    batch_size: int
    vae_tiling: bool
    offload: str | None
    fallbacks: tuple[str, ...] = ()
    automatic: bool = False
    without: str | None = None
    graphs: bool = True

    @classmethod
    def of(cls, request: FromWords, batch_size: int) -> "Economy":
        """What the request asks for; with `auto`, nothing is offloaded until `planned` says so."""
        automatic = request.offload == "auto"
        skips = any(entry.name == "cache" for entry in approximations.chosen(request.fast))
        return cls(
            batch_size,
            bool(request.vae_tiling),
            "none" if automatic else request.offload,
            automatic=automatic,
            without="group" if skips else None,
        )

    def tighter(self, placement: Placement, pictures: int) -> "Economy | None":
        """The next thing to try, None when nothing is left. An explicit `--offload` is never overridden.

        Args:
            placement: where the model runs; only a GPU can offload.
            pictures: how many pictures were drawn together when memory ran out.
        """
        if pictures > 1:
            size = pictures // 2
            return self._with(f"batch size {size}", batch_size=size)
        if not self.vae_tiling:
            return self._with("vae tiling", vae_tiling=True)
        if placement.on_gpu and self.offload is None:
            return self._with("offload model", offload="model")
        if placement.on_gpu and self.automatic and self.offload != budget.MODES[-1]:
            modes = [mode for mode in budget.MODES if mode != self.without]
            costlier = modes[modes.index(self.offload or "none") + 1]
            return self._with(f"offload {costlier}", offload=costlier)
        return None

    def _with(self, what: str, **changes: object) -> "Economy":
        return dataclasses.replace(self, fallbacks=(*self.fallbacks, what), **changes)  # type: ignore[arg-type]


def planned(economy: Economy, job: Prepared, rows: int, placement: Placement, listener: Listener) -> Economy:
    """The economy with the cheapest way of offloading that fits the free memory, where `auto` asks for it.

    On the CPU where nothing was asked for, too: there, what does not fit ends the process. Fewer pictures at a time
    cost less than moving the model to and fro, so they are tried first.

    Args:
        economy: of the job.
        job: the first of those that are drawn together.
        rows: how many they are.
        placement: where; on MPS, whose memory is the machine's own, nothing is offloaded.
        listener: is told what was chosen, and why.
    """
    on_cpu, request = placement.device == "cpu", job.drawing
    if not economy.automatic and not (on_cpu and economy.offload is None):
        return economy
    there = free(placement, request.memory_budget) if on_cpu or placement.device.startswith("cuda") else None
    if there is None:
        return economy
    apart = on_cpu and not fitting.why_not_apart(job.model, job.loras)

    def chosen(rows: int) -> budget.Choice:
        guided = rows * (2 if request.guided else 1)
        wanted = demand(job.model, placement.dtype, job.size, guided, fp8=placement.weights == "fp8")
        if on_cpu:
            return budget.choose_on_cpu(wanted, there, tiling=economy.vae_tiling, apart=apart)
        return budget.choose(wanted, there, tiling=economy.vae_tiling, without=economy.without)

    choice, alone, together = chosen(rows), chosen(1), rows
    if not economy.automatic and alone.offload == "none":
        return economy
    while choice.how != alone.how:
        together //= 2
        choice = chosen(together)
    fewer = f", {together} of {rows} pictures at a time" if together < rows else ""
    listener(Planned(f"{choice}{fewer}"))
    return dataclasses.replace(
        economy,
        batch_size=together if together < rows else economy.batch_size,
        offload=choice.offload,
        vae_tiling=choice.vae_tiling,
        automatic=True,
    )


def free(placement: Placement, memory_budget: str | None) -> int | None:
    """Bytes of memory that a model and its pictures may take, what this process holds of them included.

    Of the GPU's, or on the CPU of main memory; None where neither the system nor the user says how much there is.
    """
    known = [budget.parse_bytes(memory_budget)] if memory_budget else []
    if placement.on_gpu:
        known.append(torch.cuda.mem_get_info(placement.device)[0] + torch.cuda.memory_reserved(placement.device))
    elif (available := machine.free_memory()) is not None:
        known.append(available)
    return min(known, default=None)


@contextlib.contextmanager
def limited(placement: Placement, memory_budget: str | None) -> Iterator[None]:
    """Keeps torch within a budget of GPU memory: what goes beyond it runs out of memory, as on a smaller GPU."""
    if memory_budget is None or not placement.on_gpu:
        yield
        return
    total = torch.cuda.get_device_properties(placement.device).total_memory
    share = min(1.0, budget.parse_bytes(memory_budget) / total)
    index = torch.device(placement.device).index
    index = torch.cuda.current_device() if index is None else index  # this function alone wants to know
    torch.cuda.set_per_process_memory_fraction(share, index)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, index)
