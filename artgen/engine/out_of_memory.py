"""Report an out-of-memory error of a computation without a fallback. The module imports torch only after an error."""

from collections.abc import Iterator
from contextlib import contextmanager

from artgen.errors import MemoryExhaustedError


@contextmanager
def report_out_of_memory(message: str, hint: str) -> Iterator[None]:
    """Convert an out-of-memory error of the block to an error of artgen.

    Args:
        message: what failed, as one sentence.
        hint: what the user can do.

    Raises:
        MemoryExhaustedError: the block ran out of memory.
        DeviceLostError: the GPU is lost for this process.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        from artgen.engine.loading.oom import is_oom, raise_if_device_lost

        raise_if_device_lost(error)
        if not is_oom(error):
            raise
        raise MemoryExhaustedError(message, hint) from None
