"""Check that a pipeline supports a task, and that the packages that it needs are installed."""

import importlib.util

from artgen.errors import ModelUnavailableError
from artgen.registry.catalog import known_models
from artgen.registry.pipeline_entry import PipelineEntry
from artgen.registry.pipelines import families_with
from artgen.system.counts import format_bytes
from artgen.system.optional_packages import install_command

EDIT_MODEL = "instruct-pix2pix"
"""Default model of `edit`, which is downloaded at the first use."""


def check_task(entry: PipelineEntry, task: str, model_name: str) -> None:
    """Check that a pipeline supports a task.

    Raises:
        ModelUnavailableError: the pipeline does not support the task; the message contains the supported tasks.
    """
    if task in entry.tasks:
        _check_packages(entry, model_name)
        return
    if task == "edit":
        raise _not_an_editor_error(entry, model_name)
    if tuple(entry.tasks) == ("edit",):
        raise ModelUnavailableError(
            f"Cannot use '{model_name}' for {task}: {entry.title} models edit images according to an instruction.",
            f'artgen edit photo.png "make it winter" -m {model_name}',
        )
    if "sample" in entry.tasks:
        raise ModelUnavailableError(
            f"Cannot use '{model_name}' for {task}: {entry.title} models take no prompt and no image.",
            f"artgen sample -m {model_name}",
        )
    if task == "sample" and "txt2img" in entry.tasks:
        raise ModelUnavailableError(
            f"Cannot use '{model_name}' for sample: {entry.title} models need a prompt.",
            f'artgen txt2img "a red fox" -m {model_name}',
        )
    reason = entry.refused_tasks.get(task)
    supported = ", ".join(entry.tasks)
    raise ModelUnavailableError(
        f"Cannot use '{model_name}' for {task}: {reason or f'{entry.title} models support only {supported}'}.",
        f"Use it with {supported}, or choose another --model (`artgen models list`)."
        if reason
        else "Choose another --model (`artgen models list`).",
    )


def _not_an_editor_error(entry: PipelineEntry, model_name: str) -> ModelUnavailableError:
    """Return the error for a model that does not edit images, with the default model of `edit` and its size."""
    info, reason = known_models().get(EDIT_MODEL), entry.refused_tasks.get("edit")
    size = f" (download: {format_bytes(info.download_size)})" if info and info.download_size else ""
    return ModelUnavailableError(
        f"Cannot use '{model_name}' for edit: "
        f"{reason or f'{entry.title} models do not edit images according to an instruction'}.",
        f"Use --model {EDIT_MODEL}{size}. Families that edit: {', '.join(families_with('edit'))}.",
    )


def _check_packages(entry: PipelineEntry, model_name: str) -> None:
    missing = [package for package in entry.packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ModelUnavailableError(
            f"Cannot use '{model_name}': {entry.title} models need {' and '.join(missing)}.",
            install_command(missing),
        )
