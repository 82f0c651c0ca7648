"""Watches for NaN and infinity, from the first step to the decoded pixels, and mends what can be mended."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from artgen.engine.loading.device import DeviceConfig
from artgen.engine.sampling.vae import unscale_latents
from artgen.errors import NonFiniteError
from artgen.events import Listener, Notice

LatentCallback = Callable[[Any, int, torch.Tensor], torch.Tensor]


class _AsyncFlags:
    """A few flags of a device, on their way to main memory."""

    def __init__(self, flags: torch.Tensor) -> None:
        self._host_flags, self._copy_event = flags, None
        if flags.is_cuda:
            self._host_flags = torch.empty(flags.shape, dtype=flags.dtype, pin_memory=True).copy_(
                flags, non_blocking=True
            )
            self._copy_event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copy_event.record(torch.cuda.current_stream(flags.device))

    def values(self) -> list[bool]:
        """The flags, once they are here."""
        if self._copy_event is not None:
            self._copy_event.synchronize()
        return [bool(flag) for flag in self._host_flags.tolist()]


class NanGuard:
    """Called by diffusers after each step: reports it, and stops a batch that has lost every picture to NaN.

    A GPU is left a step to do while its last one is looked at: waiting for each would leave it idle in between.

    Attributes:
        latent_callback: makes the next step's latents out of this step's; None leaves them.
        last_latents: latents of the last step, (pictures, channels, height, width) for most models.
    """

    def __init__(
        self, on_step: Callable[[int, int], None], num_images: int, latent_callback: LatentCallback | None = None
    ) -> None:
        self.on_step = on_step
        self.latent_callback = latent_callback
        self.last_latents: torch.Tensor | None = None
        self._first_nonfinite_steps: list[int | None] = [None] * num_images
        self._pending_flags: deque[tuple[int, _AsyncFlags]] = deque()

    def __call__(self, pipe: Any, step: int, timestep: Any, callback_kwargs: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        self.last_latents = callback_kwargs["latents"]
        self._pending_flags.append((step + 1, _AsyncFlags(torch.isfinite(self.last_latents).flatten(1).all(1))))
        self._process_flags(max_pending=1 if self.last_latents.is_cuda else 0)
        if None not in self._first_nonfinite_steps:
            raise NonFiniteError("every picture is lost")
        self.on_step(step + 1, int(pipe.num_timesteps))
        if self.latent_callback is None:
            return {}
        self.last_latents = self.latent_callback(pipe, step, self.last_latents)
        return {"latents": self.last_latents}

    @property
    def finite(self) -> list[bool]:
        """For each picture, whether all its latents were finite at every step so far."""
        self._process_flags()
        return [step is None for step in self._first_nonfinite_steps]

    def _process_flags(self, max_pending: int = 0) -> None:
        """Looks at all steps but the last ones."""
        while len(self._pending_flags) > max_pending:
            step, finite = self._pending_flags.popleft()
            for i, sound in enumerate(finite.values()):
                if not sound and self._first_nonfinite_steps[i] is None:
                    self._first_nonfinite_steps[i] = step

    def nonfinite_error(self, index: int, device_config: DeviceConfig) -> NonFiniteError:
        """What to say of a picture that is lost."""
        step = self._first_nonfinite_steps[index]
        where = f" at step {step}" if step is not None else " in the decoder"
        hint = "Try another --scheduler or more --steps; the model itself may be damaged (`artgen models verify`)."
        if device_config.dtype != "fp32":
            hint = "Try --dtype fp32, or another --scheduler."
        return NonFiniteError(f"The model produced NaN or infinity{where}; nothing was written.", hint)


@dataclass
class DecodedBatch:
    """Pictures as (pictures, height, width, 3), 0 to 1, and whether the safety filter withheld each."""

    pixels: np.ndarray
    filtered: list[bool]


def redecode_fp32(pipe: Any, decoded: DecodedBatch, nan_guard: NanGuard, listener: Listener) -> bool:
    """Decodes once more in fp32 where latents are sound and pixels are not: decoders overflow in low precision.

    Changes `decoded` in place; says whether it did. The safety filter looks at what comes out.
    """
    last, vae = nan_guard.last_latents, pipe.vae
    broken = [i for i, sound in enumerate(nan_guard.finite) if sound and not np.isfinite(decoded.pixels[i]).all()]
    reachable = last is not None and last.ndim == 4 and not any(p.is_meta for p in vae.parameters())
    if not broken or last is None or not reachable or vae.dtype == torch.float32:
        return False
    listener(Notice("the decoder overflowed; decoding again in fp32"))
    dtype = vae.dtype
    try:
        vae.to(torch.float32)
        for i in broken:
            with torch.no_grad():
                image = vae.decode(unscale_latents(last[i : i + 1].float(), vae.config)).sample
            if getattr(pipe, "safety_checker", None) is not None:
                image, flags = pipe.run_safety_checker(image, image.device, dtype)
                decoded.filtered[i] = bool(flags[0])
            decoded.pixels[i] = pipe.image_processor.postprocess(image.float(), output_type="np")[0]
    finally:
        vae.to(dtype)
    return True
