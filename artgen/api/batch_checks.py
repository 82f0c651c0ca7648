"""Check the settings of a batch against its jobs."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from artgen.errors import UsageError
from artgen.queue.entries import LINE_SETTINGS
from artgen.queue.plan import BatchPlan
from artgen.spec.settings import FramesSettings, RankRunSettings, RunSettings, options_of, settings_of


def check_unused_settings(plan: BatchPlan, defaults: Mapping[str, Any], is_typed: Callable[[str], bool]) -> list[str]:
    """Return a note for each default of the user that no job takes.

    Args:
        plan: jobs of the batch.
        defaults: settings for entries that do not set them.
        is_typed: returns whether the caller set a default explicitly.

    Raises:
        UsageError: no job takes a setting that was set explicitly.
    """
    unused = plan.unused(name for name in defaults if name not in options_of(FramesSettings))
    flags = [_flag(name, defaults[name]) for name in unused if is_typed(name)]
    if flags:
        tasks = ", ".join(sorted({job.request.task for job in plan.jobs}))
        raise UsageError(
            f"No job of the batch takes {' or '.join(flags)}: the tasks are {tasks}.",
            f"Remove {' and '.join(flags)}, or set the task of a line or --task.",
        )
    return plan.unused_default_notes(unused)


def _flag(name: str, value: Any) -> str:
    flags = settings_of(LINE_SETTINGS[name])[name].flags if name in LINE_SETTINGS else ()
    if flags and value is not False:
        return flags[-1].partition("/")[0]
    return f"--{'no-' if value is False else ''}{name.replace('_', '-')}"


def reject_selected_gpu(plan: BatchPlan, run_settings: RunSettings) -> None:
    """Reject `--device cuda:N` for several processes: each process sees only its own GPU.

    Raises:
        UsageError: a job selects a GPU by its number.
    """
    reject_gpu_numbers([job.request.device for job in plan.jobs], run_settings)


def reject_gpu_numbers(devices: Iterable[str], run_settings: RunSettings | RankRunSettings) -> None:
    """Reject GPUs that are selected by their numbers, for several processes.

    Raises:
        UsageError: a device is `cuda:N`.
    """
    selected = next((each for each in devices if each.startswith("cuda:")), None)
    if (run_settings.workers > 1 or run_settings.ray is not None) and selected:
        option = "--workers" if run_settings.ray is None else "--ray"
        raise UsageError(
            f"Cannot combine {option} with --device {selected}: {option} assigns a different GPU to each process.",
            "Omit --device. Select GPUs with CUDA_VISIBLE_DEVICES=0,2.",
        )
