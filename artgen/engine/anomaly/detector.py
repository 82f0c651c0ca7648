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

from artgen.engine.anomaly import latent, pixel
from artgen.engine.anomaly.features import FeatureMaps, compute_feature_maps, grid_shape, num_channels
from artgen.engine.anomaly.result import AnomalyResult
from artgen.engine.anomaly.statistics import AnomalyMap, NormalStatistics, fit_statistics, p_value, score_without_fit
from artgen.engine.denoise import pixel_denoiser
from artgen.engine.loading.device import resolve_device
from artgen.engine.loading.oom import is_oom
from artgen.errors import InputFileError, MemoryExhaustedError, NonFiniteError
from artgen.events import Listener, ModelSelected, Notice, StepEvent, no_op
from artgen.jobs.anomaly import Anomaly, AnomalyJob, FitHeader, load_input_image, prepare_anomaly_job


@dataclass(frozen=True)
class FittedNormal:
    """What was learnt from normal pictures.

    Attributes:
        header: which pictures, and how they were looked at.
        statistics: their statistics.
        calibration_scores: (pictures,), of each by the statistics of the others.
    """

    header: FitHeader
    statistics: NormalStatistics
    calibration_scores: NDArray[np.float64]

    def threshold(self, alpha: float) -> float:
        """The score from which on a picture is surprising."""
        return float(np.sort(self.calibration_scores)[-max(1, int(alpha * (len(self.calibration_scores) + 1) + 1e-9))])

    def to_safetensors(self) -> bytes:
        """As the bytes of a .safetensors file."""
        parts = {name: np.ascontiguousarray(getattr(self.statistics, name)) for name in _STATISTICS_FIELDS}
        return to_bytes({**parts, "scores": self.calibration_scores}, metadata=self.header.to_metadata())


_STATISTICS_FIELDS = ("mean", "places", "deviation", "whitening", "offset")


def find_anomalies(
    image_paths: Sequence[str | Path], request: Anomaly | None = None, *, listener: Listener = no_op
) -> Iterator[AnomalyResult]:
    """Looks at pictures, in order, for what is not normal.

    Args:
        image_paths: files.
        request: how, and beside which normal pictures (`fit`); without one, scores of the bundled denoiser.
        listener: is told of loading, steps and notes (`artgen.events`).

    Raises:
        UsageError, InputFileError, ModelUnavailableError, RefusedError: before any model is loaded.
        NonFiniteError: the model produced NaN or infinity.
    """
    job = prepare_anomaly_job(request or Anomaly(), listener)
    paths = [Path(path) for path in image_paths]
    for path in paths:
        job.check_size(path, load_input_image(path).image.size)
    eye = AnomalyDetector(job, listener)
    normal = eye.fit() if job.normal_paths else load_fit(job)
    for number, path in enumerate(paths, 1):
        yield eye.score(path, normal, number, len(paths))


class AnomalyDetector:
    """A model, ready to look at pictures."""

    def __init__(self, job: AnomalyJob, listener: Listener) -> None:
        """Loads the model.

        Raises:
            ModelUnavailableError: weights are missing or damaged.
        """
        self._job = job
        self._listener = listener
        look, device_config = job.config, resolve_device(job.request.device, job.request.dtype)
        listener(ModelSelected(job.model.name, device_config.device, device_config.dtype))
        if look.method == "latent":
            self._latent_reconstructor = latent.load_latent_reconstructor(
                job.model, look.prompt, device_config, listener
            )
        else:
            self._pixel_denoiser = pixel_denoiser.load_pixel_denoiser(job.model, device_config, listener)

    def fit(self) -> FittedNormal:
        """What the normal pictures of the request have in common.

        Raises:
            InputFileError: one of them cannot be used.
            NonFiniteError: the model produced NaN or infinity.
        """
        job, maps, sizes, hashes = self._job, [], set(), []
        self._listener(Notice(f"learning what is normal from {len(job.normal_paths)} pictures"))
        for number, path in enumerate(job.normal_paths, 1):
            loaded = load_input_image(path)
            maps.append(self.compare(loaded.image, number, len(job.normal_paths)).maps)
            sizes.add(job.working_size(loaded.image.size))
            hashes.append(loaded.sha256)
        size = sizes.pop() if len(sizes) == 1 else None
        normality, scores = fit_statistics(maps, per_cell=size is not None)
        self._listener(Notice(_standardization_note(size, len(set(hashes)), len(hashes))))
        return FittedNormal(FitHeader(job.config, size, tuple(hashes)), normality, scores)

    def score(
        self, path: Path, fitted: FittedNormal | None, image_number: int = 1, num_images: int = 1
    ) -> AnomalyResult:
        """How surprising a picture is, and where; `image_number` of `num_images` is for the listener.

        Raises:
            InputFileError: it cannot be used, or has another size than all normal pictures.
            NonFiniteError: the model produced NaN or infinity.
        """
        loaded, alpha = load_input_image(path), self._job.request.alpha
        for text in loaded.notes:
            self._listener(Notice(text))
        if fitted is not None:
            replace(self._job, fit_header=fitted.header).check_size(path, loaded.image.size)
        compared = self.compare(loaded.image, image_number, num_images)
        if fitted is None:
            found = score_without_fit(compared)
            return AnomalyResult(
                path, loaded.image, _upsample_to_heatmap(found, loaded.image.size), found.score, None, None, alpha
            )
        if loaded.sha256 in fitted.header.pictures:
            self._listener(Notice(f"'{path.name}' is one of the normal pictures; its p-value is too large"))
        found = fitted.statistics.score(compared.maps)
        heat, p = _upsample_to_heatmap(found, loaded.image.size), p_value(found.score, fitted.calibration_scores)
        return AnomalyResult(path, loaded.image, heat, found.score, p, fitted.threshold(alpha), alpha)

    def compare(self, image: Image.Image, image_number: int = 1, num_images: int = 1) -> FeatureMaps:
        """How a picture, mode RGB, differs from what the model makes of it.

        Raises:
            NonFiniteError: the model produced NaN or infinity.
        """
        look, seen, done = self._job.config, self._job.working_size(image.size), 0
        image = image if image.size == seen else image.resize(seen, Image.Resampling.LANCZOS)
        pixels = np.ascontiguousarray(np.asarray(image, np.float32).transpose(2, 0, 1))
        size = pixels.shape[1:]
        if look.method == "latent":
            steps = latent.num_model_calls(look.levels, look.draws)
        else:
            steps = pixel.num_model_calls(self._pixel_denoiser, size, look.levels, look.draws)

        def step() -> None:
            nonlocal done
            done += 1
            self._listener(StepEvent(min(done, steps), steps, image_number, 1, num_images))

        self._listener(StepEvent(0, steps, image_number, 1, num_images))
        given = (pixels, look.levels, look.draws, look.seed, step)
        try:
            if look.method == "latent":
                compared = compute_feature_maps(list(self._latent_reconstructor.reconstruct(*given)), size)
            else:
                compared = compute_feature_maps(list(pixel.reconstruct(self._pixel_denoiser, *given)), size)
        except (MemoryError, RuntimeError) as error:
            if not is_oom(error):
                raise
            wide, high = seen
            raise MemoryExhaustedError(
                f"Out of memory for {wide}x{high} pixels.", "Make the picture smaller, or use --device cpu."
            ) from None
        if not np.isfinite(compared.maps).all():
            raise NonFiniteError("The model produced NaN or infinity.", "Try --dtype fp32.")
        return compared


def load_fit(job: AnomalyJob) -> FittedNormal | None:
    """The fit that a request names; None where it names none.

    Raises:
        InputFileError: its file is damaged.
    """
    if job.fit_header is None or job.request.fit is None:
        return None
    try:
        parts = load_file(job.request.fit)
        normal = FittedNormal(
            job.fit_header, NormalStatistics(**{name: parts[name] for name in _STATISTICS_FIELDS}), parts["scores"]
        )
        _check_shapes(normal)
    except (KeyError, OSError, ValueError, SafetensorError) as error:
        raise InputFileError(f"'{job.request.fit}' is damaged: {error}.", "Fit again.") from error
    return normal


def _check_shapes(fitted: FittedNormal) -> None:
    """Raises ValueError for a fit whose parts are not those of its header."""
    look, size = fitted.header.look, fitted.header.size
    count = len(look.levels) * num_channels(has_prompt=bool(look.prompt))
    places = grid_shape(size[1], size[0]) if size else (1, 1)
    shapes = {"mean": (count,), "offset": (count,), "whitening": (count, count)}
    shapes |= {"places": (count, *places), "deviation": (count, *places)}
    for name, shape in shapes.items():
        if getattr(fitted.statistics, name).shape != shape:
            raise ValueError(f"{name} has not the shape {shape}")
    if fitted.calibration_scores.shape != (len(fitted.header.pictures),):
        raise ValueError("a score is missing")


def _standardization_note(size: tuple[int, int] | None, num_distinct: int, num_images: int) -> str:
    how = f"at each place, as all are {size[0]}x{size[1]}" if size else "over all places, as their sizes differ"
    twice = f"; only {num_distinct} of {num_images} differ from each other" if num_distinct < num_images else ""
    return f"scores are standardised {how}{twice}"


def _upsample_to_heatmap(anomaly_map: AnomalyMap, size: tuple[int, int]) -> NDArray[np.float32]:
    places = torch.from_numpy(np.ascontiguousarray(anomaly_map.cells, np.float32))[None, None]
    larger = torch.nn.functional.interpolate(places, size=size[::-1], mode="bilinear", align_corners=False)
    heat: NDArray[np.float32] = larger[0, 0].numpy()
    return heat
