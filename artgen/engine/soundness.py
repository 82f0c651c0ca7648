"""Watches for NaN and infinity, from the first step to the decoded pixels, and mends what can be mended."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from artgen.engine.autoencoding import unscaled
from artgen.engine.device import Placement
from artgen.errors import NonFiniteError
from artgen.events import Listener, Note

Change = Callable[[Any, int, torch.Tensor], torch.Tensor]


class _Arriving:
    """A few flags of a device, on their way to main memory."""

    def __init__(self, flags: torch.Tensor) -> None:
        self._here, self._arrived = flags, None
        if flags.is_cuda:
            self._here = torch.empty(flags.shape, dtype=flags.dtype, pin_memory=True).copy_(flags, non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record(torch.cuda.current_stream(flags.device))

    def values(self) -> list[bool]:
        """The flags, once they are here."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return [bool(flag) for flag in self._here.tolist()]


class Latents:
    """Called by diffusers after each step: reports it, and stops a batch that has lost every picture to NaN.

    A GPU is left a step to do while its last one is looked at: waiting for each would leave it idle in between.

    Attributes:
        change: makes the next step's latents out of this step's; None leaves them.
        last: latents of the last step, (pictures, channels, height, width) for most models.
    """

    def __init__(self, report: Callable[[int, int], None], pictures: int, change: Change | None = None) -> None:
        self.report = report
        self.change = change
        self.last: torch.Tensor | None = None
        self._lost_at: list[int | None] = [None] * pictures
        self._expected: deque[tuple[int, _Arriving]] = deque()

    def __call__(self, pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        self.last = tensors["latents"]
        self._expected.append((step + 1, _Arriving(torch.isfinite(self.last).flatten(1).all(1))))
        self._look(behind=1 if self.last.is_cuda else 0)
        if None not in self._lost_at:
            raise NonFiniteError("every picture is lost")
        self.report(step + 1, int(pipe.num_timesteps))
        if self.change is None:
            return {}
        self.last = self.change(pipe, step, self.last)
        return {"latents": self.last}

    @property
    def sound(self) -> list[bool]:
        """For each picture, whether all its latents were finite at every step so far."""
        self._look()
        return [step is None for step in self._lost_at]

    def _look(self, behind: int = 0) -> None:
        """Looks at all steps but the last ones."""
        while len(self._expected) > behind:
            step, finite = self._expected.popleft()
            for i, sound in enumerate(finite.values()):
                if not sound and self._lost_at[i] is None:
                    self._lost_at[i] = step

    def failure(self, picture: int, placement: Placement) -> NonFiniteError:
        """What to say of a picture that is lost."""
        step = self._lost_at[picture]
        where = f" at step {step}" if step is not None else " in the decoder"
        hint = "Try another --scheduler or more --steps; the model itself may be damaged (`artgen models verify`)."
        if placement.dtype != "fp32":
            hint = "Try --dtype fp32, or another --scheduler."
        return NonFiniteError(f"The model produced NaN or infinity{where}; nothing was written.", hint)


@dataclass
class Decoded:
    """Pictures as (pictures, height, width, 3), 0 to 1, and whether the safety filter withheld each."""

    pixels: np.ndarray
    filtered: list[bool]


def decode_again(pipe: Any, decoded: Decoded, latents: Latents, listener: Listener) -> bool:
    """Decodes once more in fp32 where latents are sound and pixels are not: decoders overflow in low precision.

    Changes `decoded` in place; says whether it did. The safety filter looks at what comes out.
    """
    last, vae = latents.last, pipe.vae
    broken = [i for i, sound in enumerate(latents.sound) if sound and not np.isfinite(decoded.pixels[i]).all()]
    reachable = last is not None and last.ndim == 4 and not any(p.is_meta for p in vae.parameters())
    if not broken or last is None or not reachable or vae.dtype == torch.float32:
        return False
    listener(Note("the decoder overflowed; decoding again in fp32"))
    dtype = vae.dtype
    try:
        vae.to(torch.float32)
        for i in broken:
            with torch.no_grad():
                image = vae.decode(unscaled(last[i : i + 1].float(), vae.config)).sample
            if getattr(pipe, "safety_checker", None) is not None:
                image, flags = pipe.run_safety_checker(image, image.device, dtype)
                decoded.filtered[i] = bool(flags[0])
            decoded.pixels[i] = pipe.image_processor.postprocess(image.float(), output_type="np")[0]
    finally:
        vae.to(dtype)
    return True
