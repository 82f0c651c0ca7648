"""The frames of denoising: states and estimates of one run, over all parts of a picture."""

from collections.abc import Sequence

import numpy as np

from artgen.engine.denoise.tiling import Tiling
from artgen.engine.sampling.frames import MAX_FRAMES
from artgen.spec.settings import FramesSettings


class FrameCollector:
    """Takes what the first run of each part (a plane of colour, or a tile) shows, step by step.

    All pictures are (channels, height, width), float32, 0 to 255.
    """

    def __init__(self, frame_settings: FramesSettings | None, num_steps: int) -> None:
        """`frame_settings` None takes nothing."""
        self.frame_settings = frame_settings
        self._num_steps = num_steps
        self._parts: list[list[np.ndarray]] = []
        self._step_index = 0
        self._recording = False
        self.frames: list[np.ndarray] = []

    def start_part(self) -> None:
        """The next part: what comes until `end` belongs to it."""
        self._parts.append([])
        self._step_index, self._recording = 0, self.frame_settings is not None

    def finish_part(self) -> None:
        """The part's first run is over; what comes until the next `begin` is not shown."""
        self._recording = False

    def on_step(self, state: np.ndarray, x0: np.ndarray) -> None:
        """One step. The last estimate is left out: it is the picture itself."""
        if not self._recording or self.frame_settings is None:
            return
        estimate = self.frame_settings.frames_show == "x0"
        every = self.frame_settings.frame_interval or -(-self._num_steps // MAX_FRAMES)
        if self._step_index % every == 0 and not (estimate and self._step_index == self._num_steps - 1):
            self._parts[-1].append(x0 if estimate else state)
        self._step_index += 1

    def add_part(self, frames: Sequence[np.ndarray]) -> None:
        """All frames of one more part, chosen already."""
        self._parts.append(list(frames))

    def merge_channels(self) -> None:
        """Makes `frames`, where parts are planes of colour."""
        self.frames = [np.concatenate(planes) for planes in zip(*self._parts, strict=True)]

    def merge_tiles(self, tiling: Tiling, image: np.ndarray) -> None:
        """Makes `frames`, where parts are the tiles that `tiling` cuts `image` into, in its order."""

        def frame(number: int) -> np.ndarray:
            tiles = iter(self._parts)
            return tiling.apply(lambda _: next(tiles)[number], image)

        self.frames = [frame(number) for number in range(min(map(len, self._parts), default=0))]
