"""Collect what the files of models and LoRAs state about their training images, for the manifest of a signed image."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from artgen.errors import ArtgenError
from artgen.registry.lora.find import find_lora
from artgen.registry.resolve import find_local_model
from artgen.registry.training_provenance import read_training_provenance
from artgen.spec.base_requests import Request
from artgen.system.command_state import register_reset

_found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
"""Facts by the names of the model and of the LoRAs, for the images of one command."""
register_reset(_found.clear)


def training_facts(request: Request) -> list[dict[str, Any]]:
    """Return the name, the hash of the datasheet and the licenses of each model that `artgen train` wrote.

    Args:
        request: request of the image. A model that is not on this machine, or that cannot be read, has no facts.
    """
    key = (str(request.model or ""), *(lora.name for lora in request.loras))
    if key not in _found:
        _found[key] = list(_read_facts(request))
    return _found[key]


def _read_facts(request: Request) -> Iterator[dict[str, Any]]:
    for name, is_lora in ((request.model, False), *((lora.name, True) for lora in request.loras)):
        try:
            path = find_lora(str(name)) if is_lora else _model_path(name)
            provenance = None if path is None else read_training_provenance(path)
        except (ArtgenError, OSError):
            continue
        if path is not None and provenance is not None:
            yield {"name": path.name.removesuffix(".safetensors"), **provenance.fields()}


def _model_path(name: object) -> Path | None:
    model = find_local_model(str(name)) if name else None
    path = None if model is None else model.path
    return path if path is not None and (path / "artgen.json").is_file() else None
