"""From a request as it was given to a job that can run: model found, pictures read, every open setting filled.

All that can be refused is refused here, before torch is imported and before gigabytes are read.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from artgen import images, registry
from artgen.events import Downloading, Listener, no_op
from artgen.jobs import checks, denoise
from artgen.jobs import inputs as job_inputs
from artgen.registry import lora as lora_files
from artgen.spec.fast import LCM_LORA_FILENAME, parse_presets
from artgen.spec.requests import Denoise, Img2Img, PromptedImageRequest, PromptRequest, Request, generate_seed
from artgen.spec.schedulers import find_scheduler_with_sigmas, identify_scheduler
from artgen.spec.settings import CanvasSettings
from artgen.system import hardware

WRAPPED_SEED_NOTE = "a seed of 2^32 or more draws the same picture as its remainder modulo 2^32"


@dataclass(frozen=True)
class Job:
    """A job that lacks nothing.

    Attributes:
        request: complete: no setting that the pipeline needs is None.
        model_or_none: where the model is and what is known of it; None where none is needed.
        size: width and height of the result in pixels.
        image: the picture to start from, RGB, at the size of the result (for outpaint: the extended canvas); for
            denoise as `artgen.jobs.inputs.Pictures` has it.
        low_bytes: its lower bytes, where it has 16 bits a channel.
        mask: "L" of the same size, 255 where to repaint; None when nothing is masked.
        provenance: what the record says beside the settings.
        notes: what the user should know.
        extras: what `--fast` needs beside the model, by its names.
        loras: what the model is changed by, in the request's order.
    """

    request: Request
    model_or_none: registry.ResolvedModel | None
    size: tuple[int, int]
    image: Image.Image | None = None
    low_bytes: Image.Image | None = None
    mask: Image.Image | None = None
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    extras: Mapping[str, registry.HubFiles] = dataclasses.field(default_factory=dict)
    loras: tuple[lora_files.LoraRequest, ...] = ()

    @property
    def model(self) -> registry.ResolvedModel:
        """Where the model is and what is known of it."""
        if self.model_or_none is None:
            raise TypeError(f"this {self.request.task} job has no model")
        return self.model_or_none

    @property
    def prompt_request(self) -> PromptRequest:
        """The request of a task that follows a prompt."""
        if not isinstance(self.request, PromptRequest):
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
        return self.request.strength if isinstance(self.request, PromptedImageRequest) else None

    @property
    def padded_image(self) -> Image.Image:
        """The picture, extended by reflection to a size that the model can take."""
        if self.image is None:
            raise TypeError(f"a {self.request.task} job has no picture")
        return images.pad_to_multiple(self.image, self.model.size_multiple)[0]

    @property
    def padded_mask(self) -> Image.Image:
        """The mask, extended likewise; every pixel that is to change at all is white."""
        if self.mask is None:
            raise TypeError(f"a {self.request.task} job has no mask")
        repaint = self.mask.point(lambda value: 255 if value else 0)
        return images.pad_to_multiple(repaint, self.model.size_multiple)[0]


@dataclass(frozen=True)
class _ModelEntry:
    """A model (None where none is needed), name and sigmas of its own scheduler, and what records say of it.

    `extras` are those found for it so far, by the approximation that needs them.
    """

    model: registry.ResolvedModel | None
    scheduler: tuple[str | None, str | None]
    provenance: dict[str, Any]
    extras: dict[str, registry.HubFiles] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class _JobTemplate:
    """What requests of one task for one model, the same pictures and the same size share."""

    model_entry: _ModelEntry
    inputs: job_inputs.InputImages
    size: tuple[int, int]
    provenance: dict[str, Any]
    notes: tuple[str, ...]


ModelCache = dict[tuple[str | None, bool], _ModelEntry]
"""Models found before, by name and whether the network was forbidden; the name is None where none is needed."""


def prepare_jobs(
    requests: Sequence[Request], listener: Listener = no_op, models: ModelCache | None = None
) -> list[Job]:
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
    for device, offload in dict.fromkeys((request.device, _offload_mode(request)) for request in requests):
        checks.check_device(device, offload)
    for device, budget in dict.fromkeys((r.device, r.memory_budget) for r in requests if isinstance(r, PromptRequest)):
        checks.check_memory_budget(device, budget)
    pictures: dict[tuple[Any, ...], job_inputs.InputImages] = {}
    for request in requests:
        key = job_inputs.input_key(request)
        if key not in pictures:
            pictures[key] = job_inputs.load_inputs(request)
    # Before the model is looked for, which may be gigabytes away.
    loras = {lora: lora_files.resolve_loras(lora) for lora in dict.fromkeys(request.loras for request in requests)}
    models = {} if models is None else models
    scenes: dict[tuple[Any, ...], _JobTemplate] = {}
    jobs = []
    for request in requests:
        named, canvas = (_model_name(request), request.offline), job_inputs.input_key(request)
        if named not in models:
            for each in loras[request.loras]:
                lora_files.check_architecture(each.file, named[0] or "")
            models[named] = _resolve_model(*named, listener)
        if (named, canvas) not in scenes:
            scenes[named, canvas] = _build_template(request, models[named], pictures[canvas])
        job = _attach_loras(_build_job(request, scenes[named, canvas]), loras[request.loras])
        jobs.append(job := _attach_extras(job, models[named], listener))
        if isinstance(job.request, PromptRequest):
            checks.check_text_offload(job.request, job.model, job.loras)
    return jobs


def _attach_extras(job: Job, model_entry: _ModelEntry, listener: Listener) -> Job:
    """The job with what its approximations need beside the model."""
    if not isinstance(job.request, PromptRequest) or not job.request.fast:
        return job
    parts = checks.find_extras(job.request, job.model, model_entry.extras, _download_callback(listener))
    facts = (
        {**job.provenance, "fast_parts": [part.repo_at_commit for part in parts.values()]} if parts else job.provenance
    )
    loras = job.loras
    if lcm := parts.get("lcm"):
        loras = lora_files.reject_duplicates(
            (*loras, lora_files.LoraRequest(lora_files.read_lora(lcm.folder / LCM_LORA_FILENAME), 1.0))
        )
        lora_files.check_compatible(loras[-1].file, job.model)
    return dataclasses.replace(job, extras=parts, provenance=facts, loras=loras)


def _download_callback(listener: Listener) -> Callable[[str, int, int], None]:
    return lambda file, done, total: listener(Downloading(file, done, total))


def _attach_loras(job: Job, loras: tuple[lora_files.LoraRequest, ...]) -> Job:
    """The job with what changes its model, held to that model."""
    if not loras:
        return job
    for each in loras:
        lora_files.check_compatible(each.file, job.model)
    request = job.request.replace(lora=tuple(map(str, loras)))
    return dataclasses.replace(
        job, request=request, provenance={**job.provenance, **lora_files.lora_provenance(loras)}, loras=loras
    )


def _offload_mode(request: Request) -> str | None:
    return request.offload if isinstance(request, PromptRequest) else None


def _model_name(request: Request) -> str | None:
    """The model that a request asks for, or that is taken for it; None when it needs none."""
    if isinstance(request, Denoise):
        return denoise.model_name(request)
    return request.model or hardware.default_model()


def _resolve_model(name: str | None, offline: bool, listener: Listener) -> _ModelEntry:
    if name is None:
        return _ModelEntry(None, (None, None), {})
    model = registry.resolve_model(
        name,
        offline=offline,
        on_download=_download_callback(listener),
    )
    registry.check_model_files(model)
    return _ModelEntry(model, _model_scheduler(model), _provenance(model))


def _build_template(request: Request, model_entry: _ModelEntry, inputs: job_inputs.InputImages) -> _JobTemplate:
    model = model_entry.model
    if model is not None:
        checks.check_task(request, model)
    size = inputs.image.size if inputs.image else checks.output_size(request, model) if model else (0, 0)
    facts = {"width": size[0], "height": size[1], **inputs.provenance, **model_entry.provenance}
    notes = checks.size_warnings(size, model) if model and isinstance(request, PromptRequest) else ()
    return _JobTemplate(model_entry, inputs, size, facts, (*inputs.notes, *notes))


def _build_job(request: Request, template: _JobTemplate) -> Job:
    """Fills what was left open and checks what only the model can tell."""
    model, pictures = template.model_entry.model, template.inputs
    if isinstance(request, Denoise):
        request = denoise.fill_defaults(request, model)
    elif isinstance(request, PromptRequest) and model is not None:
        request = request.replace(**_default_settings(request, model, template))
        checks.check_fast(request, model)
        checks.check_scheduler(request, model)
        checks.check_strength(request)
    notes = template.notes if (request.seed or 0) < 2**32 else (*template.notes, WRAPPED_SEED_NOTE)
    return Job(
        request, model, template.size, pictures.image, pictures.low_bytes, pictures.mask, template.provenance, notes
    )


def _default_settings(request: PromptRequest, model: registry.ResolvedModel, template: _JobTemplate) -> dict[str, Any]:
    """What a request that follows a prompt leaves open, and what holds for it."""
    filled: dict[str, Any] = {"model": model.name}
    if request.seed is None:
        filled["seed"] = generate_seed()
    own = {"steps": model.steps, "guidance_scale": model.guidance_scale}
    for entry in parse_presets(request.fast):
        own.update(entry.default_settings)
    scheduler, sigmas = (own.pop("scheduler"), None) if "scheduler" in own else template.model_entry.scheduler
    filled.update({name: value for name, value in own.items() if getattr(request, name) is None})
    if request.scheduler is None and scheduler is not None:
        filled.update(scheduler=scheduler, sigmas=request.sigmas or sigmas)
    if request.vae_tiling is None:
        filled["vae_tiling"] = checks.needs_vae_tiling(template.size)
    if isinstance(request, PromptedImageRequest) and request.strength is None:
        filled["strength"] = request.default_strength
    if isinstance(request, CanvasSettings):
        filled["width"], filled["height"] = template.size
    return filled


def _model_scheduler(model: registry.ResolvedModel) -> tuple[str | None, str | None]:
    """The scheduler and sigmas that a model brings, by name where the table has them."""
    if model.scheduler is not None:
        entry, sigmas = find_scheduler_with_sigmas(model.scheduler)
        return entry.name, model.sigmas or sigmas
    return identify_scheduler(
        registry.read_scheduler_config(registry.single_file_config(model) if model.is_file else model.path)
    )


def _provenance(model: registry.ResolvedModel) -> dict[str, Any]:
    """What the record says of the model; a local one is named without its folder, its hash tells which it was."""
    facts = model.provenance()
    reference = registry.parse_reference(model.name)
    if reference.kind in ("folder", "file") and reference.info is None:
        facts.update(model=model.short_name, model_source="local")
    return facts


def source_seed_warning(request: Request, source_record: dict[str, Any] | None) -> str | None:
    """A note when a picture is redrawn with the very seed that made it, which burns it; None otherwise."""
    if isinstance(request, Img2Img) and source_record and source_record.get("seed") == request.seed:
        return f"seed {request.seed} made this input; the same noise again burns colours. Try another --seed."
    return None
