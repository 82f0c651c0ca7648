"""How pictures were drawn on this machine before: how long they took, and how many at a time were fastest."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import platformdirs

from artgen.errors import ArtgenError
from artgen.queue.planner import PlannedJob
from artgen.system import hardware
from artgen.system.files import write_atomically

_EMA_WEIGHT = 0.3
"""Of the newest measurement in the running mean."""


class Timings:
    """Seconds a step and picture, and batch sizes, by model, task, size and device; kept in the user's cache."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or Path(platformdirs.user_cache_dir("artgen", appauthor=False)) / "history.json"
        try:
            found = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            found = {}
        self._seconds_per_step = _parse_numbers(found, "seconds")
        self._batch_sizes = {key: int(size) for key, size in _parse_numbers(found, "batch sizes").items() if size >= 1}

    def update(self, job: PlannedJob, seconds: float) -> None:
        """Takes note of a picture that was drawn."""
        each = seconds / _effective_steps(job)
        before = self._seconds_per_step.get(_timing_key(job), each)
        self._seconds_per_step[_timing_key(job)] = before + _EMA_WEIGHT * (each - before)

    def estimate_seconds(self, jobs: Iterable[PlannedJob]) -> float | None:
        """Seconds that jobs will take together; None when one of a kind never drawn here is among them."""
        total = 0.0
        for job in jobs:
            each = self._seconds_per_step.get(_timing_key(job))
            if each is None:
                return None
            total += each * _effective_steps(job)
        return total

    def batch_sizes(self, jobs: Iterable[PlannedJob]) -> dict[int, int]:
        """The best batch size that was found before for each kind of job, by `Job.alike`."""
        return {job.group_id: self._batch_sizes[key] for job in jobs if (key := _timing_key(job)) in self._batch_sizes}

    def update_batch_sizes(self, jobs: Iterable[PlannedJob], sizes: Mapping[int, int]) -> None:
        """Takes note of the best batch size of each kind."""
        for job in jobs:
            if job.group_id in sizes:
                self._batch_sizes[_timing_key(job)] = sizes[job.group_id]

    def save(self) -> None:
        """Writes what was learnt; a cache that cannot be written is no loss."""
        try:
            found = {"seconds": self._seconds_per_step, "batch sizes": self._batch_sizes}
            write_atomically(self._path, json.dumps(found, indent=0, sort_keys=True))
        except (OSError, ArtgenError):
            return


def _parse_numbers(data: object, name: str) -> dict[str, float]:
    part = data.get(name) if isinstance(data, dict) else None
    values = part if isinstance(part, dict) else {}
    return {str(key): float(value) for key, value in values.items() if isinstance(value, int | float)}


def _timing_key(job: PlannedJob) -> str:
    device = job.request.device
    if device == "auto":
        device = "cuda" if hardware.cuda_device_count() else "cpu"
    width, height = job.template.size
    return f"{job.request.model} {job.request.task} {width}x{height} {device} {job.request.dtype}"


def _effective_steps(job: PlannedJob) -> float:
    strength = getattr(job.request, "strength", None)
    return max(1.0, (job.request.steps or 1) * (1.0 if strength is None else strength))
