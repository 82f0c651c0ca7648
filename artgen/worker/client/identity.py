"""Describe what must be equal in a client and in the worker, so that a command has the same result in both."""

import os
import sys
from collections.abc import Mapping
from typing import Any

from artgen._version import __version__

_VARIABLE_PREFIXES = ("ARTGEN_", "HF_", "PYTHON", "LC_", "LANG", "OMP_", "MKL_", "TORCH", "CUDA", "XDG_", "HOME")
"""Prefixes of the environment variables that Python or a library reads when it starts."""

_PASSED_VARIABLES = frozenset({"ARTGEN_WORKER"})


def own_identity() -> dict[str, Any]:
    """Return the identity of this process: JSON values by a name that a person can read."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_VARIABLE_PREFIXES) and name not in _PASSED_VARIABLES
    }
    return {
        "version of artgen": __version__,
        "Python interpreter": [sys.executable, sys.version],
        "user": os.getuid(),
        "environment variables": variables,
    }


def difference(own: Mapping[str, Any], other: Any) -> str | None:
    """Return the first name whose values differ, None if the identities are equal."""
    if not isinstance(other, dict):
        return "protocol"
    return next((name for name in (*own, *other) if own.get(name) != other.get(name)), None)
