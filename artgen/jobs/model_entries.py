"""Resolve the model of a request and check that the model fits the task."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from artgen import registry
from artgen.errors import ArtgenError
from artgen.events import Listener, no_op
from artgen.jobs import checks, components, denoise, pipeline_options, sample
from artgen.jobs.control.checks import check_nets, check_task_has_control
from artgen.jobs.default_settings import model_scheduler
from artgen.jobs.hires import check_hires
from artgen.jobs.image_prompts.load import check_task as check_image_prompts
from artgen.jobs.seamless import check_large_image
from artgen.registry.control_nets import ControlNet
from artgen.registry.image_prompts import ImagePromptAdapter
from artgen.registry.preprocessors import Preprocessor
from artgen.registry.upscalers import Upscaler
from artgen.spec.base_requests import PromptRequest, Request
from artgen.spec.requests import Edit, Sample
from artgen.spec.restoration_requests import Denoise, Upscale


@dataclass(frozen=True)
class ModelEntry:
    """Store a resolved model.

    Attributes:
        model: resolved model; None if the request needs no model.
        name: name that resolves to the same model again, with the commit if a revision was requested.
        scheduler: name and sigmas of the model's default scheduler; None if unknown.
        scheduler_config: configuration of the model's scheduler.
        provenance: values of the model for the record.
        settings: settings of its components, with names that resolve to the same files again.
        extras: parts of approximations that were found for the model, by name of the approximation.
        is_preview: whether the weights of the model or of a component are not on the disk.
        nets: control nets, in the order of the control images.
        preprocessors: models that compute each control map.
        adapters: adapters of the image prompts, in order.
        upscaler: network of `hires_model`.
    """

    model: registry.ResolvedModel | None
    name: str | None = None
    scheduler: tuple[str | None, str | None] = (None, None)
    scheduler_config: Mapping[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    extras: dict[str, registry.HubFiles] = field(default_factory=dict)
    is_preview: bool = False
    nets: tuple[ControlNet, ...] = ()
    preprocessors: tuple[tuple[Preprocessor, ...], ...] = ()
    adapters: tuple[ImagePromptAdapter, ...] = ()
    upscaler: Upscaler | None = None


ModelKey = tuple[str | None, bool, components.ComponentKey]
ModelCache = dict[ModelKey, ModelEntry]
"""Resolved models, by name (None: no model), `offline` and the settings of components."""


def _model_name(request: Request, listener: Listener = no_op) -> str | None:
    """Return the requested model or the default model; None if the request needs no model.

    The listener receives a note about the download of the default model.
    """
    if isinstance(request, Denoise):
        return denoise.model_name(request, listener)
    if isinstance(request, Sample):
        return sample.model_name(request)
    if isinstance(request, Edit):
        return request.model or registry.edit_model(offline=request.offline, listener=listener)
    if isinstance(request, Upscale) and not request.is_redraw:
        return None
    return request.model or registry.default_model(offline=request.offline, listener=listener)


def model_key(request: Request) -> ModelKey:
    """Return the key of the model of a request in the cache."""
    return _model_name(request), request.offline, components.component_key(request)


def resolve_model(request: Request, listener: Listener, *, download: bool) -> ModelEntry:
    """Resolve the model of a request without its components.

    Args:
        request: request.
        listener: receives the events of downloads.
        download: download the weights; else only the configurations.

    Raises:
        ModelUnavailableError: the model is unavailable or its files are not complete.
        RefusedError: the model is a pickle or contains code.
    """
    name = _model_name(request, no_op if download else listener)
    if name is None:
        return ModelEntry(None)
    reference = registry.parse_reference(name)
    model = registry.resolve_reference(
        reference,
        offline=request.offline,
        download=download,
        listener=listener,
        omitted=components.omitted_components(request),
    )
    registry.check_model_files(model)
    provenance = model.provenance()
    full_name = model.name
    if reference.kind in ("folder", "file") and reference.info is None:
        # Local models are recorded without their folder; the hash identifies them.
        provenance.update(model=model.short_name, model_source="local")
    elif "@" in name and model.revision:
        full_name = f"{model.name}@{model.revision}"
        provenance["model"] = model.name
    config = registry.read_scheduler_config(registry.single_file_config(model) if model.is_file else model.path)
    return ModelEntry(model, full_name, model_scheduler(model, config), config, provenance)


def has_changed(model: registry.ResolvedModel | None) -> bool:
    """Return whether a file of a model was changed, added or removed after the model was resolved."""
    try:
        return model is not None and model.file_identities() != model.files
    except ArtgenError:
        return True


def check_model(request: Request, entry: ModelEntry) -> None:
    """Check that a resolved model supports the task and the options of a request.

    Raises:
        UsageError: an option does not fit the model.
        ModelUnavailableError: the model does not support the task.
    """
    if isinstance(request, Denoise) and entry.model is not None:
        denoise.check_model_type(request, entry.model)
    elif isinstance(request, Sample) and entry.model is not None:
        sample.check_model(entry.model)
    elif isinstance(request, PromptRequest) and entry.model is not None:
        checks.check_task(request, entry.model)
        pipeline_options.check_options(request, entry.model, entry.scheduler)
        check_task_has_control(request, entry.model)
        check_nets(request, entry.model, entry.nets)
        check_image_prompts(request, entry.model)
        check_hires(request, entry.model, entry.scheduler, entry.nets)
        check_large_image(request, entry.model)
