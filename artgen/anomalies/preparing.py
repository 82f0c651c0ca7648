"""A request as given -> one that can run: its model, its fit and its normal pictures found and held to each other."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

from artgen import fitting, images, machine, registry
from artgen.anomalies.fits import Known, Look, check_number, read_known
from artgen.anomalies.pictures import read_pictures
from artgen.anomalies.request import Anomaly
from artgen.denoising import DENOISER
from artgen.errors import InputFileError, ModelUnavailableError, RefusedError, UsageError
from artgen.events import Downloading, Listener, ignore

DRAWS = 2


@dataclass(frozen=True)
class Prepared:
    """A request that lacks nothing.

    Attributes:
        request: as it was given.
        look: how pictures are looked at.
        model: where the model is.
        normal: pictures to learn from; empty where a fit was given, or nothing.
        known: what the fit says of itself, where one was given.
    """

    request: Anomaly
    look: Look
    model: registry.ResolvedModel
    normal: tuple[Path, ...] = ()
    known: Known | None = None

    def seen(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (width, height) at which a picture of this size is looked at.

        In pixels its own; in latents about the area that the model was trained for, with sides that it takes.
        """
        if self.look.method == "pixel":
            return size
        native, multiple = self.model.native, self.model.multiple
        factor = math.sqrt(native[0] * native[1] / (size[0] * size[1]))
        wide, high = (max(multiple, round(side * factor / multiple) * multiple) for side in size)
        return wide, high

    def check_size(self, path: Path, size: tuple[int, int]) -> None:
        """Holds a picture to the size that all pictures of the fit have, if they do.

        Raises:
            InputFileError: it has another one.
        """
        if self.known is None or self.known.size is None or self.seen(size) == self.known.size:
            return
        wide, high = self.known.size
        raise InputFileError(
            f"'{path}' is {size[0]}x{size[1]}, and all normal pictures are {wide}x{high}.",
            "Give it their size, or fit with pictures of several sizes, which are not compared place by place.",
        )


def prepare(request: Anomaly, listener: Listener = ignore) -> Prepared:
    """Finds the model and holds the normal pictures, or the fit, to the request.

    Raises:
        UsageError: settings that do not fit each other or the fit.
        InputFileError: too few normal pictures, one that cannot be used, or a file that is no fit.
        ModelUnavailableError: the model cannot be had or is of another kind.
        RefusedError: the fit was made with other weights.
    """
    fitting.check_device(request.device, None)
    normal: tuple[Path, ...] = ()
    known = None
    if request.fit is not None and request.fit.is_dir():
        normal = tuple(path for path, _ in images.pictures_in([request.fit]))
        check_number(len(normal), request.alpha)
    elif request.fit is not None:
        known = read_known(request.fit)
        check_number(len(known.pictures), request.alpha)
    look, model = _settled(request, known.look if known else None, listener)
    if known is not None:
        _check_same(request, look, known.look)
    if failures := read_pictures(normal)[1]:
        more = f" ({len(failures) - 1} more cannot be used either)" if len(failures) > 1 else ""
        said = f"{failures[0].message.rstrip('.')}{more}."
        raise InputFileError(said, "Take it out of the folder that --fit names.")
    return Prepared(request, look, model, normal, known)


def _settled(request: Anomaly, earlier: Look | None, listener: Listener) -> tuple[Look, registry.ResolvedModel]:
    """What the request says, then what the fit says, then what holds for all."""
    method = request.method or (earlier.method if earlier else request.way)
    if earlier is not None and method != earlier.method:
        raise UsageError(f"'{request.fit}' was made with method {earlier.method}, not {method}.", "Fit again.")
    name = request.model or (earlier.model if earlier else "")
    name = name or (DENOISER if method == "pixel" else machine.default_model())
    model = registry.resolve(
        name,
        offline=request.offline,
        on_download=lambda file, done, total: listener(Downloading(file, done, total)),
    )
    registry.check(model)
    _check_kind(method, model)
    asked = dataclasses.replace(request, method=method)
    if earlier is None:
        prompt, levels, draws, seed = request.prompt or "", asked.asked_levels(), request.draws or DRAWS, request.seed
    else:
        prompt = earlier.prompt if request.prompt is None else request.prompt
        levels = earlier.levels if request.levels is None else asked.asked_levels()
        draws, seed = request.draws or earlier.draws, request.seed or earlier.seed
    return Look(method, model.name, model.model_hash(), prompt, levels, draws, seed), model


def _check_kind(method: str, model: registry.ResolvedModel) -> None:
    if method == "pixel" and model.architecture != "pixel":
        raise ModelUnavailableError(
            f"{model.name} is no unconditional diffusion model of pixels.",
            "Add --method latent to use it all the same, or leave --model out.",
        )
    if method == "latent" and (model.architecture not in ("sd1", "sd2", "sdxl") or model.inpainting):
        raise ModelUnavailableError(
            f"{model.name} cannot be used in latents, which takes a Stable Diffusion 1, 2 or XL model.",
            "Choose another --model (`artgen models list`).",
        )


def _check_same(request: Anomaly, look: Look, earlier: Look) -> None:
    for name in ("prompt", "levels", "draws", "seed"):
        now, then = getattr(look, name), getattr(earlier, name)
        if now != then:
            raise UsageError(f"'{request.fit}' was made with {name} {_said(then)}, not {_said(now)}.", "Fit again.")
    if look.model_hash != earlier.model_hash:
        raise RefusedError(
            f"'{request.fit}' was made with {earlier.model} and other weights than those of {look.model}.",
            "Use the model that it was made with, or fit again.",
        )


def _said(value: object) -> str:
    return ",".join(f"{each:g}" for each in value) if isinstance(value, tuple) else repr(value)
