"""Convert the JSON of a job to validated requests, before a model is loaded."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.errors import ArtgenError, UsageError
from artgen.events import note_listener
from artgen.jobs import prompt_notes
from artgen.jobs.control.replay import find_controls
from artgen.jobs.image_prompts.replay import find_image_prompts
from artgen.jobs.notes import job_notes
from artgen.jobs.prompt_expansion import PromptSources, apply_choices, choose_prompts, typed_prompts
from artgen.jobs.replay_checks import PINNED_SETTINGS, pinned_model
from artgen.queue.entries import Entry, accepted_settings, merge_defaults
from artgen.queue.job_settings import build_request, parse_settings
from artgen.queue.keys import Keys
from artgen.queue.line_presets import LinePresets
from artgen.server.client_values import check_files, check_prompt_tags, replace_references
from artgen.server.server_models import is_editing_model
from artgen.server.settings import ServerSettings
from artgen.server.uploads import NO_UPLOADS, Upload, UploadedFiles
from artgen.spec.base_requests import PromptRequest, Request
from artgen.spec.prompt_expansion import PromptExpansion
from artgen.spec.requests import TASKS
from artgen.spec.seeds import expand_series
from artgen.spec.selected_filters import combined_names, configured_names
from artgen.spec.settings import OutputSettings, SeriesSettings, options_of, validate

STATE_LOCK = threading.RLock()
"""Lock of the caches that artgen resets between two jobs. Validation and reset do not run at the same time."""

_TASKS_WITHOUT_SEED = ("denoise", "upscale")
"""Tasks whose default methods use no random numbers: a job without a seed gets none, as on the command line."""

_TASKS_WITH_DEFAULT_MODEL = ("txt2img", "img2img", "inpaint", "outpaint")
"""Tasks that use the default model of the server. The default models of other tasks have another kind."""

_RECORD_HINT = "To use another model, remove the key 'artgen' from the job."


@dataclass(frozen=True)
class ParsedJob:
    """Store the validated requests of a job.

    Attributes:
        requests: one request for each image, of one task.
        files: uploaded files that the requests name.
        notes: notes for the user.
        metadata: what the images contain: full, minimal or none.
        num_bytes: size of the uploaded files.
    """

    requests: tuple[Request, ...]
    files: UploadedFiles
    notes: tuple[str, ...] = ()
    metadata: str = "full"
    num_bytes: int = 0


_KEYS = Keys(has_option=False)


def parse_job(
    values: Mapping[str, Any], uploads: Mapping[str, Upload] = NO_UPLOADS, settings: ServerSettings | None = None
) -> ParsedJob:
    """Convert the JSON of a job to requests, and validate them completely without loading a model.

    Args:
        values: a line of a prompt file as JSON, or the record of an image. A value `upload:NAME` names an uploaded
            file. Other names of files, folders and URLs are refused.
        uploads: uploaded files by the names of their parts.
        settings: limits and defaults of the server; None: the defaults of `ServerSettings`.

    Raises:
        ArtgenError: the job is invalid, a file is invalid, or a model is not on the server.
    """
    settings = settings or ServerSettings()
    files = UploadedFiles(uploads)
    notes: list[str] = []
    with STATE_LOCK, files.named_in_errors():
        files.check(settings.max_upload_pixels)
        parsed = _parse_values(replace_references(values, files), files, notes.append)
        check_files(parsed, files)
        if files.unused:
            raise UsageError(
                f"The uploaded file {files.unused[0]!r} is not used by the job.", f'"image": "upload:{files.unused[0]}"'
            )
        parsed, metadata = _take_output_settings(parsed)
        requests = _prepare_requests(parsed, settings, dict(settings.defaults), notes)
    unique_notes = tuple(map(files.with_names, dict.fromkeys(notes)))
    return ParsedJob(tuple(requests), files, unique_notes, metadata, files.num_bytes)


def _parse_values(values: Any, files: UploadedFiles, on_note: Callable[[str], None]) -> dict[str, Any]:
    """Return the settings of a job. The images of a record are uploaded files; its nets are found by their hashes.

    With `final_prompts`, tags in the prompts are text, as in the prompts of a record.
    """
    if isinstance(values, Mapping) and values.get("final_prompts") is True:
        parsed = parse_settings({key: value for key, value in values.items() if key != "final_prompts"}, _KEYS, on_note)
        return {**parsed, "expansion": PromptExpansion()}
    if not isinstance(values, Mapping) or "artgen" not in values:
        return parse_settings(values, _KEYS, on_note)
    record = dict(values)
    found = {}
    for name, find in (("control", find_controls), ("image_prompt", find_image_prompts)):
        if record.get(name) and record.get(f"{name}_sha256"):
            found[name] = tuple(find(Path("record"), record, files.known_paths))
            del record[name]
    return {**parse_settings(record, _KEYS, on_note), **found}


def _expand(request: Request, on_note: Callable[[str], None]) -> Request:
    """Return a request with final prompts. The tags of a prompt are checked after the choice of its wildcards."""
    if not isinstance(request, PromptRequest) or request.expansion is not None:
        return request
    sources, listener = PromptSources(), note_listener(on_note)
    for note in prompt_notes.input_notes({"prompt": request.prompt, "negative_prompt": request.negative_prompt}):
        on_note(note)
    chosen = choose_prompts(typed_prompts(request), request.seed or 0, sources)
    if request.prompt_weights != "none":
        check_prompt_tags(chosen.prompt)
    expanded = apply_choices(request, chosen, listener, sources)
    prompt_notes.check_syntax(expanded)
    return expanded


def _take_output_settings(values: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Remove the settings of the image file. Return the other settings, and the value of `metadata`.

    Raises:
        UsageError: a setting of the file has no meaning for a server.
    """
    rest = dict(values)
    metadata = rest.pop("metadata", "full")
    if rest.get("format") in ("png", None):
        rest.pop("format", None)
    defaults = {name: getattr(OutputSettings(), name) for name in options_of(OutputSettings)}
    for name, default in {**defaults, "combinatorial": False}.items():
        if rest.pop(name, None) not in (None, default):
            raise UsageError(f"A job of the server takes no {name}: each image is a PNG file.", f"Remove {name}.")
    return rest, metadata


def _prepare_requests(
    values: dict[str, Any], settings: ServerSettings, defaults: dict[str, Any], notes: list[str]
) -> list[Request]:
    """Return validated requests, without the defaults of the server that do not fit the job."""
    task = values.get("task", "txt2img")
    if task not in _TASKS_WITH_DEFAULT_MODEL and not (task == "edit" and is_editing_model(None, settings)):
        defaults.pop("model", None)
    while True:  # each repetition has one default less
        found = list(notes)
        try:
            requests = [_expand(each, found.append) for each in _build_requests(values, settings, defaults)]
            _validate(requests, settings, found)
        except ArtgenError as error:
            name = next((name for name in error.settings if name in defaults and name not in values), None)
            if name is None:
                raise
            del defaults[name]
            notes.append(f"The default of {name} of the server is ignored: {error.message}")
        else:
            notes[:] = found
            return requests


def _build_requests(
    values: dict[str, Any], settings: ServerSettings, server_defaults: Mapping[str, Any]
) -> list[Request]:
    """Return a request for each image."""
    entry, defaults = LinePresets().apply(Entry("job", 0, values), server_defaults)
    merged = merge_defaults(entry.setting_values, defaults)
    task = merged.pop("task", "txt2img")
    if task not in TASKS:
        raise UsageError(f"{task} is not a task.")
    extra = {name: merged.pop(name) for name in ("unknown_fields", "expansion") if name in merged}
    _pin_recorded_weights(merged)
    has_series = "seed" in merged or "count" in merged
    series = SeriesSettings(seed=merged.pop("seed", None), count=merged.pop("count", 1))
    validate(series)
    if "seed" not in accepted_settings(task):
        raise UsageError(f"{task} takes no seed.")
    variation = merged.get("variation_seed"), merged.get("variation_strength")
    if series.count > settings.max_images_per_job:
        raise _too_many(series.count, settings)
    all_seeds = expand_series(series, *variation, num_candidates=merged.get("best_of"))
    if len(all_seeds) > settings.max_images_per_job:
        raise _too_many(len(all_seeds), settings)
    if not has_series and task in _TASKS_WITHOUT_SEED:
        all_seeds = [{}]
    merged["filter"] = combined_names(settings.filter or configured_names(), merged.get("filter", ()))
    requests = [build_request(task, {**merged, **seeds}) for seeds in all_seeds]
    if extra:
        requests = [each.replace(**extra) for each in requests]
    if not settings.allow_downloads and "offline" in options_of(TASKS[task].request_class):
        requests = [each.replace(offline=True) for each in requests]
    return requests


def _pin_recorded_weights(values: dict[str, Any]) -> None:
    """Replace the weights of a record by the names of weights with the recorded hashes, as `artgen replay` does.

    Raises:
        ModelUnavailableError, RefusedError: see `pinned_model`.
    """
    values.pop("schema", None)
    if names := values.pop("recorded_preset", ()):
        values["preset"] = names
    recorded = dict(values.pop("recorded_weights", ()))
    for setting in [name for name in PINNED_SETTINGS if f"{name}_hash" in recorded]:
        record = {setting: values[setting], **recorded}
        values[setting] = pinned_model(record, "Cannot use the record", _RECORD_HINT, setting)[0]


def _too_many(count: int, settings: ServerSettings) -> UsageError:
    return UsageError(
        f"A job of {count:,} images is too large: the limit of this server is {settings.max_images_per_job}.",
        "Send several jobs.",
    )


def _validate(requests: list[Request], settings: ServerSettings, notes: list[str]) -> None:
    """Run all checks that need no weights."""
    from artgen.jobs.prepare import prepare_jobs

    jobs = prepare_jobs(requests, note_listener(notes.append), download=False)
    for job in jobs:
        notes += job_notes(job)
        width, height = job.size
        is_generated = bool(TASKS[job.request.task].pipeline_kind)
        limit = settings.max_generated_pixels if is_generated else settings.max_result_pixels
        if width * height > limit:
            raise UsageError(
                f"An image of {width}x{height} pixels is too large: the limit of this server is {limit:,} pixels.",
                "Use a smaller size, or start the server with a larger --max-pixels." if is_generated else "",
            )
