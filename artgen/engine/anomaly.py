"""Anomaly: how surprising a picture is, and where.

A picture is noised to several levels and denoised by a diffusion model; what the model does not expect does not come
back (AnoDDPM, Wyatt et al., CVPR workshops 2022; Graham et al., arXiv 2211.07740). How much of a difference is usual,
where, is learnt from normal pictures.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes

from artgen.anomalies import Anomaly, Known, Prepared, load, prepare
from artgen.engine.anomalies import latents, reconstructions
from artgen.engine.anomalies.comparing import Comparison, channels, compare, grid
from artgen.engine.anomalies.normality import Normality, Surprise, learn, p_value, unfitted
from artgen.engine.denoising import networks
from artgen.engine.device import place
from artgen.engine.memory import is_exhaustion
from artgen.errors import InputFileError, MemoryExhaustedError, NonFiniteError
from artgen.events import Listener, ModelChosen, Note, Step, ignore


@dataclass(frozen=True)
class Normal:
    """What was learnt from normal pictures.

    Attributes:
        known: which pictures, and how they were looked at.
        normality: their statistics.
        scores: (pictures,), of each by the statistics of the others.
    """

    known: Known
    normality: Normality
    scores: NDArray[np.float64]

    def threshold(self, alpha: float) -> float:
        """The score from which on a picture is surprising."""
        return float(np.sort(self.scores)[-max(1, int(alpha * (len(self.scores) + 1) + 1e-9))])

    def packed(self) -> bytes:
        """As the bytes of a .safetensors file."""
        parts = {name: np.ascontiguousarray(getattr(self.normality, name)) for name in _PARTS}
        return to_bytes({**parts, "scores": self.scores}, metadata=self.known.header())


_PARTS = ("mean", "places", "deviation", "whitening", "offset")


@dataclass(frozen=True)
class Finding:
    """What was found in one picture.

    Attributes:
        path: its file.
        image: mode RGB, as it was looked at, at the size of the file.
        heat: (height, width), float32: how surprising each pixel is, in the unit of `score`.
        score: the mean of the most surprising fiftieth of places, 0 up and 1 usual; with a prompt and nothing normal,
            above 0 where the model explains the picture better without the prompt.
        p_value: how often a normal picture is at least as surprising; None where nothing normal was given.
        threshold: the score from which on a picture is surprising; None likewise.
        alpha: what the p-value is held to.
    """

    path: Path
    image: Image.Image
    heat: NDArray[np.float32]
    score: float
    p_value: float | None
    threshold: float | None
    alpha: float

    @property
    def surprising(self) -> bool | None:
        """The verdict; None where nothing normal was given."""
        return None if self.p_value is None else self.p_value <= self.alpha

    @property
    def peak(self) -> tuple[int, int]:
        """(x, y) of the most surprising pixel."""
        y, x = np.unravel_index(int(self.heat.argmax()), self.heat.shape)
        return int(x), int(y)


def find_anomalies(
    pictures: Sequence[str | Path], request: Anomaly | None = None, *, listener: Listener = ignore
) -> Iterator[Finding]:
    """Looks at pictures, in order, for what is not normal.

    Args:
        pictures: files.
        request: how, and beside which normal pictures (`fit`); without one, scores of the bundled denoiser.
        listener: is told of loading, steps and notes (`artgen.events`).

    Raises:
        UsageError, InputFileError, ModelUnavailableError, RefusedError: before any model is loaded.
        NonFiniteError: the model produced NaN or infinity.
    """
    job = prepare(request or Anomaly(), listener)
    paths = [Path(path) for path in pictures]
    for path in paths:
        job.check_size(path, load(path).image.size)
    eye = Eye(job, listener)
    normal = eye.learn() if job.normal else read(job)
    for number, path in enumerate(paths, 1):
        yield eye.look(path, normal, number, len(paths))


class Eye:
    """A model, ready to look at pictures."""

    def __init__(self, job: Prepared, listener: Listener) -> None:
        """Loads the model.

        Raises:
            ModelUnavailableError: weights are missing or damaged.
        """
        self._job = job
        self._listener = listener
        look, placement = job.look, place(job.request.device, job.request.dtype)
        listener(ModelChosen(job.model.name, placement.device, placement.dtype))
        if look.method == "latent":
            self._words = latents.load(job.model, look.prompt, placement, listener)
        else:
            self._network = networks.load(job.model, placement, listener)

    def learn(self) -> Normal:
        """What the normal pictures of the request have in common.

        Raises:
            InputFileError: one of them cannot be used.
            NonFiniteError: the model produced NaN or infinity.
        """
        job, maps, sizes, hashes = self._job, [], set(), []
        self._listener(Note(f"learning what is normal from {len(job.normal)} pictures"))
        for number, path in enumerate(job.normal, 1):
            loaded = load(path)
            maps.append(self.compared(loaded.image, number, len(job.normal)).maps)
            sizes.add(job.seen(loaded.image.size))
            hashes.append(loaded.sha256)
        size = sizes.pop() if len(sizes) == 1 else None
        normality, scores = learn(maps, local=size is not None)
        self._listener(Note(_standardised(size, len(set(hashes)), len(hashes))))
        return Normal(Known(job.look, size, tuple(hashes)), normality, scores)

    def look(self, path: Path, normal: Normal | None, number: int = 1, total: int = 1) -> Finding:
        """How surprising a picture is, and where; `number` of `total` is for the listener.

        Raises:
            InputFileError: it cannot be used, or has another size than all normal pictures.
            NonFiniteError: the model produced NaN or infinity.
        """
        loaded, alpha = load(path), self._job.request.alpha
        for text in loaded.notes:
            self._listener(Note(text))
        if normal is not None:
            replace(self._job, known=normal.known).check_size(path, loaded.image.size)
        compared = self.compared(loaded.image, number, total)
        if normal is None:
            found = unfitted(compared)
            return Finding(path, loaded.image, _heat(found, loaded.image.size), found.score, None, None, alpha)
        if loaded.sha256 in normal.known.pictures:
            self._listener(Note(f"'{path.name}' is one of the normal pictures; its p-value is too large"))
        found = normal.normality.surprise(compared.maps)
        heat, p = _heat(found, loaded.image.size), p_value(found.score, normal.scores)
        return Finding(path, loaded.image, heat, found.score, p, normal.threshold(alpha), alpha)

    def compared(self, image: Image.Image, number: int = 1, total: int = 1) -> Comparison:
        """How a picture, mode RGB, differs from what the model makes of it.

        Raises:
            NonFiniteError: the model produced NaN or infinity.
        """
        look, seen, done = self._job.look, self._job.seen(image.size), 0
        image = image if image.size == seen else image.resize(seen, Image.Resampling.LANCZOS)
        pixels = np.ascontiguousarray(np.asarray(image, np.float32).transpose(2, 0, 1))
        size = pixels.shape[1:]
        if look.method == "latent":
            steps = latents.calls(look.levels, look.draws)
        else:
            steps = reconstructions.calls(self._network, size, look.levels, look.draws)

        def step() -> None:
            nonlocal done
            done += 1
            self._listener(Step(min(done, steps), steps, number, 1, total))

        self._listener(Step(0, steps, number, 1, total))
        given = (pixels, look.levels, look.draws, look.seed, step)
        try:
            if look.method == "latent":
                compared = compare(list(self._words.rebuilt(*given)), size)
            else:
                compared = compare(list(reconstructions.in_pixels(self._network, *given)), size)
        except (MemoryError, RuntimeError) as error:
            if not is_exhaustion(error):
                raise
            wide, high = seen
            raise MemoryExhaustedError(
                f"Out of memory for {wide}x{high} pixels.", "Make the picture smaller, or use --device cpu."
            ) from None
        if not np.isfinite(compared.maps).all():
            raise NonFiniteError("The model produced NaN or infinity.", "Try --dtype fp32.")
        return compared


def read(job: Prepared) -> Normal | None:
    """The fit that a request names; None where it names none.

    Raises:
        InputFileError: its file is damaged.
    """
    if job.known is None or job.request.fit is None:
        return None
    try:
        parts = load_file(job.request.fit)
        normal = Normal(job.known, Normality(**{name: parts[name] for name in _PARTS}), parts["scores"])
        _check_parts(normal)
    except (KeyError, OSError, ValueError, SafetensorError) as error:
        raise InputFileError(f"'{job.request.fit}' is damaged: {error}.", "Fit again.") from error
    return normal


def _check_parts(normal: Normal) -> None:
    """Raises ValueError for a fit whose parts are not those of its header."""
    look, size = normal.known.look, normal.known.size
    count = len(look.levels) * channels(prompted=bool(look.prompt))
    places = grid(size[1], size[0]) if size else (1, 1)
    shapes = {"mean": (count,), "offset": (count,), "whitening": (count, count)}
    shapes |= {"places": (count, *places), "deviation": (count, *places)}
    for name, shape in shapes.items():
        if getattr(normal.normality, name).shape != shape:
            raise ValueError(f"{name} has not the shape {shape}")
    if normal.scores.shape != (len(normal.known.pictures),):
        raise ValueError("a score is missing")


def _standardised(size: tuple[int, int] | None, different: int, count: int) -> str:
    how = f"at each place, as all are {size[0]}x{size[1]}" if size else "over all places, as their sizes differ"
    twice = f"; only {different} of {count} differ from each other" if different < count else ""
    return f"scores are standardised {how}{twice}"


def _heat(found: Surprise, size: tuple[int, int]) -> NDArray[np.float32]:
    places = torch.from_numpy(np.ascontiguousarray(found.places, np.float32))[None, None]
    larger = torch.nn.functional.interpolate(places, size=size[::-1], mode="bilinear", align_corners=False)
    heat: NDArray[np.float32] = larger[0, 0].numpy()
    return heat
