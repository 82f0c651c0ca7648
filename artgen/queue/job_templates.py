"""Convert the settings of entries without their prompts to job templates, which many jobs share."""

import dataclasses
from collections.abc import Container
from pathlib import Path, PurePath
from typing import Any

from artgen import outputs
from artgen.errors import ArtgenError, OutputError, UsageError
from artgen.events import Listener
from artgen.jobs import checks
from artgen.jobs.batch_size import default_batch_size
from artgen.jobs.job import DenoiseJob, Job, PipelineJob, UpscaleJob
from artgen.jobs.license_notes import license_notes
from artgen.jobs.model_entries import ModelCache
from artgen.jobs.notes import format_notes
from artgen.jobs.prepare import prepare_jobs
from artgen.jobs.replay_checks import PINNED_SETTINGS, pinned_model
from artgen.outputs import AnimationOutput, Destination
from artgen.queue import fingerprints
from artgen.queue.entries import OUTPUT_SETTINGS
from artgen.queue.job_settings import build_request
from artgen.queue.plan import JobTemplate
from artgen.queue.recovery import OwnFiles
from artgen.spec.base_requests import Request
from artgen.spec.records import to_record, unknown_task_hint
from artgen.spec.requests import TASKS
from artgen.spec.settings import OutputSettings

_RECORDED_MODEL_HINT = "To select a model by its path, remove the key 'artgen' from the job."


class JobTemplates:
    """Create job templates, each once.

    Attributes:
        model_cache: resolved models.
    """

    def __init__(
        self,
        folder: Path,
        animation_output: AnimationOutput | None,
        *,
        existing_files: Container[Path],
        recognizes_images: bool,
        listener: Listener,
    ) -> None:
        """Store the arguments, which `Planner` describes."""
        self._folder = folder
        self._animation_output = animation_output
        self._existing_files = existing_files
        self._recognizes_images = recognizes_images
        self._listener = listener
        self.model_cache = ModelCache()
        self._templates: dict[tuple[Any, ...], JobTemplate | ArtgenError] = {}
        self._shape_ids: dict[tuple[Any, ...], int] = {}

    def find(self, setting_values: dict[str, Any]) -> JobTemplate:
        """Return the template of settings without prompts, and create it in the first call.

        Raises:
            ArtgenError: the settings are not valid. Later calls with the same settings raise the same error.
        """
        key: tuple[Any, ...] = tuple(sorted(setting_values.items(), key=lambda item: item[0]))
        try:
            found = self._templates.get(key)
        except TypeError:  # An invalid line contains a list or an object, which has no hash.
            found = None
            key = (repr(key),)
        if found is None:
            try:
                found = self._build_template(setting_values)
            except ArtgenError as error:
                found = error
            self._templates[key] = found
        if isinstance(found, ArtgenError):
            raise found
        return found

    def _build_template(self, setting_values: dict[str, Any]) -> JobTemplate:
        task = setting_values.pop("task", "txt2img")
        if task not in TASKS:
            raise UsageError(f"Cannot use {task!r} as a task: it is unknown.", unknown_task_hint(task))
        file_values = {name: setting_values.pop(name) for name in OUTPUT_SETTINGS if name in setting_values}
        output = OutputSettings(**file_values)
        recorded = dict(setting_values.pop("recorded_weights", ()))
        for setting in [name for name in PINNED_SETTINGS if f"{name}_hash" in recorded]:
            record = {setting: setting_values[setting], **recorded}
            setting_values[setting] = pinned_model(record, "Cannot use the record", _RECORDED_MODEL_HINT, setting)[0]
        if names := setting_values.pop("recorded_preset", ()):
            setting_values["preset"] = names
        if "prompt" in TASKS[task].inputs:  # The planner replaces this prompt. Some requests refuse an empty prompt.
            setting_values = {"prompt": "x", **setting_values}
        request = build_request(task, setting_values).replace(seed=0)
        job = self._prepare(request)
        record = to_record(job.request, job.provenance)
        destination = self._resolve_destination(output, job.request)
        owned = OwnFiles(self._existing_files, job) if self._recognizes_images else self._existing_files
        try:
            destination.check(*job.size, record, has_alpha=job.has_transparency, owned_paths=owned)
        except OutputError as error:  # a batch has no --overwrite
            raise OutputError(error.message, error.hint.replace(", or add --overwrite", "")) from error
        if self._animation_output is not None:
            checks.check_frames(self._animation_output.settings, job)
            self._animation_output.check(record)
        shape = (job.request.group_key(), job.size)
        return JobTemplate(
            job.request,
            job.size,
            destination,
            (*job.notes, *format_notes(job, destination.encoding), *license_notes([job])),
            fingerprints.settings_digest(job, output, destination.encoding),
            fingerprints.former_settings_digests(job, output, destination.encoding),
            self._shape_ids.setdefault(shape, len(self._shape_ids)),
            self._animation_output,
            default_batch_size(job),
            job.model if isinstance(job, DenoiseJob | PipelineJob | UpscaleJob) else None,
            job.provenance,
        )

    def _prepare(self, request: Request) -> Job:
        """Return the job of a request. No weights are downloaded.

        Raises:
            ArtgenError: the request is not valid.
        """
        return prepare_jobs([request], self._listener, self.model_cache, download=False)[0]

    def _resolve_destination(self, output: OutputSettings, request: Request) -> Destination:
        name = output.output
        if name is not None and (PurePath(name).is_absolute() or ".." in PurePath(name).parts):
            raise UsageError(
                f"Cannot save to '{name}': it is outside the folder of the batch.", "Use a file inside the folder."
            )
        root = str(self._folder).replace("{", "{{").replace("}", "}}")
        return outputs.destination_for_requests([request], dataclasses.replace(output, output=f"{root}/{name or ''}"))
