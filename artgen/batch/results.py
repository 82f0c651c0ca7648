"""What became of a job."""

from dataclasses import dataclass
from typing import Any

from artgen.batch.ledger import JobRecord


@dataclass(frozen=True, slots=True)
class JobResult:
    """One job's end, small enough to send from process to process.

    Attributes:
        fingerprint: the job's fingerprint.
        record: what the ledger says now; None when another process has the job or has done it meanwhile.
        image_record: the record inside the picture and where its frames are, for `--json`; None where none was drawn.
        message: the error in full, with its hint on a second line.
    """

    fingerprint: str
    record: JobRecord | None
    image_record: dict[str, Any] | None = None
    message: str = ""
