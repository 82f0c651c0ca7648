"""How long pictures took on this machine before, to say how long a batch will take."""

import json
from collections.abc import Iterable
from pathlib import Path

import platformdirs

from artgen import machine
from artgen.batch.plan import Job
from artgen.errors import ArtgenError
from artgen.files import write_atomically

_WEIGHT = 0.3
"""Of the newest measurement in the running mean."""


class History:
    """Seconds a step and picture, by model, task, size and device; kept in the user's cache."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or Path(platformdirs.user_cache_dir("artgen", appauthor=False)) / "history.json"
        try:
            found = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            found = {}
        values = found if isinstance(found, dict) else {}
        self._seconds = {str(k): float(v) for k, v in values.items() if isinstance(v, int | float)}

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

    def save(self) -> None:
        """Writes what was learnt; a cache that cannot be written is no loss."""
        try:
            write_atomically(self._path, json.dumps(self._seconds, indent=0, sort_keys=True))
        except (OSError, ArtgenError):
            return


def _key(job: Job) -> str:
    device = job.request.device
    if device == "auto":
        device = "cuda" if machine.cuda_devices() else "cpu"
    width, height = job.shape.size
    return f"{job.request.model} {job.request.task} {width}x{height} {device} {job.request.dtype}"


def _steps(job: Job) -> float:
    strength = getattr(job.request, "strength", None)
    return max(1.0, (job.request.steps or 1) * (1.0 if strength is None else strength))
