"""Detect anomalies: score images by how well a diffusion model reconstructs them.

An image is noised at several levels and denoised with a diffusion model. Anomalous details are not reconstructed
(AnoDDPM, Wyatt et al., CVPR workshops 2022; Graham et al., arXiv 2211.07740). Normal images define the normal size of
the differences in each cell.
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

from artgen.engine.anomaly import latent, pixel
from artgen.engine.anomaly.features import FeatureMaps, compute_feature_maps, grid_shape, num_channels
from artgen.engine.anomaly.result import AnomalyResult
from artgen.engine.anomaly.statistics import AnomalyMap, NormalStatistics, fit_statistics, p_value, score_without_fit
from artgen.engine.denoise import pixel_denoiser
from artgen.engine.loading import loaded_models
from artgen.engine.loading.device import resolve_device
from artgen.engine.loading.free_memory import retry_without_idle_models
from artgen.engine.lock import ENGINE_LOCK
from artgen.engine.out_of_memory import report_out_of_memory
from artgen.errors import InputFileError, NonFiniteError
from artgen.events import Listener, ModelSelected, Notice, StepEvent, no_op
from artgen.jobs.anomaly import Anomaly, AnomalyJob, FitHeader, load_input_image, prepare_anomaly_job
from artgen.system.counts import counted

_TENSOR_NAMES = {
    "mean": "mean",
    "cell_mean": "places",
    "deviation": "deviation",
    "whitening": "whitening",
    "offset": "offset",
}
"""Name in a fit file of each attribute of `NormalStatistics`."""
_SCORES_TENSOR_NAME = "scores"


@dataclass(frozen=True)
class FittedNormal:
    """Store a fit of normal images.

    Attributes:
        header: settings and hashes of the normal images.
        statistics: statistics of the normal images.
        calibration_scores: cross-validated score of each normal image, shape (images,).
    """

    header: FitHeader
    statistics: NormalStatistics
    calibration_scores: NDArray[np.float64]

    def threshold(self, alpha: float) -> float:
        """Return the lowest score of an anomalous image at a significance level."""
        count = len(self.calibration_scores)
        return float(np.sort(self.calibration_scores)[-max(1, int(alpha * (count + 1) + 1e-9))])

    def to_safetensors(self) -> bytes:
        """Return the contents of a fit file."""
        tensors = {name: np.ascontiguousarray(getattr(self.statistics, key)) for key, name in _TENSOR_NAMES.items()}
        tensors[_SCORES_TENSOR_NAME] = self.calibration_scores
        return to_bytes(tensors, metadata=self.header.to_metadata())


def find_anomalies(
    image_paths: Sequence[str | Path], request: Anomaly | None = None, *, listener: Listener = no_op
) -> Iterator[AnomalyResult]:
    """Yield the anomaly score and heat map of each image. This function is thread-safe, as `artgen.generate`.

    Args:
        image_paths: image files.
        request: settings; without normal images (`fit`) there are scores, but no p-values.
        listener: receives events (`artgen.events`).

    Raises:
        UsageError, InputFileError, ModelUnavailableError, RefusedError: before a model is loaded.
        NonFiniteError: the model produced NaN or infinity.
    """
    with ENGINE_LOCK:
        job = prepare_anomaly_job(request or Anomaly(), listener)
    paths = [Path(path) for path in image_paths]
    for path in paths:
        job.check_size(path, load_input_image(path).image.size)
    detector = AnomalyDetector(job, listener)
    fitted = detector.fit() if job.normal_paths else load_fit(job)
    for number, path in enumerate(paths, 1):
        yield detector.score(path, fitted, number, len(paths))


class AnomalyDetector:
    """Score images with a cached model."""

    def __init__(self, job: AnomalyJob, listener: Listener) -> None:
        """Load the model.

        Raises:
            ModelUnavailableError: weights are missing or damaged.
        """
        self._job = job
        self._listener = listener
        self._device_config = resolve_device(job.request.device, job.request.dtype)
        listener(ModelSelected(job.model.name, self._device_config.device, self._device_config.dtype))
        with ENGINE_LOCK:
            self._load_model()

    def _load_model(self) -> None:
        """Load the model, or return it from the cache in its initial state: another thread may have changed it."""
        job, device_config = self._job, self._device_config
        if job.config.method == "latent":
            self._latent_reconstructor = latent.load_latent_reconstructor(
                job.model, job.config.prompt, device_config, self._listener
            )
        else:
            self._pixel_denoiser = pixel_denoiser.load_pixel_denoiser(job.model, device_config, self._listener)

    def fit(self) -> FittedNormal:
        """Return the fit of the job's normal images.

        Raises:
            InputFileError: a normal image cannot be used.
            NonFiniteError: the model produced NaN or infinity.
        """
        job, feature_maps, sizes, hashes = self._job, [], set(), []
        num_images = len(job.normal_paths)
        self._listener(Notice(f"Fitting {counted(num_images, 'normal image')}."))
        for number, path in enumerate(job.normal_paths, 1):
            loaded = load_input_image(path)
            feature_maps.append(self.compare(loaded.image, number, num_images).maps)
            sizes.add(job.working_size(loaded.image.size))
            hashes.append(loaded.sha256)
        size = sizes.pop() if len(sizes) == 1 else None
        statistics, calibration_scores = fit_statistics(feature_maps, per_cell=size is not None)
        self._listener(Notice(_standardization_note(size, len(set(hashes)), num_images)))
        return FittedNormal(FitHeader(job.config, size, tuple(hashes)), statistics, calibration_scores)

    def score(
        self, path: Path, fitted: FittedNormal | None, image_number: int = 1, num_images: int = 1
    ) -> AnomalyResult:
        """Return the anomaly score and heat map of an image.

        Args:
            path: image file.
            fitted: fit of normal images; None for a score without a p-value.
            image_number: number of the image in progress events, from 1.
            num_images: number of images in progress events.

        Raises:
            InputFileError: the image cannot be used, or its size differs from the size of all normal images.
            NonFiniteError: the model produced NaN or infinity.
        """
        loaded, alpha = load_input_image(path), self._job.request.alpha
        for note in loaded.notes:
            self._listener(Notice(note))
        if fitted is not None:
            replace(self._job, fit_header=fitted.header).check_size(path, loaded.image.size)
        feature_maps = self.compare(loaded.image, image_number, num_images)
        if fitted is None:
            anomaly_map = score_without_fit(feature_maps)
            heatmap = _upsample_to_heatmap(anomaly_map, loaded.image.size)
            return AnomalyResult(path, loaded.image, heatmap, anomaly_map.score, None, None, alpha)
        if loaded.sha256 in fitted.header.image_hashes:
            self._listener(Notice(f"'{path.name}' is one of the normal images; its p-value is too high."))
        anomaly_map = fitted.statistics.score(feature_maps.maps)
        heatmap = _upsample_to_heatmap(anomaly_map, loaded.image.size)
        p = p_value(anomaly_map.score, fitted.calibration_scores)
        return AnomalyResult(path, loaded.image, heatmap, anomaly_map.score, p, fitted.threshold(alpha), alpha)

    def compare(self, image: Image.Image, image_number: int = 1, num_images: int = 1) -> FeatureMaps:
        """Return the differences between an RGB image and its reconstructions.

        Raises:
            MemoryExhaustedError: the image is too large for the memory.
            NonFiniteError: the model produced NaN or infinity.
        """
        with ENGINE_LOCK, loaded_models.unloaded_after_error():
            self._load_model()
            return self._compare(image, image_number, num_images)

    def _compare(self, image: Image.Image, image_number: int, num_images: int) -> FeatureMaps:
        config, size = self._job.config, self._job.working_size(image.size)
        image = image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)
        pixels = np.ascontiguousarray(np.asarray(image, np.float32).transpose(2, 0, 1))
        on_model_call = self._progress(pixels.shape[1:], image_number, num_images)
        arguments = (pixels, config.noise_levels, config.noise_samples, config.seed, on_model_call)

        def compute() -> FeatureMaps:
            if config.method == "latent":
                reconstructions = list(self._latent_reconstructor.reconstruct(*arguments))
            else:
                reconstructions = list(pixel.reconstruct(self._pixel_denoiser, *arguments))
            return compute_feature_maps(reconstructions, pixels.shape[1:])

        message = f"Cannot score an image of {size[0]}x{size[1]}: out of memory."
        with report_out_of_memory(message, "Use a smaller image, or --device cpu."):
            feature_maps = retry_without_idle_models(compute)
        if not np.isfinite(feature_maps.maps).all():
            raise NonFiniteError("Cannot score the image: the model produced NaN or infinity.", "Use --dtype fp32.")
        return feature_maps

    def _progress(self, size: tuple[int, int], image_number: int, num_images: int) -> pixel.OnModelCall:
        """Return a callback that reports each network call for an image of (height, width)."""
        config, completed = self._job.config, 0
        if config.method == "latent":
            total = latent.num_model_calls(config.noise_levels, config.noise_samples)
        else:
            total = pixel.num_model_calls(self._pixel_denoiser, size, config.noise_levels, config.noise_samples)

        def on_model_call() -> None:
            nonlocal completed
            completed += 1
            self._listener(StepEvent(min(completed, total), total, image_number, 1, num_images))

        self._listener(StepEvent(0, total, image_number, 1, num_images))
        return on_model_call


def load_fit(job: AnomalyJob) -> FittedNormal | None:
    """Return the fit of the job's fit file; None without a fit file.

    Raises:
        InputFileError: the file is damaged.
    """
    if job.fit_header is None or job.request.fit is None:
        return None
    try:
        tensors = load_file(job.request.fit)
        statistics = NormalStatistics(**{key: tensors[name] for key, name in _TENSOR_NAMES.items()})
        fitted = FittedNormal(job.fit_header, statistics, tensors[_SCORES_TENSOR_NAME])
        _check_tensors(fitted)
    except (KeyError, OSError, ValueError, SafetensorError) as error:
        raise InputFileError(
            f"Cannot read '{job.request.fit}': the file is damaged ({error}).", "Fit again."
        ) from error
    return fitted


def _check_tensors(fitted: FittedNormal) -> None:
    """Check that the shapes of the tensors match the header, and that all values are finite.

    Raises:
        ValueError: a shape or a value is wrong.
    """
    config, size = fitted.header.config, fitted.header.working_size
    count = len(config.noise_levels) * num_channels(has_prompt=bool(config.prompt))
    grid_size = grid_shape(size[1], size[0]) if size else (1, 1)
    shapes = {"mean": (count,), "offset": (count,), "whitening": (count, count)}
    shapes |= {"cell_mean": (count, *grid_size), "deviation": (count, *grid_size)}
    for key, shape in shapes.items():
        if getattr(fitted.statistics, key).shape != shape:
            raise ValueError(f"the shape of {_TENSOR_NAMES[key]} is not {shape}")
    if fitted.calibration_scores.shape != (len(fitted.header.image_hashes),):
        raise ValueError("a calibration score is missing")
    tensors = [fitted.calibration_scores, *(getattr(fitted.statistics, key) for key in shapes)]
    if not all(np.isfinite(tensor).all() for tensor in tensors):
        raise ValueError("a value is not finite")


def _standardization_note(size: tuple[int, int] | None, num_distinct: int, num_images: int) -> str:
    if size:
        scope = f"for each cell, because all normal images are {size[0]}x{size[1]}"
    else:
        scope = "over all cells, because the sizes of the normal images differ"
    duplicates = (
        f" Only {num_distinct} of {num_images} normal images {'is' if num_distinct == 1 else 'are'} distinct."
        if num_distinct < num_images
        else ""
    )
    return f"Scores are standardized {scope}.{duplicates}"


def _upsample_to_heatmap(anomaly_map: AnomalyMap, size: tuple[int, int]) -> NDArray[np.float32]:
    cells = torch.from_numpy(np.ascontiguousarray(anomaly_map.cells, np.float32))[None, None]
    upsampled = torch.nn.functional.interpolate(cells, size=size[::-1], mode="bilinear", align_corners=False)
    heatmap: NDArray[np.float32] = upsampled[0, 0].numpy()
    return heatmap
