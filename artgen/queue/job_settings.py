"""Convert the jobs of a prompt file, which can be records of images, to settings and requests."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from artgen import images
from artgen._version import RECORD_SCHEMA
from artgen.errors import ArtgenError, InputFileError, UsageError
from artgen.jobs.control.replay import find_controls
from artgen.jobs.image_prompts.replay import find_image_prompts
from artgen.jobs.replay_checks import PINNED_SETTINGS, WEIGHTS_PROVENANCE
from artgen.jobs.replay_files import find_embedding, find_lora
from artgen.jobs.upscaling import replay as upscaling_replay
from artgen.queue.entries import LINE_SETTINGS, Entry, LineError, parse_data_value, setting_name
from artgen.queue.keys import REPEATED_HINT, Keys
from artgen.spec.base_requests import Request
from artgen.spec.fields import describe_value
from artgen.spec.records import (
    JSON_ONLY_KEYS,
    KEPT_PROVENANCE,
    PROVENANCE_FIELDS,
    check_provenance,
    read_expansion,
    recorded_schema,
)
from artgen.spec.requests import TASKS
from artgen.spec.settings import options_of, unknown_setting_error

_RECORD_PATH = Path("record")


def parse_settings(values: Any, keys: Keys, on_note: Callable[[str], None]) -> dict[str, Any]:
    """Return the settings of a JSON or YAML job.

    Args:
        values: the job as read from the file.
        keys: keys to ignore.
        on_note: receives what is ignored or converted.

    Raises:
        UsageError: the job is not a mapping, a setting is unknown or occurs twice, or a value has the wrong type.
    """
    if not isinstance(values, dict):
        raise UsageError(f"Cannot use {describe_value(values)} as a job: it is not a mapping.", "prompt: a red fox")
    fields = {str(key): value for key, value in values.items() if value is not None}
    if "artgen" not in fields:
        return keys.settings(fields, parse_data_value, on_note)
    for name in _non_setting_keys(fields) & PROVENANCE_FIELDS.keys() & fields.keys():
        check_provenance(name, fields[name])
    return parse_record(fields, parse_data_value)


def parse_defaults(values: Any, keys: Keys, on_note: Callable[[str], None]) -> dict[str, Any]:
    """Return the settings of the defaults section, which may be a record without unknown fields."""
    parsed = parse_settings(values, keys, on_note)
    for name in parsed.get("unknown_fields", ()):
        raise UsageError(*unknown_setting_error(name, LINE_SETTINGS))
    for name in {"recorded_preset", "recorded_weights", "expansion", "prompt_weights", "long_prompt"} - values.keys():
        parsed.pop(name, None)
    return parsed


def parse_record(fields: Mapping[str, Any], parse_value: Callable[[str, Any], Any]) -> dict[str, Any]:
    """Return the settings of a job that is the record of an image. The provenance is ignored, except that of weights.

    The result also contains `expansion`, because the prompts of a record are final, `unknown_fields` if there are any,
    `schema` if it is newer than `RECORD_SCHEMA`, `recorded_preset` in place of `preset`, because the record contains
    the settings of the preset, and for a record with a setting of `PINNED_SETTINGS`
    `recorded_weights`: pairs of the name and the value of its provenance.
    """
    ignored, task = _non_setting_keys(fields), _record_task(fields)
    all_settings = {name for each in TASKS.values() for name in options_of(each.request_class)}
    settings_of_other_tasks = all_settings - options_of(TASKS[task].request_class).keys() if task else set()
    parsed: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for key, value in fields.items():
        if key in ignored:
            continue
        try:
            name = setting_name(key)
        except UsageError:
            unknown[key] = value
            continue
        if name in parsed:
            raise UsageError(f"Cannot set {name} twice: '{key}' is another name of it.", REPEATED_HINT)
        if name in settings_of_other_tasks:
            unknown[key] = value
        else:
            parsed[name] = parse_value(name, value)
    if "prompt" in parsed:
        parsed = {"prompt_weights": "none", "long_prompt": "truncate", **parsed, "expansion": read_expansion(fields)}
    parsed |= _files_with_recorded_hash(parsed, fields)
    for name in upscaling_replay.SETTINGS:
        if parsed.get(name) and fields.get(upscaling_replay.HASH):
            parsed[name] = upscaling_replay.find_network(_RECORD_PATH, fields, name)
    if parsed.get("control") and fields.get("control_sha256"):
        parsed["control"] = _recorded_files(find_controls, fields)
    if parsed.get("image_prompt") and fields.get("image_prompt_sha256"):
        parsed["image_prompt"] = _recorded_files(find_image_prompts, fields)
    unknown |= {name: fields[name] for name in KEPT_PROVENANCE if fields.get(name)}
    if unknown:
        parsed["unknown_fields"] = unknown
    if "preset" in parsed:
        parsed["recorded_preset"] = parsed.pop("preset")
    names = [f"{setting}_{part}" for setting in PINNED_SETTINGS if setting in parsed for part in WEIGHTS_PROVENANCE]
    if names:
        parsed["recorded_weights"] = tuple((name, fields.get(name)) for name in names)
    schema = recorded_schema(fields)
    return {**parsed, "schema": schema} if schema is not None and schema > RECORD_SCHEMA else parsed


def _files_with_recorded_hash(parsed: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the LoRAs and embeddings of a record with the paths of the files that have the recorded hashes.

    Raises:
        InputFileError: a file is missing, or has another hash.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, find in (("lora", find_lora), ("embedding", find_embedding)):
        texts, digests = parsed.get(name) or (), fields.get(f"{name}_sha256")
        if not isinstance(texts, list | tuple) or not isinstance(digests, list) or len(texts) != len(digests):
            continue
        try:
            pairs = zip(texts, digests, strict=True)
            found[name] = tuple(find(_RECORD_PATH, str(text), str(digest)) for text, digest in pairs)
        except InputFileError as error:
            message = error.message.removeprefix(f"Cannot replay '{_RECORD_PATH}': its ")
            raise InputFileError(
                f"Cannot use the record: its {message}",
                f"Copy the file to your {name}_folder. To use another file, remove the key 'artgen' from the job.",
            ) from error
    return found


def _recorded_files(find: Callable[[Path, Mapping[str, Any]], list[str]], fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the control images or image prompts of a record with the paths of the files with the recorded hashes.

    Raises:
        InputFileError, ModelUnavailableError, RefusedError: an image or a net is missing, or has another hash.
    """
    try:
        return tuple(find(_RECORD_PATH, fields))
    except ArtgenError as error:
        error.message = error.message.replace(f"Cannot replay '{_RECORD_PATH}'", "Cannot use the record")
        raise


def _record_task(fields: Mapping[str, Any]) -> str | None:
    task = fields.get("task")
    return task if isinstance(task, str) and task in TASKS else None


def _non_setting_keys(fields: Mapping[str, Any]) -> set[str]:
    """Return the keys of an image record that are not settings."""
    task = _record_task(fields)
    setting_names = options_of(TASKS[task].request_class) if task else LINE_SETTINGS
    return {*JSON_ONLY_KEYS, *PROVENANCE_FIELDS} - {"task", *setting_names}


def entry_or_error(source: str, line: int, parse: Callable[..., dict[str, Any]], *arguments: Any) -> Entry | LineError:
    """Return the entry with the settings that `parse(*arguments, on_note)` returns, or the error that it raises."""
    notes: list[str] = []
    try:
        values = parse(*arguments, notes.append)
    except ArtgenError as error:
        return LineError(source, line, error)
    return Entry(source, line, values, notes=tuple(notes))


def build_request(task: str, setting_values: Mapping[str, Any]) -> Request:
    """Build the request of a line from its settings.

    Raises:
        UsageError: the task does not take a setting, or a value is outside its limits.
    """
    request_class = TASKS[task].request_class
    values = dict(setting_values)
    size = values.pop("size", None)
    if size is not None:
        if "width" not in options_of(request_class):
            raise UsageError(f"{task} takes no size.")
        values["width"], values["height"] = images.parse_size(size)
    for name in values.keys() - options_of(request_class).keys():
        raise UsageError(f"{task} takes no {name}.", "Remove it, or use another task for this line.")
    return request_class(**values)
