"""Describe models in the form of OpenAI's API."""

from typing import Any

from artgen.api.model_lists import ModelDetails
from artgen.server.server_models import usable_models
from artgen.server.settings import ServerSettings

SECONDS_PER_YEAR = 31_556_952


def model_object(name: str, model: ModelDetails | None) -> dict[str, Any]:
    """Return the JSON of a model. `created` is the start of the year of publication; 0 if it is unknown."""
    year = model.year if model is not None else None
    return {
        "id": name,
        "object": "model",
        "created": 0 if year is None else (year - 1970) * SECONDS_PER_YEAR,
        "owned_by": "artgen",
    }


def list_body(settings: ServerSettings) -> dict[str, Any]:
    """Return the JSON body of `/v1/models`."""
    return {"object": "list", "data": [model_object(name, model) for name, model in usable_models(settings)]}
