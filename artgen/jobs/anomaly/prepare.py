"""Convert an anomaly request to a job: resolve the model, read the fit header, and validate the normal images."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

from artgen import images, registry
from artgen.errors import InputFileError, ModelUnavailableError, RefusedError, UsageError
from artgen.events import Listener, Notice, no_op
from artgen.jobs import checks
from artgen.jobs.anomaly.fit_file import AnomalyConfig, FitHeader, check_normal_count, read_fit_header
from artgen.jobs.anomaly.images import read_image_sizes
from artgen.jobs.anomaly.request import Anomaly
from artgen.jobs.denoise import DEFAULT_DENOISER
from artgen.jobs.prompt_notes import plain_prompt_note
from artgen.jobs.size import scoring_size

DEFAULT_NOISE_SAMPLES = 2


@dataclass(frozen=True)
class AnomalyJob:
    """Store a validated request.

    Attributes:
        request: request of the user.
        config: resolved settings.
        model: resolved model.
        normal_paths: normal images to fit; empty for a fit file or without a fit.
        fit_header: header of the fit file; None for a folder of normal images or without a fit.
    """

    request: Anomaly
    config: AnomalyConfig
    model: registry.ResolvedModel
    normal_paths: tuple[Path, ...] = ()
    fit_header: FitHeader | None = None

    def working_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the (width, height) at which an image is compared with its reconstruction.

        The pixel method uses the size of the image. The latent method uses about the native area of the model, with
        sides that are multiples of the model's size multiple.
        """
        return size if self.config.method == "pixel" else scoring_size(self.model, size)

    def check_size(self, path: Path, size: tuple[int, int]) -> None:
        """Check the (width, height) of an image against the fit, if all normal images have the same size.

        Raises:
            InputFileError: the size differs.
        """
        fitted_size = self.fit_header.working_size if self.fit_header else None
        if fitted_size is None or self.working_size(size) == fitted_size:
            return
        width, height = fitted_size
        raise InputFileError(
            f"Cannot score '{path}': it is {size[0]}x{size[1]}, but all normal images are {width}x{height}.",
            "Resize the image, or fit normal images of several sizes. They are not compared cell by cell.",
        )


def prepare_anomaly_job(request: Anomaly, listener: Listener = no_op, *, download: bool = True) -> AnomalyJob:
    """Resolve the model and validate the normal images or the fit file.

    Args:
        request: request of the user.
        listener: receives the events of downloads.
        download: download the weights of the model.

    Raises:
        UsageError: settings contradict each other or the fit.
        InputFileError: the number of normal images is too small, an image cannot be used, or a file is not a fit file.
        ModelUnavailableError: the model is unavailable or does not support the method.
        RefusedError: the fit was made with other weights.
    """
    checks.check_device(request.device, None)
    if note := plain_prompt_note(request.prompt or "", "prompt"):
        listener(Notice(note))
    normal_paths: tuple[Path, ...] = ()
    fit_header = None
    if request.fit is not None and os.path.isdir(request.fit):  # noqa: PTH112 - Path.is_dir raises for long names
        found = images.iter_images([request.fit], on_note=lambda text: listener(Notice(text)))
        normal_paths = tuple(path for path, _ in found)
        check_normal_count(len(normal_paths), request.alpha)
    elif request.fit is not None:
        fit_header = read_fit_header(request.fit)
        check_normal_count(len(fit_header.image_hashes), request.alpha)
    config, model = _resolve_config(request, fit_header.config if fit_header else None, listener, download)
    if fit_header is not None:
        _check_matches_fit(request, config, fit_header.config)
    if failures := read_image_sizes(normal_paths)[1]:
        others = f" ({len(failures) - 1} more cannot be used.)" if len(failures) > 1 else ""
        raise InputFileError(f"{failures[0].message}{others}", "Remove it from the folder of --fit.")
    return AnomalyJob(request, config, model, normal_paths, fit_header)


def _resolve_config(
    request: Anomaly, fit_config: AnomalyConfig | None, listener: Listener, download: bool
) -> tuple[AnomalyConfig, registry.ResolvedModel]:
    """Return the settings of the request; unset values come from the fit, then from the defaults."""
    method = request.method or (fit_config.method if fit_config else request.resolved_method)
    if fit_config is not None and method != fit_config.method:
        raise _other_setting_error(request, "method", fit_config.method, method)
    name = request.model or (_fitted_model(request, fit_config) if fit_config else "")
    if not name and method == "pixel":
        name = DEFAULT_DENOISER
    name = name or registry.default_model(offline=request.offline, listener=listener)
    model = registry.resolve_usable_model(
        name,
        lambda found: _check_model_type(method, found),
        offline=request.offline,
        download=download,
        listener=listener,
    )
    if model.remote is not None:
        listener(Notice(model.download_note()))
    model_hash = model.model_hash()
    if model.is_local:
        registry.save_location(model_hash, model.path)
    with_method = dataclasses.replace(request, method=method)
    if fit_config is None:
        prompt, seed = request.prompt or "", request.seed
        noise_levels = with_method.parsed_levels()
        noise_samples = request.noise_samples or DEFAULT_NOISE_SAMPLES
    else:
        prompt = fit_config.prompt if request.prompt is None else request.prompt
        noise_levels = fit_config.noise_levels if request.noise_levels is None else with_method.parsed_levels()
        noise_samples, seed = request.noise_samples or fit_config.noise_samples, request.seed or fit_config.seed
    return AnomalyConfig(method, model.name, model_hash, prompt, noise_levels, noise_samples, seed), model


def _fitted_model(request: Anomaly, fit_config: AnomalyConfig) -> str:
    """Return the model of a fit file: its alias or hub id, else the local model with its hash. No path is opened.

    Raises:
        ModelUnavailableError: this machine has no model with the hash.
    """
    if name := registry.recorded_model_name(fit_config.model, None, None):
        return name
    if models := registry.find_models_by_hash(fit_config.model_hash):
        return str(models[0].path)
    raise ModelUnavailableError(
        f"Cannot use '{request.fit}': its model {fit_config.model!r} with SHA-256 {fit_config.model_hash} is not on "
        "this computer, or was moved or changed.",
        "Set the path of the model: --model PATH",
    )


def _check_model_type(method: str, model: registry.ResolvedModel) -> None:
    if method == "pixel" and model.architecture != "pixel":
        raise ModelUnavailableError(
            f"Cannot use '{model.name}' with the method pixel: it is not an unconditional pixel model.",
            "Add --method latent, or omit --model.",
        )
    if method == "latent" and (not model.pipeline_entry.supports("latent-denoise") or model.is_inpainting):
        raise ModelUnavailableError(
            f"Cannot use '{model.name}' with the method latent: it is not a Stable Diffusion 1, 2 or XL model.",
            "Choose another --model: artgen models list",
        )


def _check_matches_fit(request: Anomaly, config: AnomalyConfig, fit_config: AnomalyConfig) -> None:
    for name in ("prompt", "noise_levels", "noise_samples", "seed"):
        requested, fitted = getattr(config, name), getattr(fit_config, name)
        if requested != fitted:
            raise _other_setting_error(request, name, _format_value(fitted), _format_value(requested))
    if config.model_hash != fit_config.model_hash:
        raise RefusedError(
            f"Cannot use '{request.fit}' with '{config.model}': it was made with other weights "
            f"of '{fit_config.model}'.",
            "Use the same model, or fit again.",
        )


def _other_setting_error(request: Anomaly, name: str, fitted: str, requested: str) -> UsageError:
    return UsageError(f"Cannot use '{request.fit}': it was made with {name} {fitted}, not {requested}.", "Fit again.")


def _format_value(value: object) -> str:
    return ",".join(f"{each:g}" for each in value) if isinstance(value, tuple) else repr(value)
