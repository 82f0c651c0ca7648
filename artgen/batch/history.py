"""How pictures were drawn on this machine before: how long they took, and how many at a time were fastest."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import platformdirs

from artgen import machine
from artgen.batch.plan import Job
from artgen.errors import ArtgenError
from artgen.files import write_atomically

_WEIGHT = 0.3
"""Of the newest measurement in the running mean."""


class History:
    """Seconds a step and picture, and batch sizes, by model, task, size and device; kept in the user's cache."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or Path(platformdirs.user_cache_dir("artgen", appauthor=False)) / "history.json"
        try:
            found = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            found = {}
        self._seconds = _numbers(found, "seconds")
        self._sizes = {key: int(size) for key, size in _numbers(found, "batch sizes").items() if size >= 1}

    def learn(self, job: Job, seconds: float) -> None:
        """Takes note of a picture that was drawn."""
        each = seconds / _steps(job)
        before = self._seconds.get(_key(job), each)
        self._seconds[_key(job)] = before + _WEIGHT * (each - before)

    def estimate(self, jobs: Iterable[Job]) -> float | None:
        """Seconds that jobs will take together; None when one of a kind never drawn here is among them."""
        total = 0.0
        for job in jobs:
            each = self._seconds.get(_key(job))
            if each is None:
                return None
            total += each * _steps(job)
        return total

    def batch_sizes(self, jobs: Iterable[Job]) -> dict[int, int]:
        """The best batch size that was found before for each kind of job, by `Job.alike`."""
        return {job.alike: self._sizes[key] for job in jobs if (key := _key(job)) in self._sizes}

    def learn_batch_sizes(self, jobs: Iterable[Job], sizes: Mapping[int, int]) -> None:
        """Takes note of the best batch size of each kind."""
        for job in jobs:
            if job.alike in sizes:
                self._sizes[_key(job)] = sizes[job.alike]

    def save(self) -> None:
        """Writes what was learnt; a cache that cannot be written is no loss."""
        try:
            found = {"seconds": self._seconds, "batch sizes": self._sizes}
            write_atomically(self._path, json.dumps(found, indent=0, sort_keys=True))
        except (OSError, ArtgenError):
            return


def _numbers(found: object, name: str) -> dict[str, float]:
    part = found.get(name) if isinstance(found, dict) else None
    values = part if isinstance(part, dict) else {}
    return {str(key): float(value) for key, value in values.items() if isinstance(value, int | float)}


def _key(job: Job) -> str:
    device = job.request.device
    if device == "auto":
        device = "cuda" if machine.cuda_devices() else "cpu"
    width, height = job.shape.size
    return f"{job.request.model} {job.request.task} {width}x{height} {device} {job.request.dtype}"


def _steps(job: Job) -> float:
    strength = getattr(job.request, "strength", None)
    return max(1.0, (job.request.steps or 1) * (1.0 if strength is None else strength))
