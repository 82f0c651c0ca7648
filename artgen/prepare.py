"""From a request as it was given to a job that can run: model found, pictures read, every open setting filled.

All that can be refused is refused here, before torch is imported and before gigabytes are read.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from artgen import denoising, images, machine, registry, sources
from artgen.errors import ModelUnavailableError, UsageError
from artgen.events import Downloading, Listener, ignore
from artgen.requests import Denoise, FromWords, Img2Img, Inpaint, Outpaint, Redraw, Request, draw_seed
from artgen.schedulers import SCHEDULERS, find, find_with_sigmas, matching
from artgen.settings import Canvas

FAR_FROM_NATIVE = 2.0
"""How many times a side may differ from the size a model was trained at before a note is due."""

WRAPPED_SEED = "a seed of 2^32 or more draws the same picture as its remainder modulo 2^32"


@dataclass(frozen=True)
class Prepared:
    """A job that lacks nothing.

    Attributes:
        request: complete: no setting that the pipeline needs is None.
        found: where the model is and what is known of it; None where none is needed.
        size: width and height of the result in pixels.
        image: the picture to start from, RGB, at the size of the result (for outpaint: the extended canvas); for
            denoise as `artgen.sources.Pictures` has it.
        low: its lower bytes, where it has 16 bits a channel.
        mask: "L" of the same size, 255 where to repaint; None when nothing is masked.
        facts: what the record says beside the settings.
        notes: what the user should know.
    """

    request: Request
    found: registry.ResolvedModel | None
    size: tuple[int, int]
    image: Image.Image | None = None
    low: Image.Image | None = None
    mask: Image.Image | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def model(self) -> registry.ResolvedModel:
        """Where the model is and what is known of it."""
        if self.found is None:
            raise TypeError(f"this {self.request.task} job has no model")
        return self.found

    @property
    def drawing(self) -> FromWords:
        """The request of a task that follows a prompt."""
        if not isinstance(self.request, FromWords):
            raise TypeError(f"a {self.request.task} job has no prompt")
        return self.request

    @property
    def width(self) -> int:
        """Width of the result in pixels."""
        return self.size[0]

    @property
    def height(self) -> int:
        """Height of the result in pixels."""
        return self.size[1]

    @property
    def strength(self) -> float | None:
        """How much of the picture may change, 0 to 1; None for a task without one."""
        return self.request.strength if isinstance(self.request, Redraw) else None

    @property
    def padded_image(self) -> Image.Image:
        """The picture, extended by reflection to a size that the model can take."""
        if self.image is None:
            raise TypeError(f"a {self.request.task} job has no picture")
        return images.pad_to_multiple(self.image, self.model.multiple)[0]

    @property
    def padded_mask(self) -> Image.Image:
        """The mask, extended likewise; every pixel that is to change at all is white."""
        if self.mask is None:
            raise TypeError(f"a {self.request.task} job has no mask")
        repaint = self.mask.point(lambda value: 255 if value else 0)
        return images.pad_to_multiple(repaint, self.model.multiple)[0]


@dataclass(frozen=True)
class _Found:
    """A model (None where none is needed), name and sigmas of its own scheduler, and what records say of it."""

    model: registry.ResolvedModel | None
    scheduler: tuple[str | None, str | None]
    facts: dict[str, Any]


@dataclass(frozen=True)
class _Scene:
    """What requests of one task for one model, the same pictures and the same size share."""

    found: _Found
    pictures: sources.Pictures
    size: tuple[int, int]
    facts: dict[str, Any]
    notes: tuple[str, ...]


Models = dict[tuple[str | None, bool], _Found]
"""Models found before, by name and whether the network was forbidden; the name is None where none is needed."""


def prepare(requests: Sequence[Request], listener: Listener = ignore, models: Models | None = None) -> list[Prepared]:
    """Prepares requests in order; a picture or model that several of them name is looked at once.

    Args:
        requests: what to make; settings left open are filled.
        listener: is told of downloads.
        models: remembers models from one call to the next.

    Raises:
        UsageError: settings that do not fit the model or each other.
        InputFileError: a picture or mask that cannot be used.
        ModelUnavailableError: the model cannot be had or cannot do the task.
        RefusedError: the model is a pickle or asks to run code.
    """
    for device, offload in dict.fromkeys((request.device, _offload(request)) for request in requests):
        _check_device(device, offload)
    pictures: dict[tuple[Any, ...], sources.Pictures] = {}
    for request in requests:
        key = sources.canvas_key(request)
        if key not in pictures:
            pictures[key] = sources.read(request)
    models = {} if models is None else models
    scenes: dict[tuple[Any, ...], _Scene] = {}
    jobs = []
    for request in requests:
        named, canvas = (_model_name(request), request.offline), sources.canvas_key(request)
        if named not in models:
            models[named] = _find_model(*named, listener)
        if (named, canvas) not in scenes:
            scenes[named, canvas] = _scene(request, models[named], pictures[canvas])
        jobs.append(_complete(request, scenes[named, canvas]))
    return jobs


def _check_device(device: str, offload: str | None) -> None:
    if device.startswith("cuda") and not machine.cuda_devices():
        reason = "this torch is built for the CPU" if not machine.torch_cuda_version() else "no NVIDIA driver answers"
        raise UsageError(
            f"There is no CUDA device: {reason}.", "Leave --device out, or use --device cpu; see `artgen doctor`."
        )
    if device == "mps" and not machine.has_mps():
        raise UsageError("There is no MPS device on this machine.", "Leave --device out, or use --device cpu.")
    on_cpu = device == "cpu" or (device == "auto" and not machine.cuda_devices() and not machine.has_mps())
    if on_cpu and offload in ("model", "sequential"):
        raise UsageError(f"--offload {offload} needs a GPU; this would run on the CPU.", "Leave it out.")


def _offload(request: Request) -> str | None:
    return request.offload if isinstance(request, FromWords) else None


def _model_name(request: Request) -> str | None:
    """The model that a request asks for, or that is taken for it; None when it needs none."""
    if isinstance(request, Denoise):
        return denoising.model_name(request)
    return request.model or machine.default_model()


def _find_model(name: str | None, offline: bool, listener: Listener) -> _Found:
    if name is None:
        return _Found(None, (None, None), {})
    model = registry.resolve(
        name,
        offline=offline,
        on_download=lambda file, done, total: listener(Downloading(file, done, total)),
    )
    registry.check(model)
    return _Found(model, _own_scheduler(model), _model_facts(model))


def _scene(request: Request, found: _Found, pictures: sources.Pictures) -> _Scene:
    model = found.model
    if model is not None:
        _check_task(request, model)
    size = pictures.image.size if pictures.image else _canvas(request, model) if model else (0, 0)
    facts = {"width": size[0], "height": size[1], **pictures.facts, **found.facts}
    notes = _size_notes(size, model) if model and isinstance(request, FromWords) else ()
    return _Scene(found, pictures, size, facts, (*pictures.notes, *notes))


def _complete(request: Request, scene: _Scene) -> Prepared:
    """Fills what was left open and checks what only the model can tell."""
    model, pictures = scene.found.model, scene.pictures
    if isinstance(request, Denoise):
        request = denoising.complete(request, model)
    elif isinstance(request, FromWords) and model is not None:
        request = request.replace(**_open_of_drawing(request, model, scene))
        _check_scheduler(request, model)
        _check_strength(request)
    notes = scene.notes if (request.seed or 0) < 2**32 else (*scene.notes, WRAPPED_SEED)
    return Prepared(request, model, scene.size, pictures.image, pictures.low, pictures.mask, scene.facts, notes)


def _open_of_drawing(request: FromWords, model: registry.ResolvedModel, scene: _Scene) -> dict[str, Any]:
    """What a request that follows a prompt leaves open, and what holds for it."""
    filled: dict[str, Any] = {"model": model.name}
    if request.seed is None:
        filled["seed"] = draw_seed()
    for name in ("steps", "guidance_scale"):
        if getattr(request, name) is None:
            filled[name] = getattr(model, name)
    scheduler, sigmas = scene.found.scheduler
    if request.scheduler is None and scheduler is not None:
        filled.update(scheduler=scheduler, sigmas=request.sigmas or sigmas)
    if isinstance(request, Redraw) and request.strength is None:
        filled["strength"] = request.default_strength
    if isinstance(request, Canvas):
        filled["width"], filled["height"] = scene.size
    return filled


def _own_scheduler(model: registry.ResolvedModel) -> tuple[str | None, str | None]:
    """The scheduler and sigmas that a model brings, by name where the table has them."""
    if model.scheduler is not None:
        entry, sigmas = find_with_sigmas(model.scheduler)
        return entry.name, model.sigmas or sigmas
    return matching(registry.read_scheduler(registry.single_file_config(model) if model.is_file else model.path))


def _model_facts(model: registry.ResolvedModel) -> dict[str, Any]:
    """What the record says of the model; a local one is named without its folder, its hash tells which it was."""
    facts = model.facts()
    reference = registry.parse(model.name)
    if reference.kind in ("folder", "file") and reference.card is None:
        facts.update(model=model.label, model_source="local")
    return facts


def _check_task(request: Request, model: registry.ResolvedModel) -> None:
    denoising.check_kind(request, model)
    if model.inpainting and not isinstance(request, Inpaint | Outpaint):
        raise ModelUnavailableError(
            f"{model.name} is an inpainting model and cannot do {request.task}.",
            "Use it with inpaint or outpaint, or choose another --model.",
        )


def _canvas(request: Request, model: registry.ResolvedModel) -> tuple[int, int]:
    asked = request if isinstance(request, Canvas) else Canvas()
    width, height = asked.width or model.native[0], asked.height or model.native[1]
    if width % model.multiple or height % model.multiple:
        near = " or ".join(f"{w}x{h}" for w, h in images.nearest_sizes(width, height, model.multiple))
        raise UsageError(
            f"{model.name} draws sizes that are multiples of {model.multiple}, not {width}x{height}.",
            f"Try --size {near}.",
        )
    return width, height


def _check_scheduler(request: FromWords, model: registry.ResolvedModel) -> None:
    if request.scheduler is None or find(request.scheduler).flow == model.flow:
        return
    kind = "flow-matching" if model.flow else "noise-predicting"
    fitting = ", ".join(entry.name for entry in SCHEDULERS if entry.flow == model.flow)
    raise UsageError(f"{request.scheduler} does not fit {model.name}, a {kind} model.", f"These do: {fitting}.")


def _check_strength(request: FromWords) -> None:
    """diffusers runs int(steps * strength) steps, silently none when that is 0."""
    if not isinstance(request, Redraw) or request.strength is None or request.steps is None:
        return
    if int(request.steps * request.strength) < 1:
        raise UsageError(
            f"strength {request.strength:g} of {request.steps} steps runs no step at all.",
            f"Use --strength {math.ceil(1000 / request.steps) / 1000:g} or more, or more --steps.",
        )


def _size_notes(size: tuple[int, int], model: registry.ResolvedModel) -> tuple[str, ...]:
    ratios = [side / native for side, native in zip(size, model.native, strict=True)]
    at = f"{model.name} was trained at {model.native[0]}x{model.native[1]}; at {size[0]}x{size[1]}"
    large = (f"{at} shapes may repeat",) if max(ratios) > FAR_FROM_NATIVE else ()
    small = (f"{at} little may be recognised",) if min(ratios) < 1 / FAR_FROM_NATIVE else ()
    return large + small


def check_source_seed(request: Request, found: dict[str, Any] | None) -> str | None:
    """A note when a picture is redrawn with the very seed that made it, which burns it; None otherwise."""
    if isinstance(request, Img2Img) and found and found.get("seed") == request.seed:
        return f"seed {request.seed} made this input; the same noise again burns colours. Try another --seed."
    return None
