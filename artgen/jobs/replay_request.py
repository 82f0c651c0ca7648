"""Check the task of a record, apply the changes of the user, and build the request."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, UsageError
from artgen.jobs import replay_changes, replay_files
from artgen.jobs.replay_prompts import PROMPTS
from artgen.spec import settings
from artgen.spec.base_requests import Request
from artgen.spec.records import from_record
from artgen.spec.requests import TASKS
from artgen.spec.restoration_requests import Upscale
from artgen.spec.settings import (
    FramesSettings,
    GenerationReportSettings,
    OutputSettings,
    options_of,
    path_settings,
)


def check_task(path: Path, record: Mapping[str, Any]) -> None:
    """Check that a record has a task that can be replayed.

    Raises:
        InputFileError: the record is minimal, or its task is not supported.
    """
    if "task" not in record and "seed" not in record:
        raise InputFileError(
            f"Cannot replay '{path}': it has no prompt and no seed, because it was saved with --metadata minimal.",
            "Save images with --metadata full, the default.",
        )
    task = record.get("task")
    if not isinstance(task, str) or task not in TASKS:
        hint = f"Supported tasks: {', '.join(TASKS)}."
        if task == "morph":  # the record of an animation
            hint = "`artgen replay FILE` and the function artgen.morph(FILE) generate the animation again."
        raise InputFileError(f"Cannot replay '{path}': its task {task!r} is not supported.", hint)


def apply_changes(record: dict[str, Any], changes: Mapping[str, Any]) -> bool:
    """Change `record` in place. Return whether the changes affect the pixels: other values than the recorded ones."""
    cls = TASKS[record["task"]].request_class
    if "preset" in changes:
        raise UsageError(
            "Invalid --set: a replay does not read presets.", "Set the settings of the preset, such as --set steps=28."
        )
    before = dict(record)
    for name, value in changes.items():
        if name not in options_of(cls):
            message, hint = settings.unknown_setting_error(name, options_of(cls), cls.task)
            if any(name in options_of(group) for group in (OutputSettings, FramesSettings, GenerationReportSettings)):
                hint = f"It is an option of the command: --{name.replace('_', '-')}"
            raise UsageError(message, hint)
        record[name] = settings.parse_value(cls, name, value) if isinstance(value, str) else value
        if name == "scheduler":
            record.pop("sigmas", None)
    replay_files.replace_mask_source(record, changes)
    if not changes:
        return False
    replay_changes.drop_replaced(record, changes)
    # Validate only the changes: placeholders stand for the settings that the task requires.
    required: dict[str, Any] = {"image": "-", "mask": "-", "prompt": "-", "expand": "1"}
    if "expand" in changes or "target_size" in changes:
        required |= {"expand": record.get("expand"), "target_size": record.get("target_size")}
    required |= replay_changes.needed_settings(record, changes)
    known = options_of(cls).keys() - ({"prompt"} if cls is Upscale else set())
    if record.get("mask_text"):
        del required["mask"]
        required["mask_text"] = record["mask_text"]
    try:
        from_record(
            {
                "task": record["task"],
                **{name: value for name, value in required.items() if name in known},
                **{name: record[name] for name in changes},
            }
        )
    except UsageError as error:
        raise UsageError(f"Invalid --set: {error.message}", error.hint) from error
    # Prompts of `--set` are expanded, so that an equal text can have another meaning.
    changed = {name for name in changes if name in PROMPTS or name not in before or before[name] != record[name]}
    return bool(changed - {"model", *path_settings(cls)}) or before.keys() > record.keys()


def use_available_device(record: dict[str, Any]) -> str:
    """Replace the recorded device, in place. Return a note."""
    note = f"The image was generated on {record['device']}, which is not available. The pixels will differ slightly."
    record["device"], record["dtype"] = "auto", "auto"
    record.pop("offload", None)  # Offloading may need the recorded device. It does not affect the pixels.
    return note


def build_request(path: Path, record: Mapping[str, Any]) -> Request:
    """Return the request of a record.

    Raises:
        InputFileError: the record is invalid.
    """
    fallbacks = record.get("fallbacks")
    if isinstance(fallbacks, list) and "vae tiling" in fallbacks:
        record = {**record, "vae_tiling": True}
    try:
        return from_record(record)
    except UsageError as error:
        raise InputFileError(
            f"Cannot replay '{path}': its record is invalid. {error.message}",
            error.hint or "`artgen info` shows the metadata. To replace a value, add --set NAME=VALUE.",
        ) from error
