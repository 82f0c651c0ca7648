"""From a request as it was given to a job that can run: model found, pictures read, every open setting filled.

All that can be refused is refused here, before torch is imported and before gigabytes are read.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from artgen import adapters, denoising, fitting, images, machine, registry, sources
from artgen.approximations import LCM_FILE, chosen
from artgen.events import Downloading, Listener, ignore
from artgen.requests import Denoise, FromWords, Img2Img, Redraw, Request, draw_seed
from artgen.schedulers import find_with_sigmas, matching
from artgen.settings import Canvas

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
        parts: what `--fast` needs beside the model, by its names.
        loras: what the model is changed by, in the request's order.
    """

    request: Request
    found: registry.ResolvedModel | None
    size: tuple[int, int]
    image: Image.Image | None = None
    low: Image.Image | None = None
    mask: Image.Image | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    parts: Mapping[str, registry.Part] = dataclasses.field(default_factory=dict)
    loras: tuple[adapters.Attachment, ...] = ()

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
    """A model (None where none is needed), name and sigmas of its own scheduler, and what records say of it.

    `parts` are those found for it so far, by the approximation that needs them.
    """

    model: registry.ResolvedModel | None
    scheduler: tuple[str | None, str | None]
    facts: dict[str, Any]
    parts: dict[str, registry.Part] = dataclasses.field(default_factory=dict)


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
        InputFileError: a picture, mask or LoRA that cannot be used.
        ModelUnavailableError: the model cannot be had, cannot do the task, or does not fit a LoRA.
        RefusedError: the model or a LoRA is a pickle, or the model asks to run code.
    """
    for device, offload in dict.fromkeys((request.device, _offload(request)) for request in requests):
        fitting.check_device(device, offload)
    for device, budget in dict.fromkeys((r.device, r.memory_budget) for r in requests if isinstance(r, FromWords)):
        fitting.check_budget(device, budget)
    pictures: dict[tuple[Any, ...], sources.Pictures] = {}
    for request in requests:
        key = sources.canvas_key(request)
        if key not in pictures:
            pictures[key] = sources.read(request)
    # Before the model is looked for, which may be gigabytes away.
    loras = {lora: adapters.attachments(lora) for lora in dict.fromkeys(request.loras for request in requests)}
    models = {} if models is None else models
    scenes: dict[tuple[Any, ...], _Scene] = {}
    jobs = []
    for request in requests:
        named, canvas = (_model_name(request), request.offline), sources.canvas_key(request)
        if named not in models:
            for each in loras[request.loras]:
                adapters.check_name(each.adapter, named[0] or "")
            models[named] = _find_model(*named, listener)
        if (named, canvas) not in scenes:
            scenes[named, canvas] = _scene(request, models[named], pictures[canvas])
        job = _with_loras(_complete(request, scenes[named, canvas]), loras[request.loras])
        jobs.append(job := _with_parts(job, models[named], listener))
        if isinstance(job.request, FromWords):
            fitting.check_apart(job.request, job.model, job.loras)
    return jobs


def _with_parts(job: Prepared, found: _Found, listener: Listener) -> Prepared:
    """The job with what its approximations need beside the model."""
    if not isinstance(job.request, FromWords) or not job.request.fast:
        return job
    parts = fitting.find_parts(job.request, job.model, found.parts, _downloading(listener))
    facts = {**job.facts, "fast_parts": [part.label for part in parts.values()]} if parts else job.facts
    loras = job.loras
    if lcm := parts.get("lcm"):
        loras = adapters.once((*loras, adapters.Attachment(adapters.read(lcm.folder / LCM_FILE), 1.0)))
        adapters.check_fit(loras[-1].adapter, job.model)
    return dataclasses.replace(job, parts=parts, facts=facts, loras=loras)


def _downloading(listener: Listener) -> Callable[[str, int, int], None]:
    return lambda file, done, total: listener(Downloading(file, done, total))


def _with_loras(job: Prepared, loras: tuple[adapters.Attachment, ...]) -> Prepared:
    """The job with what changes its model, held to that model."""
    if not loras:
        return job
    for each in loras:
        adapters.check_fit(each.adapter, job.model)
    request = job.request.replace(lora=tuple(map(str, loras)))
    return dataclasses.replace(job, request=request, facts={**job.facts, **adapters.facts(loras)}, loras=loras)


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
        on_download=_downloading(listener),
    )
    registry.check(model)
    return _Found(model, _own_scheduler(model), _model_facts(model))


def _scene(request: Request, found: _Found, pictures: sources.Pictures) -> _Scene:
    model = found.model
    if model is not None:
        fitting.check_task(request, model)
    size = pictures.image.size if pictures.image else fitting.canvas(request, model) if model else (0, 0)
    facts = {"width": size[0], "height": size[1], **pictures.facts, **found.facts}
    notes = fitting.size_notes(size, model) if model and isinstance(request, FromWords) else ()
    return _Scene(found, pictures, size, facts, (*pictures.notes, *notes))


def _complete(request: Request, scene: _Scene) -> Prepared:
    """Fills what was left open and checks what only the model can tell."""
    model, pictures = scene.found.model, scene.pictures
    if isinstance(request, Denoise):
        request = denoising.complete(request, model)
    elif isinstance(request, FromWords) and model is not None:
        request = request.replace(**_open_of_drawing(request, model, scene))
        fitting.check_fast(request, model)
        fitting.check_scheduler(request, model)
        fitting.check_strength(request)
    notes = scene.notes if (request.seed or 0) < 2**32 else (*scene.notes, WRAPPED_SEED)
    return Prepared(request, model, scene.size, pictures.image, pictures.low, pictures.mask, scene.facts, notes)


def _open_of_drawing(request: FromWords, model: registry.ResolvedModel, scene: _Scene) -> dict[str, Any]:
    """What a request that follows a prompt leaves open, and what holds for it."""
    filled: dict[str, Any] = {"model": model.name}
    if request.seed is None:
        filled["seed"] = draw_seed()
    own = {"steps": model.steps, "guidance_scale": model.guidance_scale}
    for entry in chosen(request.fast):
        own.update(entry.sampling)
    scheduler, sigmas = (own.pop("scheduler"), None) if "scheduler" in own else scene.found.scheduler
    filled.update({name: value for name, value in own.items() if getattr(request, name) is None})
    if request.scheduler is None and scheduler is not None:
        filled.update(scheduler=scheduler, sigmas=request.sigmas or sigmas)
    if request.vae_tiling is None:
        filled["vae_tiling"] = fitting.needs_tiles(scene.size)
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


def check_source_seed(request: Request, found: dict[str, Any] | None) -> str | None:
    """A note when a picture is redrawn with the very seed that made it, which burns it; None otherwise."""
    if isinstance(request, Img2Img) and found and found.get("seed") == request.seed:
        return f"seed {request.seed} made this input; the same noise again burns colours. Try another --seed."
    return None
