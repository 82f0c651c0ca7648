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

from artgen._version import __version__
from artgen.engine.denoise import classical, latent_denoiser, noise_estimate, pixel_denoiser
from artgen.engine.denoise.ddim import ddim_denoise, self_ensemble
from artgen.engine.denoise.frames import FrameCollector
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.results import GeneratedImage
from artgen.errors import UsageError
from artgen.events import Listener, ModelSelected, Notice
from artgen.jobs.prepare import Job
from artgen.spec.records import to_record
from artgen.spec.requests import Denoise
from artgen.spec.settings import FramesSettings

MIN_SIGMA = 0.5
"""Grey levels of noise below which a method without a smallest level leaves the picture alone."""

LATENT_METHOD_WARNING = (
    "latent denoising is creative clean-up: the autoencoder limits fidelity and details are drawn anew"
)

CLASSICAL_METHODS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "tv": classical.total_variation,
    "nlm": classical.non_local_means,
}

ProgressCallback = Callable[[int, int], None]


@dataclass(frozen=True)
class ImageArray:
    """A picture as numbers.

    Attributes:
        color: (channels, height, width), float32, 0 to 255; one channel when it is grey.
        alpha: mode L (and its lower bytes), None without transparency.
        mode: L or RGB, as the file has it.
        is_16bit: whether it has 16 bits a channel.
    """

    color: np.ndarray
    alpha: tuple[Image.Image, Image.Image | None] | None
    mode: str
    is_16bit: bool


def denoise(
    job: Job,
    device_config: DeviceConfig,
    listener: Listener,
    on_progress: ProgressCallback,
    tile_halvings: int = 0,
    frame_settings: FramesSettings | None = None,
) -> GeneratedImage:
    """Removes the noise from a picture.

    Args:
        job: of a `Denoise` request.
        device_config: where the model runs.
        listener: is told what is found and used.
        on_progress: is told of network calls done, and of how many.
        tile_halvings: how often tiles are made half as large, to save memory.
        frame_settings: what to show of it, in `Picture.frames`.

    Raises:
        ModelUnavailableError: weights are missing, damaged or of another kind.
        NonFiniteError: the model produced NaN or infinity.
        MemoryError: tiles cannot be made smaller so often.
    """
    request = job.request
    if not isinstance(request, Denoise):
        raise TypeError(f"a {request.task} job is not denoised")
    pixels = image_to_array(job)
    sigma, estimated = _resolve_sigma(request, pixels, listener)
    facts: dict[str, Any] = {"artgen": __version__, "sigma_estimated": estimated}
    settled: dict[str, Any] = {"sigma": f"{sigma:g}"}
    strip = FrameCollector(frame_settings, request.steps or 1)
    if request.method in CLASSICAL_METHODS:
        facts["scikit-image"] = importlib.metadata.version("scikit-image")
        on_progress(0, 1)
        clean = (
            CLASSICAL_METHODS[request.method](pixels.color, sigma)
            if sigma >= MIN_SIGMA
            else _copy_input(pixels, listener)
        )
        on_progress(1, 1)
    else:
        settled |= {"device": device_config.device, "dtype": device_config.dtype}
        facts |= {"torch": torch.__version__, "diffusers": diffusers.__version__}
        listener(ModelSelected(job.model.name, device_config.device, device_config.dtype))
        task = _ModelRun(job, pixels, sigma, device_config, listener)
        if request.method == "latent":
            facts["transformers"] = transformers.__version__
            clean = _denoise_latents(request, task, on_progress, strip)
        else:
            clean = _denoise_pixels(request, task, on_progress, strip, tile_halvings)
    request = request.replace(**settled)
    facts = {name: value for name, value in {**job.provenance, **facts}.items() if value not in (None, "", [])}
    image, low = array_to_image(pixels, clean)
    before = [array_to_image(pixels, _match_channels(pixels, each))[0] for each in strip.frames]
    return GeneratedImage(image, to_record(request, facts), request, low, (*before, image) if frame_settings else ())


def _resolve_sigma(request: Denoise, pixels: ImageArray, listener: Listener) -> tuple[float, float | None]:
    """The noise to remove, in grey levels, and the estimate where one was made."""
    asked, factor = request.sigma_spec
    if asked is not None:
        return asked, None
    shown = pixels.color[0] if len(pixels.color) == 1 else pixels.color.transpose(1, 2, 0)
    found = noise_estimate.estimate_sigma(np.ascontiguousarray(shown))
    estimated = round(found.sigma, 2)
    listener(Notice(f"estimated noise: sigma {estimated:g} of 255 grey levels"))
    if not found.is_white:
        listener(
            Notice(f"the noise is not white ({found.reason}); some of it may stay, and --sigma may suit it better")
        )
    return round(estimated * factor, 2), estimated


def _copy_input(pixels: ImageArray, listener: Listener) -> np.ndarray:
    listener(Notice("there is too little noise to remove; the picture is left as it is"))
    return pixels.color


@dataclass(frozen=True)
class _ModelRun:
    """What a model is to denoise, where, and who is told of it; sigma in grey levels."""

    job: Job
    pixels: ImageArray
    sigma: float
    device_config: DeviceConfig
    listener: Listener


def _denoise_pixels(
    request: Denoise,
    model_run: _ModelRun,
    on_progress: ProgressCallback,
    frame_collector: FrameCollector,
    tile_halvings: int,
) -> np.ndarray:
    pixels, sigma, model = model_run.pixels, model_run.sigma, model_run.job.model
    network = pixel_denoiser.load_pixel_denoiser(model, model_run.device_config, model_run.listener)
    for _ in range(tile_halvings):
        smaller = network.with_smaller_tiles()
        if smaller is None:
            raise MemoryError
        network = smaller
    levels = network.schedule
    if sigma < levels.min_sigma:
        return _copy_input(pixels, model_run.listener)
    if sigma > levels.max_sigma:
        model_run.listener(Notice(f"{model.name} knows noise up to sigma {levels.max_sigma:.4g}; that is used"))
        sigma = levels.max_sigma
    noisy = pixels.color
    steps, runs = request.steps or 1, request.self_ensemble or 1
    planes = [noisy[i : i + 1] for i in range(len(noisy))] if network.channels == 1 else [_to_rgb(noisy)]
    calls = _CallCounter(on_progress, steps * runs * len(planes) * network.tiling.num_tiles(*noisy.shape[1:]))

    def mean(state: np.ndarray, level: float) -> np.ndarray:
        def tile(part: np.ndarray) -> np.ndarray:
            found = network.predict_x0(part, level)
            calls.increment()
            return found

        return network.tiling.apply(tile, state)

    def once(state: np.ndarray, run: int = 0) -> np.ndarray:
        random = np.random.default_rng([request.seed or 0, run])
        first, last = ddim_denoise(
            mean, state, levels.sigmas_for(sigma, steps), request.eta or 0.0, random, frame_collector.on_step
        )
        frame_collector.finish_part()
        return _blend_by_fidelity(first, last, request.fidelity or 0.0)

    def way(state: np.ndarray) -> np.ndarray:
        frame_collector.start_part()
        if request.eta:
            mean_of_runs: np.ndarray = np.stack([once(state, run) for run in range(runs)]).mean(axis=0)
            return mean_of_runs
        return self_ensemble(once, state, runs)

    found = np.concatenate([way(plane) for plane in planes])
    frame_collector.merge_channels()
    return _match_channels(pixels, found)


def _denoise_latents(
    request: Denoise, model_run: _ModelRun, on_progress: ProgressCallback, frame_collector: FrameCollector
) -> np.ndarray:
    model_run.listener(Notice(LATENT_METHOD_WARNING))
    denoiser = latent_denoiser.load_latent_denoiser(
        model_run.job.model, model_run.job.loras, model_run.device_config, model_run.listener
    )
    noisy = _to_rgb(model_run.pixels.color)
    runs = request.self_ensemble or 1
    tiles = denoiser.tiling.num_tiles(*noisy.shape[1:])
    calls = _CallCounter(on_progress, runs * tiles)

    def tile(part: np.ndarray) -> np.ndarray:
        first = calls.done < tiles
        found, shown = denoiser.denoise_tile(
            part, model_run.sigma, request.steps or 1, frame_collector.frame_settings if first else None
        )
        if first:
            frame_collector.add_part(shown)
        calls.increment()
        return found

    def way(state: np.ndarray) -> np.ndarray:
        return denoiser.tiling.apply(tile, state)

    found = self_ensemble(way, noisy, runs)
    frame_collector.merge_tiles(denoiser.tiling, noisy)
    return _match_channels(model_run.pixels, found)


def _match_channels(pixels: ImageArray, denoised: np.ndarray) -> np.ndarray:
    """One channel for a picture that is grey."""
    return denoised.mean(0, keepdims=True) if len(pixels.color) == 1 else denoised


def _blend_by_fidelity(posterior_mean: np.ndarray, posterior_sample: np.ndarray, fidelity: float) -> np.ndarray:
    share = np.float32(fidelity)
    return share * posterior_mean + (1 - share) * posterior_sample if fidelity else posterior_sample


def _to_rgb(color: np.ndarray) -> np.ndarray:
    """Three channels, of a grey picture the same three times."""
    return np.repeat(color, 3, axis=0) if len(color) == 1 else color


class _CallCounter:
    """Counts what is done."""

    def __init__(self, on_progress: ProgressCallback, total: int) -> None:
        self._on_progress = on_progress
        self._total = total
        self.done = 0
        on_progress(0, total)

    def increment(self) -> None:
        self.done += 1
        self._on_progress(self.done, self._total)


def image_to_array(job: Job) -> ImageArray:
    """The picture of a job as numbers; colour files whose channels are all equal are grey."""
    if job.image is None:
        raise UsageError("denoise needs a picture to start from.", "artgen denoise input.png")
    values = _to_channels_first(job.image).astype(np.float32)
    if job.low_bytes is not None:
        values = (values * 256 + _to_channels_first(job.low_bytes)) / 257
    alpha = None
    if job.image.mode in ("LA", "RGBA"):
        values = values[:-1]
        alpha = job.image.getchannel("A"), job.low_bytes.getchannel("A") if job.low_bytes else None
    grey = len(values) == 1 or bool((values == values[:1]).all())
    mode = job.image.mode.removesuffix("A")
    return ImageArray(np.ascontiguousarray(values[:1] if grey else values), alpha, mode, job.low_bytes is not None)


def array_to_image(source: ImageArray, denoised: np.ndarray) -> tuple[Image.Image, Image.Image | None]:
    """A picture like the one that was read, and its lower bytes where it has 16 bits a channel."""
    if len(denoised) == 1 and source.mode == "RGB":
        denoised = np.repeat(denoised, 3, axis=0)
    if not source.is_16bit:
        return _to_pil_image(np.rint(np.clip(denoised, 0, 255)).astype(np.uint8), source, 0), None
    values = np.rint(np.clip(denoised.astype(np.float64) * 257, 0, 65535)).astype(np.uint16)
    return _to_pil_image((values >> 8).astype(np.uint8), source, 0), _to_pil_image(
        (values & 255).astype(np.uint8), source, 1
    )


def _to_channels_first(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def _to_pil_image(values: np.ndarray, source: ImageArray, byte_index: int) -> Image.Image:
    image = Image.fromarray(values[0] if source.mode == "L" else np.ascontiguousarray(values.transpose(1, 2, 0)))
    if source.alpha is not None and (alpha := source.alpha[byte_index]) is not None:
        image.putalpha(alpha)
    return image
