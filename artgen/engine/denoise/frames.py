"""Collect the frames of a denoising run over all parts of an image."""

from collections.abc import Sequence

import numpy as np

from artgen.engine.denoise.tiling import Tiling
from artgen.engine.sampling.frames import MAX_FRAMES
from artgen.spec.settings import FramesSettings


class FrameCollector:
    """Collect the frames of the first run of each part of an image. A part is a color channel or a tile.

    All arrays are images of shape (C, H, W), float32, 0 to 255.

    Attributes:
        frame_settings: contents of the frames; None collects nothing.
        frames: frames of the complete image; empty before `merge_channels` or `merge_tiles`.
    """

    def __init__(self, frame_settings: FramesSettings | None, num_steps: int) -> None:
        self.frame_settings = frame_settings
        self.frames: list[np.ndarray] = []
        self._num_steps = num_steps
        self._parts: list[list[np.ndarray]] = []
        self._step_index = 0
        self._recording = False

    def start_part(self) -> None:
        """Start to collect the frames of the next part."""
        self._parts.append([])
        self._step_index, self._recording = 0, self.frame_settings is not None

    def finish_part(self) -> None:
        """Ignore all steps until the next `start_part`."""
        self._recording = False

    def on_step(self, state: np.ndarray, x0: np.ndarray) -> None:
        """Collect the frame of a step. The x0 of the last step is omitted, because it is the result."""
        if not self._recording or self.frame_settings is None:
            return
        show_x0 = self.frame_settings.frames_show == "x0"
        interval = self.frame_settings.frame_interval or -(-self._num_steps // MAX_FRAMES)
        if self._step_index % interval == 0 and not (show_x0 and self._step_index == self._num_steps - 1):
            self._parts[-1].append(x0 if show_x0 else state)
        self._step_index += 1

    def add_part(self, frames: Sequence[np.ndarray]) -> None:
        """Add a part whose frames are already selected."""
        self._parts.append(list(frames))

    def merge_channels(self) -> None:
        """Create `frames` from parts that are color channels."""
        self.frames = [np.concatenate(channels) for channels in zip(*self._parts, strict=True)]

    def merge_tiles(self, tiling: Tiling, image: np.ndarray) -> None:
        """Create `frames` from parts that are tiles, in the order in which `tiling` visits the tiles of `image`."""

        def merge_frame(frame_index: int) -> np.ndarray:
            tiles = iter(self._parts)
            return tiling.apply(lambda _: next(tiles)[frame_index], image)

        self.frames = [merge_frame(index) for index in range(min(map(len, self._parts), default=0))]
