"""Resolve the components of a request besides its model: `--vae`, `--refiner`, `--text-encoder-3 none` and nets."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from artgen import registry
from artgen.errors import ModelUnavailableError, UsageError
from artgen.events import Listener
from artgen.jobs.control import nets as control_nets
from artgen.jobs.image_prompts import load as image_prompts
from artgen.registry.control_nets import ControlNet
from artgen.registry.image_prompts import ImagePromptAdapter
from artgen.registry.preprocessors import Preprocessor, resolve_preprocessors
from artgen.registry.upscalers import Upscaler, resolve_upscaler
from artgen.registry.vae import latent_mismatch, model_vae_config
from artgen.spec.base_requests import PromptRequest, Request
from artgen.spec.fast import parse_presets
from artgen.spec.refiner import RefinerSpec, parse_refiner

ComponentKey = tuple[Any, ...]
OMITTED_COMPONENTS = ("text_encoder_3", "tokenizer_3")
"""Components that `--text-encoder-3 none` omits."""
REFINER_TASKS = ("txt2img", "img2img")


@dataclass(frozen=True)
class Components:
    """Store a model with its other components.

    Attributes:
        model: the model, with `vae` and `refiner`.
        settings: settings of the request, with names that resolve to the same files again.
        provenance: values for the record.
        locations: hash and path of each local file or folder, so that `replay` finds it.
        is_pending: whether the weights of a component are not on the disk.
        nets: control nets, in the order of the control images.
        preprocessors: models that compute each control map.
        adapters: adapters of the image prompts, in order.
        upscaler: network of `hires_model`.
    """

    model: registry.ResolvedModel
    settings: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    locations: tuple[tuple[str, Path], ...] = ()
    is_pending: bool = False
    nets: tuple[ControlNet, ...] = ()
    preprocessors: tuple[tuple[Preprocessor, ...], ...] = ()
    adapters: tuple[ImagePromptAdapter, ...] = ()
    upscaler: Upscaler | None = None


def component_key(request: Request) -> ComponentKey:
    """Return the settings of a request that select components."""
    names = ("vae", "refiner", "text_encoder_3", "hires_model")
    return (
        *(getattr(request, name, None) for name in names),
        control_nets.net_key(request),
        image_prompts.adapter_key(request),
    )


def omitted_components(request: Request) -> tuple[str, ...]:
    """Return the components of the model that a request does not use."""
    return OMITTED_COMPONENTS if getattr(request, "text_encoder_3", None) == "none" else ()


def resolve_components(
    request: Request, model: registry.ResolvedModel, listener: Listener, *, download: bool = True
) -> Components:
    """Find or download the components of a request, and check that they fit the model.

    Without `download`, only the configurations of components on the hub are downloaded and checked.

    Raises:
        UsageError: the model or the task does not support a setting.
        InputFileError, ModelUnavailableError, RefusedError: a component cannot be used.
    """
    found = Components(model)
    if isinstance(request, PromptRequest) and request.vae is not None:
        found = _add_vae(found, request, request.vae, listener, download)
    if isinstance(request, PromptRequest) and request.refiner is not None:
        found = _add_refiner(found, request, parse_refiner(request.refiner), listener, download)
    if found.settings:
        found = replace(found, model=replace(found.model, files=found.model.file_identities()))
    if isinstance(request, PromptRequest) and request.control:
        found = _add_nets(found, request, listener, download)
    if isinstance(request, PromptRequest) and request.image_prompt:
        found = _add_adapters(found, request, listener, download)
    if (name := getattr(request, "hires_model", None)) is not None:
        found = _add_upscaler(found, request, name, listener, download)
    return found


def _add_upscaler(found: Components, request: Request, name: str, listener: Listener, download: bool) -> Components:
    upscaler = resolve_upscaler(name, offline=request.offline, download=download, listener=listener)
    is_local = upscaler.source == "local"
    provenance = {**found.provenance, "hires_model": upscaler.recorded_name, **upscaler.provenance()}
    return replace(
        found,
        provenance=provenance,
        upscaler=upscaler,
        is_pending=found.is_pending or upscaler.download_bytes > 0,
        locations=(*found.locations, *(((upscaler.sha256, upscaler.path),) if is_local else ())),
    )


def _add_vae(found: Components, request: PromptRequest, name: str, listener: Listener, download: bool) -> Components:
    if any(preset.name == "tiny-decoder" for preset in parse_presets(request.fast)):
        raise UsageError(
            "Cannot combine --vae with --fast tiny-decoder, which replaces the decoder of the VAE.",
            "Remove one of them.",
            settings=("vae", "fast"),
        )
    vae = registry.resolve_vae(
        name,
        found.model,
        offline=request.offline,
        download=download,
        listener=listener,
    )
    if vae is None:
        return replace(found, is_pending=True)
    provenance = vae.provenance()
    full_name = f"{vae.name}@{vae.revision}" if vae.revision and "@" in name else vae.name
    return Components(
        replace(found.model, vae=vae),
        {"vae": full_name},
        provenance,
        ((provenance["vae_hash"], vae.path),) if vae.source == "local" else (),
    )


def _add_refiner(
    found: Components, request: PromptRequest, spec: RefinerSpec, listener: Listener, download: bool
) -> Components:
    _check_supports_refiner(request, found.model)
    reference = registry.parse_reference(spec.model)
    base = found.model
    refiner = registry.resolve_reference(
        reference,
        offline=request.offline,
        download=download,
        listener=listener,
        check=lambda preview: _check_refiner(preview, base),
    )
    if refiner.remote is not None:
        return replace(found, is_pending=True)
    registry.check_model_files(refiner)
    _check_refiner(refiner, found.model)
    if base.vae is not None:  # the refiner decodes the image
        refiner = replace(refiner, vae=base.vae)
        refiner = replace(refiner, files=refiner.file_identities())
    is_local = refiner.is_local
    name = f"{refiner.name}@{refiner.revision}" if refiner.revision and "@" in spec.model else refiner.name
    provenance = {
        "refiner": str(RefinerSpec(refiner.short_name if is_local else refiner.name, spec.base_fraction)),
        "refiner_source": "local" if is_local else refiner.source,
        "refiner_revision": refiner.revision,
        "refiner_hash": refiner.model_hash(),
    }
    return Components(
        replace(found.model, refiner=refiner),
        {**found.settings, "refiner": str(RefinerSpec(name, spec.base_fraction))},
        {**found.provenance, **{key: value for key, value in provenance.items() if value}},
        (*found.locations, *(((provenance["refiner_hash"], refiner.path),) if is_local else ())),
    )


def _add_nets(found: Components, request: PromptRequest, listener: Listener, download: bool) -> Components:
    nets = control_nets.resolve_nets(request, found.model, listener, download=download)
    preprocessors = tuple(  # an inpaint net reads the input image in place of a map
        resolve_preprocessors(spec.kind, offline=request.offline, download=download, listener=listener)
        if not net.is_inpaint
        else ()
        for spec, net in zip(request.controls, nets, strict=True)
    )
    models = list(dict.fromkeys(each for group in preprocessors for each in group))
    provenance = {"control_preprocessor": [each.address for each in models]} if models else {}
    return replace(
        found,
        nets=nets,
        preprocessors=preprocessors,
        provenance={**found.provenance, **control_nets.net_provenance(nets), **provenance},
        locations=(*found.locations, *((net.sha256, net.path) for net in nets if net.source == "local")),
        is_pending=found.is_pending
        or any(net.download_bytes for net in nets)
        or any(each.folder is None for each in models),
    )


def _add_adapters(found: Components, request: PromptRequest, listener: Listener, download: bool) -> Components:
    adapters = image_prompts.resolve_adapters(request, found.model, listener, download=download)
    image_prompts.check_adapters(request, any(net.is_adapter for net in found.nets))
    return replace(
        found,
        adapters=adapters,
        provenance={**found.provenance, **image_prompts.adapter_provenance(adapters)},
        locations=(*found.locations, *((each.sha256, each.path) for each in adapters if each.source == "local")),
        is_pending=found.is_pending or any(each.download_bytes for each in adapters),
    )


def _check_supports_refiner(request: PromptRequest, model: registry.ResolvedModel) -> None:
    """Check that the model is an SDXL model without a refiner's conditioning, and the other settings."""
    reason = ""
    if model.architecture != "sdxl" or model.is_inpainting:
        reason = f"it needs a Stable Diffusion XL base model, and '{model.name}' is {model.architecture}"
    elif request.task not in REFINER_TASKS:
        reason = f"it works with {' and '.join(REFINER_TASKS)}, and the task is {request.task}"
    elif request.fast:
        reason = f"the approximations of --fast {request.fast} do not support it"
    if reason:
        raise UsageError(f"Cannot use --refiner: {reason}.", "Remove --refiner.", settings=("refiner",))


def _check_refiner(refiner: registry.ResolvedModel, model: registry.ResolvedModel) -> None:
    reason = ""
    if refiner.architecture != "sdxl":
        reason = f"it is {refiner.architecture}, and a refiner is a Stable Diffusion XL model"
    elif refiner.is_inpainting:
        reason = "it is an inpainting model"
    elif mismatch := latent_mismatch(model_vae_config(refiner), model_vae_config(model)):
        reason = f"it has other latents than '{model.name}': {mismatch}"
    if reason:
        raise ModelUnavailableError(
            f"Cannot use '{refiner.name}' as a refiner: {reason}.",
            "Use stabilityai/stable-diffusion-xl-refiner-1.0 or another Stable Diffusion XL model.",
        )
