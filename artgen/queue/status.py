"""Compute the progress of a batch and verify its images from the ledger."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from artgen.errors import InputFileError
from artgen.queue.ledger import Ledger
from artgen.queue.ledger_lines import DONE, FAILED, MISSING
from artgen.registry.hashes import compute_sha256


@dataclass(frozen=True)
class BatchStatus:
    """Store the progress of a batch.

    Attributes:
        total: number of images in the newest plan of each shard.
        done: number of existing images.
        failed: number of jobs whose newest state is failed, and of images that were removed during a run.
        left: number of other jobs.
        images_per_minute: images per minute of the newest images; None before the second image.
    """

    total: int
    done: int
    failed: int
    left: int
    images_per_minute: float | None


@dataclass(frozen=True)
class VerifiedFile:
    """Store whether an image of a batch is unchanged.

    Attributes:
        file: path of the image.
        state: intact: the image has the SHA-256 of the ledger. changed: it has another SHA-256. missing: it does not
            exist, or cannot be read.
    """

    file: Path
    state: Literal["intact", "changed", "missing"]


def batch_status(ledger: Ledger) -> BatchStatus:
    """Return the progress of a batch. Call `Ledger.refresh` before."""
    completed = ledger.completed_keys()
    done = len(completed)
    states = Counter(record.state for key, record in ledger.records.items() if key not in completed)
    failed = states[FAILED] + states[MISSING]
    total = max(sum(start.plan for start in ledger.run_starts.values()), done + failed)
    speed = sum(map(_images_per_minute, ledger.recent_times()))
    return BatchStatus(total, done, failed, total - done - failed, speed or None)


def _images_per_minute(times: Sequence[float]) -> float:
    """Return the speed of a run, or 0 if it is unknown. An interval in which the clock was set back is ignored."""
    intervals = [end - start for start, end in itertools.pairwise(times) if end >= start]
    return 60 * len(intervals) / sum(intervals) if sum(intervals) > 0 else 0.0


def verify_files(ledger: Ledger) -> Iterator[VerifiedFile]:
    """Yield each finished image of the ledger and its state."""
    for key, record in ledger.records.items():
        if record.state not in (DONE, MISSING):
            continue
        path = ledger.folder / record.file
        if ledger.completed(key) is None:
            yield VerifiedFile(path, "missing")
        else:
            try:
                is_intact = compute_sha256(path) == record.sha256
            except InputFileError:  # the file was removed meanwhile, or is unreadable
                yield VerifiedFile(path, "missing")
            else:
                yield VerifiedFile(path, "intact" if is_intact else "changed")
