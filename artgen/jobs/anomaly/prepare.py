"""A request as given -> one that can run: its model, its fit and its normal pictures found and held to each other."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

from artgen import images, registry
from artgen.errors import InputFileError, ModelUnavailableError, RefusedError, UsageError
from artgen.events import Downloading, Listener, no_op
from artgen.jobs import checks
from artgen.jobs.anomaly.fit_file import AnomalyConfig, FitHeader, check_normal_count, read_fit_header
from artgen.jobs.anomaly.images import read_image_sizes
from artgen.jobs.anomaly.request import Anomaly
from artgen.jobs.denoise import DEFAULT_DENOISER
from artgen.system import hardware

DEFAULT_NOISE_SAMPLES = 2


@dataclass(frozen=True)
class AnomalyJob:
    """A request that lacks nothing.

    Attributes:
        request: as it was given.
        config: how pictures are looked at.
        model: where the model is.
        normal_paths: pictures to learn from; empty where a fit was given, or nothing.
        fit_header: what the fit says of itself, where one was given.
    """

    request: Anomaly
    config: AnomalyConfig
    model: registry.ResolvedModel
    normal_paths: tuple[Path, ...] = ()
    fit_header: FitHeader | None = None

    def working_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (width, height) at which a picture of this size is looked at.

        In pixels its own; in latents about the area that the model was trained for, with sides that it takes.
        """
        if self.config.method == "pixel":
            return size
        native, multiple = self.model.native_size, self.model.size_multiple
        factor = math.sqrt(native[0] * native[1] / (size[0] * size[1]))
        wide, high = (max(multiple, round(side * factor / multiple) * multiple) for side in size)
        return wide, high

    def check_size(self, path: Path, size: tuple[int, int]) -> None:
        """Holds a picture to the size that all pictures of the fit have, if they do.

        Raises:
            InputFileError: it has another one.
        """
        if self.fit_header is None or self.fit_header.size is None or self.working_size(size) == self.fit_header.size:
            return
        wide, high = self.fit_header.size
        raise InputFileError(
            f"'{path}' is {size[0]}x{size[1]}, and all normal pictures are {wide}x{high}.",
            "Give it their size, or fit with pictures of several sizes, which are not compared place by place.",
        )


def prepare_anomaly_job(request: Anomaly, listener: Listener = no_op) -> AnomalyJob:
    """Finds the model and holds the normal pictures, or the fit, to the request.

    Raises:
        UsageError: settings that do not fit each other or the fit.
        InputFileError: too few normal pictures, one that cannot be used, or a file that is no fit.
        ModelUnavailableError: the model cannot be had or is of another kind.
        RefusedError: the fit was made with other weights.
    """
    checks.check_device(request.device, None)
    normal: tuple[Path, ...] = ()
    known = None
    if request.fit is not None and request.fit.is_dir():
        normal = tuple(path for path, _ in images.iter_images([request.fit]))
        check_normal_count(len(normal), request.alpha)
    elif request.fit is not None:
        known = read_fit_header(request.fit)
        check_normal_count(len(known.pictures), request.alpha)
    look, model = _resolve_config(request, known.look if known else None, listener)
    if known is not None:
        _check_matches_fit(request, look, known.look)
    if failures := read_image_sizes(normal)[1]:
        more = f" ({len(failures) - 1} more cannot be used either)" if len(failures) > 1 else ""
        said = f"{failures[0].message.rstrip('.')}{more}."
        raise InputFileError(said, "Take it out of the folder that --fit names.")
    return AnomalyJob(request, look, model, normal, known)


def _resolve_config(
    request: Anomaly, fit_config: AnomalyConfig | None, listener: Listener
) -> tuple[AnomalyConfig, registry.ResolvedModel]:
    """What the request says, then what the fit says, then what holds for all."""
    method = request.method or (fit_config.method if fit_config else request.resolved_method)
    if fit_config is not None and method != fit_config.method:
        raise UsageError(f"'{request.fit}' was made with method {fit_config.method}, not {method}.", "Fit again.")
    name = request.model or (fit_config.model if fit_config else "")
    name = name or (DEFAULT_DENOISER if method == "pixel" else hardware.default_model())
    model = registry.resolve_model(
        name,
        offline=request.offline,
        on_download=lambda file, done, total: listener(Downloading(file, done, total)),
    )
    registry.check_model_files(model)
    _check_model_type(method, model)
    asked = dataclasses.replace(request, method=method)
    if fit_config is None:
        prompt, levels, draws, seed = (
            request.prompt or "",
            asked.parsed_levels(),
            request.noise_samples or DEFAULT_NOISE_SAMPLES,
            request.seed,
        )
    else:
        prompt = fit_config.prompt if request.prompt is None else request.prompt
        levels = fit_config.levels if request.noise_levels is None else asked.parsed_levels()
        draws, seed = request.noise_samples or fit_config.draws, request.seed or fit_config.seed
    return AnomalyConfig(method, model.name, model.model_hash(), prompt, levels, draws, seed), model


def _check_model_type(method: str, model: registry.ResolvedModel) -> None:
    if method == "pixel" and model.architecture != "pixel":
        raise ModelUnavailableError(
            f"{model.name} is no unconditional diffusion model of pixels.",
            "Add --method latent to use it all the same, or leave --model out.",
        )
    if method == "latent" and (model.architecture not in ("sd1", "sd2", "sdxl") or model.is_inpainting):
        raise ModelUnavailableError(
            f"{model.name} cannot be used in latents, which takes a Stable Diffusion 1, 2 or XL model.",
            "Choose another --model (`artgen models list`).",
        )


def _check_matches_fit(request: Anomaly, config: AnomalyConfig, fit_config: AnomalyConfig) -> None:
    for name in ("prompt", "levels", "draws", "seed"):
        now, then = getattr(config, name), getattr(fit_config, name)
        if now != then:
            raise UsageError(
                f"'{request.fit}' was made with {name} {_format_value(then)}, not {_format_value(now)}.", "Fit again."
            )
    if config.model_hash != fit_config.model_hash:
        raise RefusedError(
            f"'{request.fit}' was made with {fit_config.model} and other weights than those of {config.model}.",
            "Use the model that it was made with, or fit again.",
        )


def _format_value(value: object) -> str:
    return ",".join(f"{each:g}" for each in value) if isinstance(value, tuple) else repr(value)
