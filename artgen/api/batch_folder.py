"""Read the folder of a batch: progress and verification of its images."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from artgen.errors import InputFileError
from artgen.spec.python_text import for_python
from artgen.spec.python_values import path_text

if TYPE_CHECKING:
    from artgen.queue.ledger import Ledger
    from artgen.queue.status import BatchStatus, VerifiedFile


@for_python()
def batch_status(folder: "str | os.PathLike[str]") -> "BatchStatus":
    """Return the progress of a batch: numbers of images, images per minute.

    Args:
        folder: folder of the images.

    Raises:
        InputFileError: the folder does not contain a batch.
        UsageError: the folder is not a path.
    """
    from artgen.queue import status

    return status.batch_status(read_ledger(Path(path_text(folder, "folder", "images"))))


@for_python()
def verify_batch(folder: "str | os.PathLike[str]") -> "list[VerifiedFile]":
    """Return whether each image of a batch is intact, changed or missing, by its SHA-256 in the ledger.

    Args:
        folder: folder of the images.

    Raises:
        InputFileError: the folder does not contain a batch.
        UsageError: the folder is not a path.
    """
    from artgen.queue import status

    return list(status.verify_files(read_ledger(Path(path_text(folder, "folder", "images")))))


def read_ledger(folder: Path) -> "Ledger":
    """Return the ledger of a batch.

    Raises:
        InputFileError: the folder does not contain a batch.
    """
    from artgen.queue.ledger import Ledger

    ledger = Ledger(folder)
    ledger.refresh()
    if not ledger.records and not ledger.run_starts:
        raise InputFileError(
            f"Cannot read '{folder}': it does not contain a batch.", "Use the output folder of `artgen batch`."
        )
    return ledger
