"""Store measured generation times and batch sizes of this machine."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from artgen.errors import ArtgenError
from artgen.queue.plan import PlannedJob
from artgen.spec.settings import MAX_BATCH_SIZE
from artgen.system import hardware
from artgen.system.external_data import parse_json, read_optional
from artgen.system.files import write_atomically
from artgen.system.paths import user_cache_folder

_MAX_FILE_BYTES = 1 << 22
_MAX_SECONDS = 1e6
_EMA_WEIGHT = 0.3
"""Weight of the newest measurement in the moving average."""


class Timings:
    """Store seconds per step and image, and batch sizes, in the cache folder.

    The keys are model, task, size, device, dtype and acceleration.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or user_cache_folder() / "history.json"
        try:
            stored = parse_json(read_optional(self._path, _MAX_FILE_BYTES) or b"")
        except ValueError:
            stored = {}
        self._seconds_per_step = _parse_numbers(stored, "seconds", _MAX_SECONDS)
        sizes = _parse_numbers(stored, "batch sizes", MAX_BATCH_SIZE)
        self._batch_sizes = {key: int(size) for key, size in sizes.items() if size >= 1}

    def update(self, job: PlannedJob, seconds: float) -> None:
        """Add the generation time of an image. Ignore an image without steps."""
        if not _effective_steps(job):
            return
        measured = seconds / _effective_steps(job)
        average = self._seconds_per_step.get(_timing_key(job), measured)
        self._seconds_per_step[_timing_key(job)] = average + _EMA_WEIGHT * (measured - average)

    def estimate_seconds(self, jobs: Iterable[PlannedJob]) -> float | None:
        """Return the expected duration of all jobs in seconds, or None if a kind of job was never measured."""
        total = 0.0
        for job in jobs:
            if not _effective_steps(job):
                continue
            seconds_per_step = self._seconds_per_step.get(_timing_key(job))
            if seconds_per_step is None:
                return None
            total += seconds_per_step * _effective_steps(job)
        return total

    def batch_sizes(self, jobs: Iterable[PlannedJob]) -> dict[int, int]:
        """Return the fastest known batch size of each kind of job, by `PlannedJob.group_id`."""
        return {job.group_id: self._batch_sizes[key] for job in jobs if (key := _timing_key(job)) in self._batch_sizes}

    def update_batch_sizes(self, jobs: Iterable[PlannedJob], sizes: Mapping[int, int]) -> None:
        """Store the fastest batch size of each kind of job, by `PlannedJob.group_id`."""
        for job in jobs:
            if job.group_id in sizes:
                self._batch_sizes[_timing_key(job)] = sizes[job.group_id]

    def save(self) -> None:
        """Write the measurements. Errors are ignored, because the file is only a cache."""
        try:
            stored = {"seconds": self._seconds_per_step, "batch sizes": self._batch_sizes}
            write_atomically(self._path, json.dumps(stored, indent=0, sort_keys=True))
        except (OSError, ArtgenError):
            return


def _parse_numbers(data: object, name: str, maximum: float) -> dict[str, float]:
    section = data.get(name) if isinstance(data, dict) else None
    values = section if isinstance(section, dict) else {}
    return {key: float(value) for key, value in values.items() if type(value) in (int, float) and 0 < value <= maximum}


def _timing_key(job: PlannedJob) -> str:
    device = job.request.device
    if device == "auto":
        device = "cuda" if hardware.cuda_device_count() else "cpu"
    width, height = job.template.size
    key = f"{job.request.model} {job.request.task} {width}x{height} {device} {job.request.dtype}"
    acceleration = getattr(job.request, "acceleration", None)
    return key if acceleration in (None, "none") else f"{key} {acceleration}"


def _effective_steps(job: PlannedJob) -> float:
    strength = getattr(job.request, "strength", None)
    if strength == 0:
        return 0.0
    return max(1.0, (job.request.steps or 1) * (1.0 if strength is None else strength))
