"""Denoise: a noisy picture enters a diffusion model at the noise it has; no noise is added.

The noisy picture, scaled, is the model's own state at one of its timesteps. One call of the network there gives the
mean of all clean pictures it may come from, which is best by PSNR; a few DDIM steps give one of them, which looks
sharper (Li et al., TPAMI 2024, arXiv 2307.03992). `fidelity` blends the two, fidelity * mean + (1 - fidelity) * sample
(Dornbusch et al., A Simple Combination of Diffusion Models for Better Quality Trade-Offs in Image Denoising, arXiv
2503.14654).
"""

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image

import artgen
from artgen.engine import noise
from artgen.engine.denoising import classical, latent, networks
from artgen.engine.denoising.sampling import sample, turned
from artgen.engine.denoising.strip import Strip
from artgen.engine.device import Placement
from artgen.engine.outcomes import Picture
from artgen.errors import UsageError
from artgen.events import Listener, ModelChosen, Note
from artgen.prepare import Prepared
from artgen.records import to_record
from artgen.requests import Denoise
from artgen.settings import Frames

NOTHING = 0.5
"""Grey levels of noise below which a method without a smallest level leaves the picture alone."""

LATENT = "latent denoising is creative clean-up: the autoencoder limits fidelity and details are drawn anew"

CLASSICAL: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "tv": classical.total_variation,
    "nlm": classical.non_local_means,
}

Step = Callable[[int, int], None]


@dataclass(frozen=True)
class Pixels:
    """A picture as numbers.

    Attributes:
        colours: (channels, height, width), float32, 0 to 255; one channel when it is grey.
        alpha: mode L (and its lower bytes), None without transparency.
        mode: L or RGB, as the file has it.
        deep: whether it has 16 bits a channel.
    """

    colours: np.ndarray
    alpha: tuple[Image.Image, Image.Image | None] | None
    mode: str
    deep: bool


def denoise(
    job: Prepared,
    placement: Placement,
    listener: Listener,
    step: Step,
    halvings: int = 0,
    frames: Frames | None = None,
) -> Picture:
    """Removes the noise from a picture.

    Args:
        job: of a `Denoise` request.
        placement: where the model runs.
        listener: is told what is found and used.
        step: is told of network calls done, and of how many.
        halvings: how often tiles are made half as large, to save memory.
        frames: what to show of it, in `Picture.frames`.

    Raises:
        ModelUnavailableError: weights are missing, damaged or of another kind.
        NonFiniteError: the model produced NaN or infinity.
        MemoryError: tiles cannot be made smaller so often.
    """
    request = job.request
    if not isinstance(request, Denoise):
        raise TypeError(f"a {request.task} job is not denoised")
    pixels = read_pixels(job)
    sigma, estimated = _sigma(request, pixels, listener)
    facts: dict[str, Any] = {"artgen": artgen.__version__, "sigma_estimated": estimated}
    settled: dict[str, Any] = {"sigma": f"{sigma:g}"}
    strip = Strip(frames, request.steps or 1)
    if request.method in CLASSICAL:
        facts["scikit-image"] = importlib.metadata.version("scikit-image")
        step(0, 1)
        clean = CLASSICAL[request.method](pixels.colours, sigma) if sigma >= NOTHING else _unchanged(pixels, listener)
        step(1, 1)
    else:
        settled |= {"device": placement.device, "dtype": placement.dtype}
        facts |= {"torch": torch.__version__, "diffusers": diffusers.__version__}
        listener(ModelChosen(job.model.name, placement.device, placement.dtype))
        task = _Task(job, pixels, sigma, placement, listener)
        if request.method == "latent":
            facts["transformers"] = transformers.__version__
            clean = _in_latents(request, task, step, strip)
        else:
            clean = _in_pixels(request, task, step, strip, halvings)
    request = request.replace(**settled)
    facts = {name: value for name, value in {**job.facts, **facts}.items() if value not in (None, "", [])}
    image, low = write_pixels(pixels, clean)
    before = [write_pixels(pixels, _like(pixels, each))[0] for each in strip.frames]
    return Picture(image, to_record(request, facts), request, low, (*before, image) if frames else ())


def _sigma(request: Denoise, pixels: Pixels, listener: Listener) -> tuple[float, float | None]:
    """The noise to remove, in grey levels, and the estimate where one was made."""
    asked, factor = request.asked
    if asked is not None:
        return asked, None
    shown = pixels.colours[0] if len(pixels.colours) == 1 else pixels.colours.transpose(1, 2, 0)
    found = noise.estimate_sigma(np.ascontiguousarray(shown))
    estimated = round(found.sigma, 2)
    listener(Note(f"estimated noise: sigma {estimated:g} of 255 grey levels"))
    if not found.white:
        listener(Note(f"the noise is not white ({found.why}); some of it may stay, and --sigma may suit it better"))
    return round(estimated * factor, 2), estimated


def _unchanged(pixels: Pixels, listener: Listener) -> np.ndarray:
    listener(Note("there is too little noise to remove; the picture is left as it is"))
    return pixels.colours


@dataclass(frozen=True)
class _Task:
    """What a model is to denoise, where, and who is told of it; sigma in grey levels."""

    job: Prepared
    pixels: Pixels
    sigma: float
    placement: Placement
    listener: Listener


def _in_pixels(request: Denoise, task: _Task, step: Step, strip: Strip, halvings: int) -> np.ndarray:
    pixels, sigma, model = task.pixels, task.sigma, task.job.model
    network = networks.load(model, task.placement, task.listener)
    for _ in range(halvings):
        smaller = network.smaller()
        if smaller is None:
            raise MemoryError
        network = smaller
    levels = network.levels
    if sigma < levels.smallest:
        return _unchanged(pixels, task.listener)
    if sigma > levels.largest:
        task.listener(Note(f"{model.name} knows noise up to sigma {levels.largest:.4g}; that is used"))
        sigma = levels.largest
    noisy = pixels.colours
    steps, runs = request.steps or 1, request.ensemble or 1
    planes = [noisy[i : i + 1] for i in range(len(noisy))] if network.channels == 1 else [_spread(noisy)]
    calls = _Calls(step, steps * runs * len(planes) * network.tiling.count(*noisy.shape[1:]))

    def mean(state: np.ndarray, level: float) -> np.ndarray:
        def tile(part: np.ndarray) -> np.ndarray:
            found = network.mean(part, level)
            calls.one_more()
            return found

        return network.tiling.run(tile, state)

    def once(state: np.ndarray, run: int = 0) -> np.ndarray:
        random = np.random.default_rng([request.seed or 0, run])
        first, last = sample(mean, state, levels.descent(sigma, steps), request.eta or 0.0, random, strip.see)
        strip.end()
        return _blended(first, last, request.fidelity or 0.0)

    def way(state: np.ndarray) -> np.ndarray:
        strip.begin()
        if request.eta:
            mean_of_runs: np.ndarray = np.stack([once(state, run) for run in range(runs)]).mean(axis=0)
            return mean_of_runs
        return turned(once, state, runs)

    found = np.concatenate([way(plane) for plane in planes])
    strip.join_planes()
    return _like(pixels, found)


def _in_latents(request: Denoise, task: _Task, step: Step, strip: Strip) -> np.ndarray:
    task.listener(Note(LATENT))
    denoiser = latent.load(task.job.model, task.job.loras, task.placement, task.listener)
    noisy = _spread(task.pixels.colours)
    runs = request.ensemble or 1
    tiles = denoiser.tiling.count(*noisy.shape[1:])
    calls = _Calls(step, runs * tiles)

    def tile(part: np.ndarray) -> np.ndarray:
        first = calls.done < tiles
        found, shown = denoiser.clean(part, task.sigma, request.steps or 1, strip.wanted if first else None)
        if first:
            strip.add_part(shown)
        calls.one_more()
        return found

    def way(state: np.ndarray) -> np.ndarray:
        return denoiser.tiling.run(tile, state)

    found = turned(way, noisy, runs)
    strip.join_tiles(denoiser.tiling, noisy)
    return _like(task.pixels, found)


def _like(pixels: Pixels, found: np.ndarray) -> np.ndarray:
    """One channel for a picture that is grey."""
    return found.mean(0, keepdims=True) if len(pixels.colours) == 1 else found


def _blended(first: np.ndarray, last: np.ndarray, fidelity: float) -> np.ndarray:
    share = np.float32(fidelity)
    return share * first + (1 - share) * last if fidelity else last


def _spread(colours: np.ndarray) -> np.ndarray:
    """Three channels, of a grey picture the same three times."""
    return np.repeat(colours, 3, axis=0) if len(colours) == 1 else colours


class _Calls:
    """Counts what is done."""

    def __init__(self, step: Step, total: int) -> None:
        self._step = step
        self._total = total
        self.done = 0
        step(0, total)

    def one_more(self) -> None:
        self.done += 1
        self._step(self.done, self._total)


def read_pixels(job: Prepared) -> Pixels:
    """The picture of a job as numbers; colour files whose channels are all equal are grey."""
    if job.image is None:
        raise UsageError("denoise needs a picture to start from.", "artgen denoise input.png")
    values = _bands(job.image).astype(np.float32)
    if job.low is not None:
        values = (values * 256 + _bands(job.low)) / 257
    alpha = None
    if job.image.mode in ("LA", "RGBA"):
        values = values[:-1]
        alpha = job.image.getchannel("A"), job.low.getchannel("A") if job.low else None
    grey = len(values) == 1 or bool((values == values[:1]).all())
    mode = job.image.mode.removesuffix("A")
    return Pixels(np.ascontiguousarray(values[:1] if grey else values), alpha, mode, job.low is not None)


def write_pixels(pixels: Pixels, clean: np.ndarray) -> tuple[Image.Image, Image.Image | None]:
    """A picture like the one that was read, and its lower bytes where it has 16 bits a channel."""
    if len(clean) == 1 and pixels.mode == "RGB":
        clean = np.repeat(clean, 3, axis=0)
    if not pixels.deep:
        return _image(np.rint(np.clip(clean, 0, 255)).astype(np.uint8), pixels, 0), None
    values = np.rint(np.clip(clean.astype(np.float64) * 257, 0, 65535)).astype(np.uint16)
    return _image((values >> 8).astype(np.uint8), pixels, 0), _image((values & 255).astype(np.uint8), pixels, 1)


def _bands(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def _image(values: np.ndarray, pixels: Pixels, half: int) -> Image.Image:
    image = Image.fromarray(values[0] if pixels.mode == "L" else np.ascontiguousarray(values.transpose(1, 2, 0)))
    if pixels.alpha is not None and (alpha := pixels.alpha[half]) is not None:
        image.putalpha(alpha)
    return image
