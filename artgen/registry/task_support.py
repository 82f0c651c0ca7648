"""Check that a pipeline supports a task, and that the packages that it needs are installed."""

import importlib.util

from artgen.errors import ModelUnavailableError
from artgen.registry.pipelines import PipelineEntry
from artgen.system.optional_packages import install_command


def check_task(entry: PipelineEntry, task: str, model_name: str) -> None:
    """Check that a pipeline supports a task.

    Raises:
        ModelUnavailableError: the pipeline does not support the task; the message contains the supported tasks.
    """
    if task in entry.tasks:
        _check_packages(entry, model_name)
        return
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


def _check_packages(entry: PipelineEntry, model_name: str) -> None:
    missing = [package for package in entry.packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ModelUnavailableError(
            f"Cannot use '{model_name}': {entry.title} models need {' and '.join(missing)}.",
            install_command(missing),
        )
