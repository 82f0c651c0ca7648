"""Resolve the components that replace components of the model: `--vae` and `--text-encoder-3 none`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from artgen import registry
from artgen.errors import UsageError
from artgen.spec.fast import parse_presets
from artgen.spec.requests import PromptRequest, Request

ComponentKey = tuple[str | None, ...]
OMITTED_COMPONENTS = ("text_encoder_3", "tokenizer_3")
"""Components that `--text-encoder-3 none` omits."""


@dataclass(frozen=True)
class Components:
    """Store a model with its replaced components.

    Attributes:
        model: the model; `model.vae` is the replaced VAE.
        settings: settings of the request, with names that resolve to the same files again.
        provenance: values for the record.
        locations: hash and path of each local file, so that `replay` finds it.
    """

    model: registry.ResolvedModel
    settings: dict[str, Any]
    provenance: dict[str, Any]
    locations: tuple[tuple[str, Any], ...] = ()


def component_key(request: Request) -> ComponentKey:
    """Return the settings of a request that select components."""
    return tuple(getattr(request, name, None) for name in ("vae", "text_encoder_3"))


def omitted_components(request: Request) -> tuple[str, ...]:
    """Return the components of the model that a request does not use."""
    return OMITTED_COMPONENTS if getattr(request, "text_encoder_3", None) == "none" else ()


def resolve_components(
    request: Request, model: registry.ResolvedModel, on_download: Callable[[str, int, int], None]
) -> Components:
    """Find or download the components of a request, and check that they fit the model.

    Raises:
        UsageError: the model does not support a setting.
        InputFileError, ModelUnavailableError, RefusedError: a component cannot be used; see `registry.resolve_vae`.
    """
    if not isinstance(request, PromptRequest) or request.vae is None:
        return Components(model, {}, {})
    if any(preset.name == "tiny-decoder" for preset in parse_presets(request.fast)):
        raise UsageError(
            "Cannot combine --vae with --fast tiny-decoder, which replaces the decoder of the VAE.",
            "Remove one of them.",
            settings=("vae", "fast"),
        )
    vae = registry.resolve_vae(request.vae, model, offline=request.offline, on_download=on_download)
    name = f"{vae.name}@{vae.revision}" if vae.revision and "@" in request.vae else vae.name
    model = replace(model, vae=vae)
    provenance = vae.provenance()
    locations = ((provenance["vae_hash"], vae.path),) if vae.source == "local" else ()
    return Components(replace(model, files=model.file_identities()), {"vae": name}, provenance, locations)
