"""Detect NaN and infinity during sampling. Decode again in fp32 if only the VAE overflowed."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from artgen.engine.loading.device import DeviceConfig
from artgen.engine.sampling.vae import unscale_latents
from artgen.errors import NonFiniteError
from artgen.events import Listener, Notice


class StepCallback(Protocol):
    """Change the latents after a step.

    Attributes:
        variables: Names of the variables of the pipeline that the callback needs besides the latents.
    """

    variables: tuple[str, ...]

    def __call__(self, pipe: Any, step: int, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the latents for the next step.

        Args:
            pipe: Pipeline.
            step: Completed step, counted from 0.
            values: Value of `latents` and of each name in `variables`.
        """


class _AsyncFlags:
    """Copy flags from a device to main memory without blocking."""

    def __init__(self, flags: torch.Tensor) -> None:
        self._host_flags, self._copy_event = flags, None
        if flags.is_cuda:
            self._host_flags = torch.empty(flags.shape, dtype=flags.dtype, pin_memory=True).copy_(
                flags, non_blocking=True
            )
            self._copy_event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copy_event.record(torch.cuda.current_stream(flags.device))

    def values(self) -> list[bool]:
        """Return the flags. Wait for the copy to complete."""
        if self._copy_event is not None:
            self._copy_event.synchronize()
        return [bool(flag) for flag in self._host_flags.tolist()]


class NanGuard:
    """Check the latents after each step. diffusers calls the guard as `callback_on_step_end`.

    The guard reports each step, and stops a batch when every image contains NaN or infinity. On a GPU the flags of a
    step are read one step later, so that the GPU does not wait for the CPU.

    Attributes:
        on_step: Receives the number of completed steps and the number of steps.
        step_callback: Changes the latents for the next step. None: nothing is changed.
        last_latents: Latents of the last step. Shape (B, C, H/f, W/f) for most models.
    """

    def __init__(
        self, on_step: Callable[[int, int], None], num_images: int, step_callback: StepCallback | None = None
    ) -> None:
        self.on_step = on_step
        self.step_callback = step_callback
        self.last_latents: torch.Tensor | None = None
        self._first_nonfinite_steps: list[int | None] = [None] * num_images
        self._pending_flags: deque[tuple[int, _AsyncFlags]] = deque()

    def __call__(self, pipe: Any, step: int, timestep: Any, callback_kwargs: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        self.last_latents = callback_kwargs["latents"]
        self._pending_flags.append((step + 1, _AsyncFlags(torch.isfinite(self.last_latents).flatten(1).all(1))))
        self._process_flags(max_pending=1 if self.last_latents.is_cuda else 0)
        if None not in self._first_nonfinite_steps:
            raise NonFiniteError("Every image of the batch contains NaN or infinity.")
        # Older pipelines have no `num_timesteps`.
        self.on_step(step + 1, int(getattr(pipe, "num_timesteps", 0) or len(pipe.scheduler.timesteps)))
        if self.step_callback is None:
            return {}
        self.last_latents = self.step_callback(pipe, step, callback_kwargs)
        return {"latents": self.last_latents}

    @property
    def finite(self) -> list[bool]:
        """Return for each image whether its latents were finite at every step so far."""
        self._process_flags()
        return [step is None for step in self._first_nonfinite_steps]

    def _process_flags(self, max_pending: int = 0) -> None:
        """Read the flags of all steps except the last `max_pending` steps."""
        while len(self._pending_flags) > max_pending:
            step, finite = self._pending_flags.popleft()
            for i, is_finite in enumerate(finite.values()):
                if not is_finite and self._first_nonfinite_steps[i] is None:
                    self._first_nonfinite_steps[i] = step

    def nonfinite_error(self, index: int, device_config: DeviceConfig) -> NonFiniteError:
        """Return the error for image `index` of the batch."""
        step = self._first_nonfinite_steps[index]
        where = f"at step {step}" if step is not None else "in the VAE decoder"
        hint = "Use another --scheduler or more --steps. Check the model files with `artgen models verify`."
        if device_config.dtype != "fp32":
            hint = "Use --dtype fp32 or another --scheduler."
        return NonFiniteError(f"Cannot generate the image: the model produced NaN or infinity {where}.", hint)


@dataclass
class DecodedBatch:
    """Store the decoded images of a batch.

    Attributes:
        pixels: Images, shape (B, H, W, 3), range 0 to 1.
        filtered: Whether the safety filter withheld each image.
    """

    pixels: np.ndarray
    filtered: list[bool]


def redecode_fp32(pipe: Any, decoded: DecodedBatch, nan_guard: NanGuard, listener: Listener) -> bool:
    """Decode images again in fp32 if their latents are finite and their pixels are not.

    VAE decoders can overflow in fp16 and bf16. The function changes `decoded` in place and runs the safety filter on
    the new images. It returns whether it decoded an image again.
    """
    last, vae = nan_guard.last_latents, getattr(pipe, "vae", None)
    overflowed = [
        i for i, is_finite in enumerate(nan_guard.finite) if is_finite and not np.isfinite(decoded.pixels[i]).all()
    ]
    if vae is None:
        return False
    # Sequential offloading keeps the parameters on the meta device.
    is_decodable = last is not None and last.ndim == 4 and not any(p.is_meta for p in vae.parameters())
    if not overflowed or last is None or not is_decodable or vae.dtype == torch.float32:
        return False
    listener(Notice("The VAE decoder overflowed. Decoding again in fp32."))
    dtype = vae.dtype
    try:
        vae.to(torch.float32)
        for i in overflowed:
            with torch.no_grad():
                image = vae.decode(unscale_latents(last[i : i + 1].float(), vae.config)).sample
            if getattr(pipe, "safety_checker", None) is not None:
                image, flags = pipe.run_safety_checker(image, image.device, dtype)
                decoded.filtered[i] = bool(flags[0])
            decoded.pixels[i] = pipe.image_processor.postprocess(image.float(), output_type="np")[0]
    finally:
        vae.to(dtype)
    return True
