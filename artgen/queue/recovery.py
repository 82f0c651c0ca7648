"""Recognize the images of an earlier run by their records if the ledger lacks their lines."""

import os
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artgen import images
from artgen.errors import InputFileError
from artgen.jobs.job import Job
from artgen.metadata import read_metadata
from artgen.queue.fingerprints import is_record_of
from artgen.queue.ledger import Ledger, now
from artgen.queue.ledger_lines import DONE, JobRecord
from artgen.queue.plan import BatchPlan, PlannedJob
from artgen.spec.best_of import candidate_requests
from artgen.spec.records import to_record
from artgen.system.counts import counted


@dataclass(frozen=True)
class OwnFiles:
    """Contain the files that do not count as taken for a job whose prompts and seed are not known yet.

    Attributes:
        listed: files in the ledger.
        job: job without prompts and with seed 0. An image with its record is an image of an earlier run.
    """

    listed: Container[Path]
    job: Job

    def __contains__(self, path: object) -> bool:
        if not isinstance(path, Path):
            return False
        if path in self.listed:
            return True
        record = _read_record(path)
        return record is not None and is_record_of(record, self.job.request, self.job.provenance, any_prompt=True)


@dataclass
class Recovery:
    """Store the result of the search for images of an earlier run.

    Attributes:
        records: ledger records of the recognized images, by fingerprint.
        num_others: number of other files that have a name of the batch.
    """

    records: dict[str, JobRecord] = field(default_factory=dict)
    num_others: int = 0

    def notes(self, reason: str) -> list[str]:
        """Return the notes for the user. `reason` is why the ledger lacks lines: `missing` or `damaged`."""
        found = counted(
            len(self.records),
            "image of an earlier run was found by its record",
            "images of an earlier run were found by their records",
        )
        others = counted(self.num_others, "existing file has", "existing files have")
        return [
            *([f"The ledger was {reason}: {found}."] if self.records else []),
            *([f"{others} a name of this batch, but not the record of its image."] if self.num_others else []),
        ]


def find_images(plan: BatchPlan, ledger: Ledger) -> Recovery:
    """Search the images of jobs that are not in the ledger under the names that the jobs give to them."""
    recovery = Recovery()
    used_paths = ledger.completed_files()
    for job in plan.jobs:
        if job.fingerprint in ledger.records:
            continue
        paths = _existing_paths(job)
        for path in paths:
            if path not in used_paths and (sha256 := _matching_sha256(path, job)):
                used_paths.add(path)
                file = path.relative_to(ledger.folder).as_posix()
                recovery.records[job.fingerprint] = JobRecord(DONE, file, sha256, where=job.location, time=now())
                break
        else:
            recovery.num_others += bool(set(paths) - used_paths)
    return recovery


def _existing_paths(job: PlannedJob) -> list[Path]:
    """Return the existing files with a name of the job. The best image can have the seed of each candidate."""
    records = [to_record(each, job.template.provenance) for each in candidate_requests(job.request)]
    found = [job.template.destination.existing_paths(record, index=job.number) for record in records]
    return list(dict.fromkeys(path for paths in found for path in paths))


def _matching_sha256(path: Path, job: PlannedJob) -> str | None:
    """Return the SHA-256 of an undamaged image with the record and the size of a job, else None."""
    record = _read_record(path)
    if record is None or not is_record_of(record, job.request, job.template.provenance):
        return None
    try:
        loaded = images.load_image(path)
    except InputFileError:
        return None
    return loaded.sha256 if loaded.image.size == job.template.size else None


def _read_record(path: Path) -> dict[str, Any] | None:
    """Return the record of a regular file; None for other files and without a record."""
    if path.is_symlink() or not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for a long name
        return None
    try:
        return read_metadata(path).record
    except InputFileError:
        return None
