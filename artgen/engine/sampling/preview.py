"""Send small images of the predicted x0 while a pipeline runs, for `--preview`. The result does not change."""

import time

import torch

from artgen.engine.loading.device import DeviceConfig
from artgen.engine.memory_settings import MemorySettings
from artgen.engine.sampling.frames import StepRecorder
from artgen.events import Listener, Notice, Preview
from artgen.spec.settings import FramesSettings

PREVIEW_SECONDS = 0.5
"""Minimum time between two previews."""

MAX_TIME_SHARE = 0.05
"""Maximum share of the time that previews take."""

MAX_LATENT_SIDE = 24
"""Maximum width and height of the decoded latents. The VAE enlarges them by 8 in most models."""

MAX_PIXEL_SIDE = 128
"""Maximum width and height of a preview of a pixel-space model."""

PREVIEW_FRAMES = FramesSettings(frames_show="x0", frame_interval=1)
"""Settings of the recorder of previews."""


def can_decode(memory_settings: MemorySettings, device_config: DeviceConfig, listener: Listener) -> bool:
    """Return whether the VAE can decode between two steps. Offloading on a GPU would move the denoiser away."""
    if memory_settings.offload in (None, "none") or not device_config.is_gpu:
        return True
    listener(Notice(f"No preview is shown: --offload {memory_settings.offload} keeps the VAE out of GPU memory."))
    return False


class PreviewSender:
    """Decode the first image of the pipeline call after a step, if enough time has passed, and send an event."""

    def __init__(self, recorder: StepRecorder, listener: Listener, *, has_vae: bool) -> None:
        """Attach the sender to a recorder that no other code uses.

        Args:
            recorder: recorder of the pipeline call, with `PREVIEW_FRAMES`.
            listener: receives the events.
            has_vae: the model denoises latents.
        """
        self._recorder = recorder
        self._listener = listener
        self._max_side = MAX_LATENT_SIDE if has_vae else MAX_PIXEL_SIDE
        self._next_time = 0.0
        recorder.on_step = self._on_step

    def _on_step(self) -> None:
        start = time.monotonic()
        snapshots, self._recorder.snapshots = self._recorder.snapshots, []
        if not snapshots or start < self._next_time:
            return
        latents = _reduce(snapshots[-1].latents[0], self._max_side)
        for image in self._recorder.decode([latents]):
            self._listener(Preview(image))
        seconds = time.monotonic() - start
        self._next_time = start + max(PREVIEW_SECONDS, seconds / MAX_TIME_SHARE)


def _reduce(latents: torch.Tensor, max_side: int) -> torch.Tensor:
    """Return latents, shape (C, h, w), of at most this width and height, with about the same aspect ratio."""
    height, width = latents.shape[-2:]
    scale = min(1.0, max_side / max(height, width))
    if scale == 1:
        return latents
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return torch.nn.functional.interpolate(latents[None].float(), size, mode="area")[0]
