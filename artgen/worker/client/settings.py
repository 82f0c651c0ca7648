"""Decide whether a command uses the worker."""

import os
from collections.abc import Sequence

ENVIRONMENT_VARIABLE = "ARTGEN_WORKER"
"""Variable with the value `on` or `off`."""

_TEXT_OPTIONS = frozenset({"--help", "--help-all", "--json-schema", "-h"})


def uses_worker(arguments: Sequence[str]) -> bool:
    """Return whether a command is sent to a worker that runs."""
    from artgen.worker.client import WORKER_COMMANDS

    if os.name == "nt" or os.environ.get(ENVIRONMENT_VARIABLE) == "off":
        return False
    return bool(arguments) and arguments[0] in WORKER_COMMANDS and not _TEXT_OPTIONS.intersection(arguments)
