"""Convert the exceptions of OpenVINO."""

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from artgen.engine.loading.oom import first_line, is_oom
from artgen.errors import ArtgenError, PipelineError

if TYPE_CHECKING:
    from artgen.engine.acceleration.openvino.runner import ModuleSource

_UNSUPPORTED_OPERATION = re.compile(r"^-- (\w+::\w+) with a message", re.MULTILINE)
"""Operation in the message of OpenVINO about a failed conversion."""


@contextlib.contextmanager
def wrapped_errors(source: "ModuleSource") -> Iterator[None]:
    """Convert the exceptions of OpenVINO.

    Raises:
        PipelineError: OpenVINO cannot convert or run the module.
        MemoryError: out of memory.
    """
    try:
        yield
    except ArtgenError:
        raise
    except Exception as error:
        if is_oom(error) or "bad_alloc" in str(error):
            raise MemoryError("OpenVINO is out of memory") from error
        if isinstance(error.__cause__, ArtgenError):
            raise error.__cause__ from None
        operations = sorted(set(_UNSUPPORTED_OPERATION.findall(str(error))))
        reason = (
            f"OpenVINO does not support {', '.join(operations)}"
            if operations
            else first_line(error.__cause__ or error).rstrip(".")
        )
        raise PipelineError(
            f"Cannot run the {source.label} of '{source.model}' with OpenVINO: {reason}.",
            "Use --acceleration none.",
        ) from error
