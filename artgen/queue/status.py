"""Compute the progress of a batch and verify its images from the ledger."""

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from artgen.queue.ledger import Ledger

_MAX_RECENT_IMAGES = 50
"""Number of the newest images from which the speed is computed."""


@dataclass(frozen=True)
class BatchStatus:
    """Store the progress of a batch.

    Attributes:
        total: number of images in the newest plan of each shard.
        done: number of existing images.
        failed: number of jobs whose newest state is failed.
        left: number of other jobs.
        images_per_minute: images per minute of the newest images; None before the second image.
    """

    total: int
    done: int
    failed: int
    left: int
    images_per_minute: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return dataclasses.asdict(self)


def batch_status(ledger: Ledger) -> BatchStatus:
    """Return the progress of a batch. Call `Ledger.refresh` before."""
    done = len(ledger.completed_keys())
    failed = sum(record.state == "failed" for record in ledger.records.values())
    latest = {plan.get("shard", ""): int(plan["plan"]) for plan in ledger.run_starts}
    total = max(sum(latest.values()), done + failed)
    times = sorted(r.time for r in ledger.records.values() if r.state == "done" and r.time)[-_MAX_RECENT_IMAGES:]
    start_time = max((plan.get("time", 0) for plan in ledger.run_starts), default=0)
    times = [time for time in times if time >= start_time]
    speed = 60 * (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else None
    return BatchStatus(total, done, failed, total - done - failed, speed)


def verify_files(ledger: Ledger) -> Iterator[tuple[str, str]]:
    """Yield each finished image of the ledger and its state: `intact`, `changed` or `missing`."""
    for record in ledger.records.values():
        if record.state != "done":
            continue
        try:
            data = (ledger.folder / record.file).read_bytes()
        except OSError:
            yield record.file, "missing"
            continue
        yield record.file, "intact" if hashlib.sha256(data).hexdigest() == record.sha256 else "changed"
