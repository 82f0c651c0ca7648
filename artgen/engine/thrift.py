"""How sparingly memory is used from one device batch to the next: as planned, and as running out of it taught."""

from dataclasses import replace
from typing import Any

from artgen import fitting
from artgen.engine import loading
from artgen.engine.device import Placement
from artgen.engine.memory import Economy, planned
from artgen.errors import MemoryExhaustedError
from artgen.events import Listener, Note
from artgen.prepare import Prepared
from artgen.settings import LARGEST_BATCH

Learned = dict[tuple[Any, ...], tuple[int, Economy]]
"""What running out of memory taught: resources -> how many values at a time it was, and how they were drawn."""


class Thrift:
    """How sparingly memory is used from one device batch to the next."""

    def __init__(self, learned: Learned, listener: Listener) -> None:
        """`learned` is kept up to date."""
        self._learned = learned
        self._listener = listener
        self._resources: tuple[Any, ...] = ()
        self._most = 0  # values at a time that the economy was planned for
        self._economy: Economy

    def settle(self, job: Prepared, rows: int, placement: Placement) -> Economy:
        """The economy for so many pictures like this one; planned anew where they take more than those before."""
        wanted = resources(job)
        values = rows * job.width * job.height * (2 if job.drawing.guided else 1)
        if wanted != self._resources:
            self._resources, self._most, self._economy = wanted, 0, Economy.of(job.drawing, LARGEST_BATCH)
            if wanted in self._learned and values >= self._learned[wanted][0]:
                self._most, self._economy = self._learned[wanted]
        if values > self._most:
            self._most = values
            if not self._economy.fallbacks:  # where memory ran out, that is known better than any plan
                rows = min(rows, self._economy.batch_size)
                self._economy = planned(self._economy, job, rows, placement, self._listener)
        return self._economy

    def tighten(self, placement: Placement, job: Prepared, rows: int) -> None:
        """Takes note that memory ran out with so many pictures at a time.

        Raises:
            MemoryExhaustedError: nothing is left to try.
        """
        self._economy = _tightened(self._economy, placement, job, rows, self._listener)
        self._learned[self._resources] = self._most, self._economy


def _tightened(economy: Economy, placement: Placement, job: Prepared, rows: int, listener: Listener) -> Economy:
    if economy.graphs and loading.drop_recordings():
        loading.collect()
        listener(Note("out of memory; trying again without CUDA graphs"))
        return replace(economy, graphs=False)
    tighter = economy.tighter(placement, rows)
    if tighter is None or tighter.offload != economy.offload:
        loading.release()
    else:
        loading.collect()
    if tighter is None:
        raise MemoryExhaustedError(
            f"Out of memory on {placement.device} for {job.width}x{job.height}, after {_tried(economy)}.",
            "Use a smaller --size or model, or --offload sequential with a GPU.",
        )
    listener(Note(f"out of memory; trying again with {tighter.fallbacks[-1]}"))
    return tighter


def _tried(economy: Economy) -> str:
    return ", ".join(economy.fallbacks) or "the settings given (no fallback applies)"


def resources(job: Prepared) -> tuple[Any, ...]:
    """What an economy depends on beside the size of the picture."""
    request = job.drawing
    return (
        request.model, request.device, request.dtype, request.weights, request.offload, request.memory_budget,
        request.vae_tiling, request.safety_checker, fitting.why_not_apart(job.model, job.loras),
        Economy.of(request, 1).without,
    )  # fmt: skip
