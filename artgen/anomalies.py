"""What is asked when pictures are looked at for what is not normal; all that can be refused without torch is here."""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from artgen import fitting, images, machine, registry
from artgen.checkpoints import read_header
from artgen.denoising import DENOISER
from artgen.errors import InputFileError, ModelUnavailableError, RefusedError, UsageError
from artgen.events import Downloading, Listener, ignore
from artgen.settings import Place, Surprise, Weights, check

PIXEL_LEVELS = (25.0, 50.0, 100.0, 200.0, 400.0)
LATENT_LEVELS = (0.3, 0.5, 0.7, 0.85)
DRAWS = 2
LARGEST_LEVEL = 1600.0
"""Grey levels; beyond, a picture would be made smaller than sixteen times."""
LEAST_SIDE = 32
"""Pixels a side below which a picture holds too few places to compare."""
LEAST_FIT, LARGEST_FIT = 8, 500
"""Normal pictures: fewer say nothing of how they vary; more would not fit into memory."""
KIND = "artgen normal pictures"
VERSION = "1"


@dataclass(frozen=True, kw_only=True)
class Anomaly(Place, Weights, Surprise):
    """How surprising pictures are, and where.

    Raises:
        UsageError: on construction, for a value outside its setting's type or limits.
    """

    def __post_init__(self) -> None:
        if isinstance(self.fit, str):
            object.__setattr__(self, "fit", Path(self.fit))
        if not isinstance(self.levels, str | None):  # as Python writes them
            object.__setattr__(self, "levels", ",".join(f"{level:g}" for level in self.levels))
        check(self)
        if self.prompt and self.method == "pixel":
            raise UsageError("The method pixel takes no prompt.", "Leave --prompt out, or use --method latent.")
        if self.levels is not None:
            self.asked_levels()

    @classmethod
    def of(cls, *groups: Any) -> Self:
        """A request from the groups of settings that a command received."""
        return cls(**{f.name: getattr(group, f.name) for group in groups for f in dataclasses.fields(group)})

    @property
    def way(self) -> str:
        """pixel or latent."""
        return self.method or ("latent" if self.prompt else "pixel")

    def asked_levels(self) -> tuple[float, ...]:
        """The levels, weakest first: grey levels (pixel) or strengths (latent).

        Raises:
            UsageError: no numbers, or not such numbers.
        """
        if self.levels is None:
            return PIXEL_LEVELS if self.way == "pixel" else LATENT_LEVELS
        least, most, unit = (1.0, LARGEST_LEVEL, "grey levels") if self.way == "pixel" else (0.02, 1.0, "strengths")
        try:
            found = tuple(sorted({float(text) for text in self.levels.split(",")}))
        except ValueError:
            raise UsageError(f"levels must be numbers with commas, not {self.levels!r}.", "--levels 25,50") from None
        if not found or len(found) > 16 or not all(least <= level <= most for level in found):
            raise UsageError(f"levels must be 1 to 16 {unit} from {least:g} to {most:g}, not {self.levels!r}.")
        return found


@dataclass(frozen=True)
class Look:
    """How pictures are looked at, settled: what a fit has to share with the pictures that are judged by it.

    Attributes:
        method: pixel or latent.
        model: the model's name as recorded.
        model_hash: SHA-256 of its main weights.
        prompt: what is normal, in words; empty for none.
        levels: weakest first.
        draws: of noise, at each level.
        seed: of the noise.
    """

    method: str
    model: str
    model_hash: str
    prompt: str
    levels: tuple[float, ...]
    draws: int
    seed: int


@dataclass(frozen=True)
class Known:
    """What a fit says of itself.

    Attributes:
        look: how its pictures were looked at.
        size: their (width, height) as looked at, where all have the same; None where they differ.
        pictures: SHA-256 of each file.
    """

    look: Look
    size: tuple[int, int] | None
    pictures: tuple[str, ...]

    def header(self) -> dict[str, str]:
        """As text, for the header of a file."""
        return {"kind": KIND, "version": VERSION, "known": json.dumps(dataclasses.asdict(self))}


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
        _check_number(len(normal), request.alpha)
    elif request.fit is not None:
        known = read_known(request.fit)
        _check_number(len(known.pictures), request.alpha)
    look, model = _settled(request, known.look if known else None, listener)
    if known is not None:
        _check_same(request, look, known.look)
    if failures := read_pictures(normal)[1]:
        more = f" ({len(failures) - 1} more cannot be used either)" if len(failures) > 1 else ""
        said = f"{failures[0].message.rstrip('.')}{more}."
        raise InputFileError(said, "Take it out of the folder that --fit names.")
    return Prepared(request, look, model, normal, known)


def read_known(path: Path) -> Known:
    """What a fit says of itself, from its header alone.

    Raises:
        InputFileError: it is no fit, or damaged.
    """
    if not path.exists():
        raise InputFileError(f"There is no '{path}'.", "--fit takes a folder of normal pictures, or a fit of them.")
    try:
        header = read_header(path)
        if header.metadata.get("kind") != KIND or header.metadata.get("version") != VERSION:
            raise ValueError
        values = json.loads(header.metadata["known"])
        look = Look(**{**values["look"], "levels": tuple(map(float, values["look"]["levels"]))})
        size = tuple(map(int, values["size"])) if values["size"] else None
        return Known(look, size, tuple(map(str, values["pictures"])))  # type: ignore[arg-type]
    except (InputFileError, ValueError, KeyError, TypeError):
        raise InputFileError(
            f"'{path}' is no fit that this version of artgen wrote.",
            "Make one: artgen anomaly --fit normal/ --save-fit normal.safetensors",
        ) from None


def read_pictures(paths: Sequence[Path]) -> tuple[dict[Path, tuple[int, int]], list[InputFileError]]:
    """The pictures that can be looked at, with their (width, height), and what is wrong with the others."""
    usable: dict[Path, tuple[int, int]] = {}
    failures = []
    for path in paths:
        try:
            usable[path] = load(path).image.size
        except InputFileError as error:
            failures.append(error)
    return usable, failures


def load(path: Path) -> images.LoadedImage:
    """A picture as it is looked at: upright 8-bit sRGB, transparency over white.

    Raises:
        InputFileError: it cannot be used, or is below 32 pixels a side.
    """
    loaded = images.load_image(path)
    wide, high = loaded.image.size
    if min(wide, high) < LEAST_SIDE:
        raise InputFileError(f"'{path}' is {wide}x{high}; {LEAST_SIDE} pixels a side are the least to compare.")
    return loaded


def least_number(alpha: float) -> int:
    """Normal pictures below which no p-value can be as small as alpha: the smallest of n is 1/(n+1)."""
    return max(LEAST_FIT, math.ceil(1 / alpha - 1e-9) - 1)


def _check_number(count: int, alpha: float) -> None:
    least = least_number(alpha)
    if count < least:
        raise InputFileError(
            f"{count} normal pictures are too few for alpha {alpha:g}: of n, the smallest p-value is 1/(n+1), so that "
            f"{least} are needed.",
            f"Add pictures to the folder{'' if count < LEAST_FIT else f', or use --alpha {1 / (count + 1):.3f}1'}.",
        )
    if count > LARGEST_FIT:
        raise InputFileError(f"{count} normal pictures are more than {LARGEST_FIT}.", "Take a part of them at random.")


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
