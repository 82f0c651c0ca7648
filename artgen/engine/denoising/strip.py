"""The frames of denoising: states and estimates of one run, over all parts of a picture."""

from collections.abc import Sequence

import numpy as np

from artgen.engine.denoising.tiles import Tiling
from artgen.engine.frames import MOST
from artgen.settings import Frames


class Strip:
    """Takes what the first run of each part (a plane of colour, or a tile) shows, step by step.

    All pictures are (channels, height, width), float32, 0 to 255.
    """

    def __init__(self, wanted: Frames | None, steps: int) -> None:
        """`wanted` None takes nothing."""
        self.wanted = wanted
        self._steps = steps
        self._parts: list[list[np.ndarray]] = []
        self._calls = 0
        self._open = False
        self.frames: list[np.ndarray] = []

    def begin(self) -> None:
        """The next part: what comes until `end` belongs to it."""
        self._parts.append([])
        self._calls, self._open = 0, self.wanted is not None

    def end(self) -> None:
        """The part's first run is over; what comes until the next `begin` is not shown."""
        self._open = False

    def see(self, state: np.ndarray, clean: np.ndarray) -> None:
        """One step. The last estimate is left out: it is the picture itself."""
        if not self._open or self.wanted is None:
            return
        estimate = self.wanted.frames_of == "estimate"
        every = self.wanted.every or -(-self._steps // MOST)
        if self._calls % every == 0 and not (estimate and self._calls == self._steps - 1):
            self._parts[-1].append(clean if estimate else state)
        self._calls += 1

    def add_part(self, pictures: Sequence[np.ndarray]) -> None:
        """All frames of one more part, chosen already."""
        self._parts.append(list(pictures))

    def join_planes(self) -> None:
        """Makes `frames`, where parts are planes of colour."""
        self.frames = [np.concatenate(planes) for planes in zip(*self._parts, strict=True)]

    def join_tiles(self, tiling: Tiling, picture: np.ndarray) -> None:
        """Makes `frames`, where parts are the tiles that `tiling` cuts `picture` into, in its order."""

        def frame(number: int) -> np.ndarray:
            tiles = iter(self._parts)
            return tiling.run(lambda _: next(tiles)[number], picture)

        self.frames = [frame(number) for number in range(min(map(len, self._parts), default=0))]
