"""Running out of memory, and what to try before giving up.

The order costs least first: fewer pictures at a time, the decoder in tiles, parts of the model in main memory.
Seeds stay the same throughout, and what was done is recorded.
"""

import dataclasses
from dataclasses import dataclass

import torch

from artgen.engine.device import Placement
from artgen.requests import FromWords

_MARKS = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_exhaustion(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in _MARKS)


@dataclass(frozen=True)
class Economy:
    """How sparingly memory is used.

    Attributes:
        batch_size: pictures at a time, 1 or more.
        vae_tiling: decode in tiles.
        offload: None, `none`, `model` or `sequential`.
        fallbacks: what was done because memory ran out, in order.
    """

    batch_size: int
    vae_tiling: bool
    offload: str | None
    fallbacks: tuple[str, ...] = ()

    @classmethod
    def of(cls, request: FromWords, batch_size: int) -> "Economy":
        """What the request asks for."""
        return cls(batch_size, request.vae_tiling, request.offload)

    def tighter(self, placement: Placement, pictures: int) -> "Economy | None":
        """The next thing to try, None when nothing is left. An explicit `--offload` is never overridden.

        Args:
            placement: where the model runs; only a GPU can offload.
            pictures: how many pictures were drawn together when memory ran out.
        """
        if pictures > 1:
            size = pictures // 2
            return self._with(f"batch size {size}", batch_size=size)
        if not self.vae_tiling:
            return self._with("vae tiling", vae_tiling=True)
        if placement.on_gpu and self.offload is None:
            return self._with("offload model", offload="model")
        return None

    def _with(self, what: str, **changes: object) -> "Economy":
        return dataclasses.replace(self, fallbacks=(*self.fallbacks, what), **changes)  # type: ignore[arg-type]
