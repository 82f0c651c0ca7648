"""Remove the noise of an image with a diffusion model or a classical method.

The noisy image, scaled, is the model's state x_t at the timestep with the same noise level; no noise is added. One
network call at this timestep returns the posterior mean, which has the best PSNR. Several DDIM steps sample from the
posterior, which looks sharper (Li et al., TPAMI 2024, arXiv 2307.03992). `fidelity` blends both results: fidelity *
mean + (1 - fidelity) * sample (Dornbusch et al., "A simple combination of diffusion models for better quality
trade-offs in image denoising", arXiv 2503.14654).
"""

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffusers
import numpy as np
import torch
import transformers

from artgen.engine.denoise import classical, latent_denoiser, noise_estimate, pixel_denoiser
from artgen.engine.denoise.ddim import ddim_denoise, self_ensemble
from artgen.engine.denoise.frames import FrameCollector
from artgen.engine.denoise.image_array import ImageArray, array_to_image, image_to_array, match_channels, to_rgb
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.results import GeneratedImage
from artgen.events import Listener, ModelSelected, Notice
from artgen.jobs.job import DenoiseJob
from artgen.registry import ResolvedModel
from artgen.spec.records import WRITER_FIELDS, to_record
from artgen.spec.restoration_requests import Denoise
from artgen.spec.settings import FramesSettings

MIN_SIGMA = 0.5
"""Lowest sigma in gray levels that classical methods remove; they have no minimum of their own."""

LATENT_METHOD_WARNING = (
    "Latent denoising is generative: details can differ from the input, and the autoencoder limits fidelity."
)

CLASSICAL_METHODS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "tv": classical.total_variation,
    "nlm": classical.non_local_means,
}

ProgressCallback = Callable[[int, int], None]
"""Receive the number of finished network calls and their total number."""


@dataclass(frozen=True)
class _ModelRun:
    """Store the inputs of a denoising run with a model; sigma is in gray levels."""

    job: DenoiseJob
    request: Denoise
    model: ResolvedModel
    pixels: ImageArray
    sigma: float
    device_config: DeviceConfig
    listener: Listener
    on_progress: ProgressCallback
    frame_collector: FrameCollector


def denoise(
    job: DenoiseJob,
    device_config: DeviceConfig,
    listener: Listener,
    on_progress: ProgressCallback,
    tile_halvings: int = 0,
    frame_settings: FramesSettings | None = None,
) -> GeneratedImage:
    """Return the denoised image of a job.

    Args:
        job: job of a `Denoise` request.
        device_config: device and precision of the model.
        listener: receives events.
        on_progress: called after each network call.
        tile_halvings: number of times that the tile side is halved to save memory.
        frame_settings: contents of `GeneratedImage.frames`; None for no frames.

    Raises:
        ModelUnavailableError: weights are missing or damaged, or the model has another architecture.
        NonFiniteError: the model produced NaN or infinity.
        MemoryError: tiles cannot be halved `tile_halvings` times.
    """
    request = job.request
    pixels = image_to_array(job)
    sigma, estimated = _resolve_sigma(request, pixels, listener)
    provenance: dict[str, Any] = {**WRITER_FIELDS, "sigma_estimated": estimated}
    resolved: dict[str, Any] = {"sigma": f"{sigma:g}"}
    collector = FrameCollector(frame_settings, request.steps or 1)
    if job.model is None:
        provenance["scikit-image"] = importlib.metadata.version("scikit-image")
        denoised = _denoise_classical(request.method or "", pixels, sigma, listener, on_progress)
    else:
        resolved |= {"device": device_config.device, "dtype": device_config.dtype}
        provenance |= {"torch": torch.__version__, "diffusers": diffusers.__version__}
        listener(ModelSelected(job.model.name, device_config.device, device_config.dtype))
        run = _ModelRun(job, request, job.model, pixels, sigma, device_config, listener, on_progress, collector)
        if request.method == "latent":
            provenance["transformers"] = transformers.__version__
            denoised = _denoise_latents(run)
        else:
            denoised = _denoise_pixels(run, tile_halvings)
    request = request.replace(**resolved)
    provenance = {
        name: value for name, value in {**job.provenance, **provenance}.items() if value not in (None, "", [])
    }
    image, low = array_to_image(pixels, denoised)
    frames = [array_to_image(pixels, match_channels(pixels, frame))[0] for frame in collector.frames]
    record = to_record(request, provenance)
    return GeneratedImage(image, record, request, low, (*frames, image) if frame_settings else ())


def _resolve_sigma(request: Denoise, pixels: ImageArray, listener: Listener) -> tuple[float, float | None]:
    """Return the sigma to remove in gray levels, and the estimate if one was made."""
    requested, scale = request.sigma_spec
    if requested is not None:
        return requested, None
    channels_last = pixels.color[0] if len(pixels.color) == 1 else pixels.color.transpose(1, 2, 0)
    estimate = noise_estimate.estimate_sigma(np.ascontiguousarray(channels_last))
    estimated = round(estimate.sigma, 2)
    listener(Notice(f"Estimated noise: sigma {estimated:g} of 255 gray levels."))
    if not estimate.is_white:
        listener(Notice(f"The noise is not white: {estimate.reason}. If noise remains, set --sigma."))
    return round(estimated * scale, 2), estimated


def _copy_input(pixels: ImageArray, listener: Listener) -> np.ndarray:
    listener(Notice("There is too little noise to remove. The image is unchanged."))
    return pixels.color


def _denoise_classical(
    method: str, pixels: ImageArray, sigma: float, listener: Listener, on_progress: ProgressCallback
) -> np.ndarray:
    on_progress(0, 1)
    denoise = CLASSICAL_METHODS[method]
    denoised = denoise(pixels.color, sigma) if sigma >= MIN_SIGMA else _copy_input(pixels, listener)
    on_progress(1, 1)
    return denoised


def _denoise_pixels(run: _ModelRun, tile_halvings: int) -> np.ndarray:
    request, pixels, sigma, model = run.request, run.pixels, run.sigma, run.model
    denoiser = pixel_denoiser.load_pixel_denoiser(model, run.device_config, run.listener)
    for _ in range(tile_halvings):
        smaller = denoiser.with_smaller_tiles()
        if smaller is None:
            raise MemoryError
        denoiser = smaller
    schedule = denoiser.schedule
    if sigma < schedule.min_sigma:
        return _copy_input(pixels, run.listener)
    if sigma > schedule.max_sigma:
        run.listener(Notice(f"Using sigma {schedule.max_sigma:.4g}, the strongest noise that '{model.name}' supports."))
        sigma = schedule.max_sigma
    noisy = pixels.color
    steps, num_runs = request.steps or 1, request.self_ensemble or 1
    planes = [noisy[i : i + 1] for i in range(len(noisy))] if denoiser.channels == 1 else [to_rgb(noisy)]
    total_calls = steps * num_runs * len(planes) * denoiser.tiling.num_tiles(*noisy.shape[1:])
    calls = _CallCounter(run.on_progress, total_calls)

    def predict_x0(state: np.ndarray, sigma: float) -> np.ndarray:
        def predict_tile(tile: np.ndarray) -> np.ndarray:
            x0 = denoiser.predict_x0(tile, sigma)
            calls.increment()
            return x0

        return denoiser.tiling.apply(predict_tile, state)

    def run_once(state: np.ndarray, run_index: int = 0) -> np.ndarray:
        rng = np.random.default_rng([request.seed or 0, run_index])
        sigmas = schedule.sigmas_for(sigma, steps)
        mean, sample = ddim_denoise(predict_x0, state, sigmas, request.eta or 0.0, rng, run.frame_collector.on_step)
        run.frame_collector.finish_part()
        return _blend_by_fidelity(mean, sample, request.fidelity or 0.0)

    def run_self_ensemble(plane: np.ndarray) -> np.ndarray:
        run.frame_collector.start_part()
        if request.eta:  # runs differ by their noise; flips and rotations are not needed
            mean_of_runs: np.ndarray = np.stack([run_once(plane, index) for index in range(num_runs)]).mean(axis=0)
            return mean_of_runs
        return self_ensemble(run_once, plane, num_runs)

    denoised = np.concatenate([run_self_ensemble(plane) for plane in planes])
    run.frame_collector.merge_channels()
    return match_channels(pixels, denoised)


def _denoise_latents(run: _ModelRun) -> np.ndarray:
    request, collector = run.request, run.frame_collector
    run.listener(Notice(LATENT_METHOD_WARNING))
    denoiser = latent_denoiser.load_latent_denoiser(run.model, run.job.loras, run.device_config, run.listener)
    noisy = to_rgb(run.pixels.color)
    num_runs = request.self_ensemble or 1
    num_tiles = denoiser.tiling.num_tiles(*noisy.shape[1:])
    calls = _CallCounter(run.on_progress, num_runs * num_tiles)

    def denoise_tile(tile: np.ndarray) -> np.ndarray:
        is_first_run = calls.done < num_tiles
        frame_settings = collector.frame_settings if is_first_run else None
        denoised, frames = denoiser.denoise_tile(tile, run.sigma, request.steps or 1, frame_settings)
        if is_first_run:
            collector.add_part(frames)
        calls.increment()
        return denoised

    denoised = self_ensemble(lambda image: denoiser.tiling.apply(denoise_tile, image), noisy, num_runs)
    collector.merge_tiles(denoiser.tiling, noisy)
    return match_channels(run.pixels, denoised)


def _blend_by_fidelity(posterior_mean: np.ndarray, posterior_sample: np.ndarray, fidelity: float) -> np.ndarray:
    weight = np.float32(fidelity)
    return weight * posterior_mean + (1 - weight) * posterior_sample if fidelity else posterior_sample


class _CallCounter:
    """Count finished network calls and report them."""

    def __init__(self, on_progress: ProgressCallback, total: int) -> None:
        self._on_progress = on_progress
        self._total = total
        self.done = 0
        on_progress(0, total)

    def increment(self) -> None:
        self.done += 1
        self._on_progress(self.done, self._total)
