"""Find the models that the server can use, by the names that clients see. A path of the server is never returned."""

from collections.abc import Iterator

from artgen import registry
from artgen.api.model_lists import ModelDetails, iter_models
from artgen.errors import ArtgenError
from artgen.metadata.a1111 import public_model_name
from artgen.registry.pipelines import pipeline_entries
from artgen.server.client_values import check_name
from artgen.server.settings import ServerSettings

TASKS = ("txt2img", "img2img", "inpaint", "edit")
"""Tasks of the APIs of OpenAI and A1111. Models without one of them are not listed."""


def usable_models(settings: ServerSettings) -> Iterator[tuple[str, ModelDetails | None]]:
    """Yield the name and the details of the models on the disk that can generate or edit an image with a prompt.

    The default model of the server is the first. Its details are None if it is a path outside the model folders.
    """
    default = default_name(settings)
    found = {model.name: model for model in iter_models() if model.complete and _is_usable(model)}
    by_alias = {alias: model for model in found.values() for alias in model.aliases}
    yield default, found.get(default) or by_alias.get(default)
    yield from ((name, model) for name, model in found.items() if name != default)


def find_model(name: str, settings: ServerSettings) -> tuple[str, ModelDetails | None] | None:
    """Return the name and the details of the model with a name or an alias; None if no such model is on the disk."""
    for known, model in usable_models(settings):
        if name == known or (model is not None and name in model.aliases):
            return known, model
    return None


def default_name(settings: ServerSettings) -> str:
    """Return the name of the default model of the server; of a path, the name of the file or folder."""
    model = settings.defaults.get("model") or registry.default_model(offline=not settings.allow_downloads)
    return public_model_name(model)


def model_of_job(name: str | None, settings: ServerSettings) -> str | None:
    """Return the model of a job; None for the default model of the server, which can be a path."""
    return None if not name or name == default_name(settings) else name


def is_editing_model(name: str | None, settings: ServerSettings) -> bool:
    """Return whether a model follows instructions that change an image. False if the model is unknown.

    Args:
        name: name that the client sent; None for the default model of the server.
        settings: settings of the server.

    Raises:
        UsageError: the name is a path or a URL.
    """
    name = model_of_job(name, settings)
    if name is None:
        name = str(settings.defaults.get("model") or default_name(settings))
    else:
        check_name("model", name)
    try:
        model = registry.find_local_model(name)
        if model is not None:
            return "edit" in model.pipeline_entry.tasks
        info = registry.parse_reference(name).info
    except ArtgenError:
        return False  # the validation of the job reports the error
    entry = pipeline_entries().get((info.family if info else None) or "")
    return entry is not None and "edit" in entry.tasks


def _is_usable(model: ModelDetails) -> bool:
    entry = pipeline_entries().get(model.family or "")
    return entry is not None and any(task in entry.tasks for task in TASKS)
