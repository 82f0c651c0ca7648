"""What a ledger says of its folder."""

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from artgen.queue.ledger import Ledger

_MAX_RECENT_IMAGES = 50
"""So many of the last pictures tell how fast it goes."""


@dataclass(frozen=True)
class BatchStatus:
    """How far a batch is.

    Attributes:
        total: pictures of the plans that ran last, one plan a shard.
        done: pictures that are there.
        failed: jobs whose last try failed.
        left: neither.
        pictures_a_minute: over the last pictures; None before two were drawn.
    """

    total: int
    done: int
    failed: int
    left: int
    pictures_a_minute: float | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


def batch_status(ledger: Ledger) -> BatchStatus:
    """Counts a ledger that was refreshed."""
    done = len(ledger.completed_keys())
    failed = sum(record.state == "failed" for record in ledger.records.values())
    latest = {plan.get("shard", ""): int(plan["plan"]) for plan in ledger.run_starts}
    total = max(sum(latest.values()), done + failed)
    times = sorted(r.time for r in ledger.records.values() if r.state == "done" and r.time)[-_MAX_RECENT_IMAGES:]
    begun = max((plan.get("time", 0) for plan in ledger.run_starts), default=0)
    times = [time for time in times if time >= begun]
    speed = 60 * (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else None
    return BatchStatus(total, done, failed, total - done - failed, speed)


def verify_files(ledger: Ledger) -> Iterator[tuple[str, str]]:
    """Each picture that the ledger calls done, and whether it is sound, changed or missing."""
    for record in ledger.records.values():
        if record.state != "done":
            continue
        try:
            data = (ledger.folder / record.file).read_bytes()
        except OSError:
            yield record.file, "missing"
            continue
        yield record.file, "sound" if hashlib.sha256(data).hexdigest() == record.sha256 else "changed"
