"""List the models for OpenAI's clients: the bundled models, and the models on the disk."""

from collections.abc import Iterator
from typing import Any

from artgen.api.model_lists import ModelDetails, iter_models
from artgen.registry.pipelines import pipeline_entries

TASKS = ("txt2img", "img2img", "inpaint", "edit")
"""Tasks of the endpoints. Models without one of them are not listed."""


def usable_models() -> Iterator[ModelDetails]:
    """Yield the models on the disk that can generate or edit an image with a prompt."""
    for model in iter_models():
        entry = pipeline_entries().get(model.family or "")
        if model.complete and entry is not None and any(task in entry.tasks for task in TASKS):
            yield model


def model_object(model: ModelDetails) -> dict[str, Any]:
    """Return a model in the form of OpenAI's API. The time of its creation is the start of the year of publication."""
    created = 0 if model.year is None else (model.year - 1970) * 31_556_952
    return {"id": model.name, "object": "model", "created": created, "owned_by": "artgen"}


def list_body() -> dict[str, Any]:
    """Return the JSON body of `/v1/models`."""
    return {"object": "list", "data": [model_object(model) for model in usable_models()]}


def find_model(name: str) -> ModelDetails | None:
    """Return the model with a name or an alias; None if no such model is on the disk."""
    for model in usable_models():
        if name == model.name or name in model.aliases:
            return model
    return None
