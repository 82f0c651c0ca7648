"""Convert the entries of a batch to jobs: validate each entry, fill in its defaults and compute its fingerprint."""

import hashlib
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from artgen import outputs
from artgen.errors import ArtgenError, UsageError
from artgen.events import Listener, no_op, note_listener
from artgen.jobs import pipeline_options, prompt_checks, prompt_chunks, prompt_notes
from artgen.jobs.notes import effect_warnings
from artgen.jobs.prepare import prepare_jobs
from artgen.jobs.prompt_embedding_names import without_unsupported
from artgen.jobs.prompt_expansion import (
    ChosenPrompts,
    PromptSources,
    TypedPrompts,
    apply_choices,
    choose_prompts,
    combine_prompts,
    report_once,
)
from artgen.jobs.recorded_prompt import DROPPABLE, group_note
from artgen.queue.entries import MAX_JOBS, Entry, LineError, accepted_settings, defaults_of_task, merge_defaults
from artgen.queue.job_identities import JobIdentities, prompts_text
from artgen.queue.job_templates import JobTemplates
from artgen.queue.line_presets import LinePresets
from artgen.queue.plan import BatchPlan, JobTemplate, PlannedJob
from artgen.queue.recorded_prompts import PROMPT_NAMES, PROMPT_STATE, RecordedPrompts
from artgen.queue.remote_templates import RemoteTemplates
from artgen.queue.variation_values import variation_values
from artgen.spec.base_requests import PromptRequest, Request
from artgen.spec.requests import TASKS
from artgen.spec.restoration_requests import Upscale
from artgen.spec.settings import (
    FramesSettings,
    PromptSettings,
    SeriesSettings,
    options_of,
    validate,
)
from artgen.spec.wildcard_combinations import check_number

_NAMED_IN_PROMPTS = ("lora", "embedding")
"""Settings to which the text of a prompt can add values."""

NOTHING_TO_COMBINE_NOTE = "--combinatorial has no effect on a prompt without wildcards and variants."


class _ExpandedJob(NamedTuple):
    """Store a request with resolved prompts, the template of its other settings, and its fingerprint."""

    request: Request
    template: JobTemplate
    fingerprint: str


class Planner:
    """Convert entries to jobs. Values that several jobs share are computed once."""

    def __init__(
        self,
        folder: Path,
        defaults: Mapping[str, Any] | None = None,
        *,
        existing_files: Container[Path] = (),
        known_fingerprints: Container[str] = (),
        recognizes_images: bool = False,
        optional_settings: Container[str] = (),
        is_remote: bool = False,
        listener: Listener = no_op,
    ) -> None:
        """Store the arguments. The planner does not read or write files yet.

        Args:
            folder: folder of the images.
            defaults: settings that apply if neither the line nor the file contains them and the line's task has them.
                Settings of frames apply to all jobs.
            existing_files: files that the batch wrote before; their names are not refused.
            known_fingerprints: fingerprints in the batch's ledger. A line whose job an earlier version of artgen
                wrote there keeps the fingerprint and the seed of that version.
            recognizes_images: do not refuse the name of an image with the record of the job, because the ledger lacks
                lines.
            optional_settings: defaults that are ignored with a note if a line does not support them, like the defaults
                section of a prompt file.
            is_remote: a server runs the jobs, so no model, LoRA or embedding is resolved on this machine.
            listener: receives the events of downloads.
        """
        self._folder = folder
        self._optional_settings = optional_settings
        self._defaults = dict(defaults or {})
        frames = {name: self._defaults.pop(name) for name in options_of(FramesSettings) if name in self._defaults}
        animation_output = outputs.parse_frames_option(FramesSettings(**frames), multiple_images=True, overwrite=False)
        self._listener = listener = report_once(listener)
        self._templates = (RemoteTemplates if is_remote else JobTemplates)(
            folder,
            animation_output,
            existing_files=existing_files,
            recognizes_images=recognizes_images,
            listener=listener,
        )
        self._identities = JobIdentities(known_fingerprints)
        self._group_ids: dict[tuple[Any, ...], int] = {}
        self._sources = PromptSources(finds_files=not is_remote)
        self._presets = LinePresets()
        self._recorded_prompts = RecordedPrompts(self._templates, self._identities, listener)

    def build_plan(self, entries: Iterable[Entry | LineError]) -> BatchPlan:
        """Convert every entry to jobs. The plan contains the errors of invalid entries; they are not raised.

        The seed of a line without a seed, or with seed -1, is computed from the line. Therefore a batch that runs
        again has the same seeds, even if lines were added, moved or removed.

        Raises:
            UsageError: there are more than `MAX_JOBS` jobs.
        """
        plan = BatchPlan(self._folder)
        for entry in entries:
            try:
                if isinstance(entry, LineError):
                    plan.line_errors.append(entry)
                else:
                    plan.add_entry_notes(entry)
                    defaults = defaults_of_task(entry.setting_values, self._defaults, self._optional_settings)
                    self._add_jobs_or_ignore_defaults(plan, *self._presets.apply(entry, defaults))
            except ArtgenError as error:
                plan.line_errors.append(LineError(entry.source, entry.line, error))
            if len(plan.jobs) + len(plan.line_errors) > MAX_JOBS:
                raise UsageError(f"Cannot run the batch: it has more than {MAX_JOBS:,} jobs.", "Split the batch.")
        if note := group_note(self._recorded_prompts.used):
            plan.add_note(note)
        return plan

    @property
    def has_previews(self) -> bool:
        """Return whether the weights of a model of the planned jobs are not on the disk."""
        return any(entry.is_preview for entry in self._templates.model_cache.values())

    def download_models(self, plan: BatchPlan) -> None:
        """Download the weights of the models of all planned jobs. Then another planner must plan the batch again.

        Raises:
            ArtgenError: a download failed, or the downloaded files are not valid.
        """
        requests = {id(job.template): job.template.request for job in plan.jobs}
        prepare_jobs(list(requests.values()), self._listener, self._templates.model_cache)

    def _add_jobs_or_ignore_defaults(
        self, plan: BatchPlan, entry: Entry, defaults: Mapping[str, Any], dropped: Collection[str] = ()
    ) -> None:
        """Add the jobs of an entry without the optional defaults that do not fit its other settings."""
        try:
            self._add_jobs(plan, entry, defaults, dropped)
        except ArtgenError as error:
            for name in error.settings:
                if name in DROPPABLE and name not in (*entry.setting_values, *defaults, *dropped):
                    plan.default_notes[f"The recorded {name} is not used: {error.message}"] = None
                    return self._add_jobs_or_ignore_defaults(plan, entry, defaults, (*dropped, name))
                is_optional = name in entry.defaults or name in self._optional_settings
                if is_optional and name in defaults and name not in entry.setting_values:
                    plan.default_notes[f"The default of {name} is ignored: {error.message}"] = None
                    rest = {key: value for key, value in defaults.items() if key != name}
                    return self._add_jobs_or_ignore_defaults(plan, entry, rest, dropped)
            raise

    def _add_jobs(
        self, plan: BatchPlan, entry: Entry, defaults: Mapping[str, Any], dropped: Collection[str] = ()
    ) -> None:
        values, *other_variations = variation_values(merge_defaults(entry.setting_values, defaults))
        if other_variations:
            for each in (values, *other_variations):
                self._add_jobs(plan, Entry(entry.source, entry.line, each, entry.defaults), {}, dropped)
            return
        if (task_name := values.get("task", "txt2img")) in TASKS:
            plan.accepted_settings |= accepted_settings(task_name)
            plan.file_defaults |= dict.fromkeys(entry.defaults)
        unknown_fields = plan.add_unknown_fields(values)
        series = SeriesSettings(seed=values.pop("seed", None), count=values.pop("count", 1))
        validate(series)
        values |= self._recorded_prompts.settings_for(plan, values, series, dropped)
        prompts = {name: values.pop(name) for name in PROMPT_NAMES if name in values}
        state = {name: values.pop(name, None) for name in PROMPT_STATE}
        template = self._templates.find(values)
        if series.seed is not None and isinstance(template.request, Upscale) and template.request.seed is None:
            plan.default_notes[f"The method {template.request.method} of upscale does not use seed."] = None
        task = TASKS[template.request.task]
        given = [*prompts, *(["combinatorial"] if state["combinatorial"] else [])]
        if unknown := [name for name in given if name not in accepted_settings(task.name)]:
            raise UsageError(f"{task.name} takes no {' and no '.join(unknown)}.", "Remove it.")
        validate(PromptSettings(**prompts))
        self._check_negative_prompt(plan, template, prompts.get("negative_prompt", ""))
        if "prompt" in task.inputs and not prompts.get("prompt", "").strip():
            raise UsageError(f"{task.name} needs a prompt.", "a red fox --seed 7")
        if state["expansion"] is None:
            plan.add_line_notes(entry, prompt_notes.input_notes(prompts))
        seeds = self._identities.of_line(template, prompts, series)
        for job in self._expanded_jobs(plan, template, values, prompts, state, seeds):
            request = job.request.replace(unknown_fields=unknown_fields) if unknown_fields else job.request
            if isinstance(request, PromptRequest) and job.template.model is not None:
                if state["expansion"] is None:
                    prompt_notes.check_syntax(request)
                prompt_checks.check_prompts(request, job.template.model)
                plan.add_line_notes(entry, prompt_notes.prompt_notes(request, job.template.model))
                plan.default_notes |= dict.fromkeys(prompt_checks.prompt_notes(request, job.template.model))
            group_key = (job.template.shape_id, *prompt_chunks.group_key(request, job.template.model))
            group_id = self._group_ids.setdefault(group_key, len(self._group_ids))
            number = len(plan.jobs) + 1
            plan.jobs.append(
                PlannedJob(number, entry.source, entry.line, request, job.template, group_id, job.fingerprint)
            )

    def _expanded_jobs(
        self,
        plan: BatchPlan,
        template: JobTemplate,
        values: Mapping[str, Any],
        prompts: Mapping[str, Any],
        state: Mapping[str, Any],
        seeds: Sequence[tuple[int, str]],
    ) -> list[_ExpandedJob]:
        """Return the jobs of an entry with resolved prompts.

        Args:
            plan: receives notes.
            template: template of the settings without prompts.
            values: settings of the template.
            prompts: prompts and styles as typed.
            state: values of `PROMPT_STATE`.
            seeds: seed and fingerprint of each image.
        """
        request = template.request
        if not isinstance(request, PromptRequest) or state["expansion"] is not None:
            final = {"expansion": state["expansion"]} if isinstance(request, PromptRequest) else {}
            if prompts.get("style"):
                raise UsageError(
                    "Cannot add a style to the record of an image: its prompts are final.",
                    "Remove the style, or the key 'artgen' of the job.",
                )
            if state["combinatorial"]:
                plan.default_notes[NOTHING_TO_COMBINE_NOTE] = None
            return [
                _ExpandedJob(request.replace(**prompts, **final, seed=seed), template, fingerprint)
                for seed, fingerprint in seeds
            ]
        typed = TypedPrompts(**prompts, prompt_weights=request.prompt_weights)
        all_chosen: Sequence[ChosenPrompts] | None = state["chosen_prompts"]
        if state["combinatorial"] and all_chosen is None:
            all_chosen = combine_prompts(typed, self._sources)
            check_number(len(all_chosen) * len(seeds))
            if len(all_chosen) == 1:
                plan.default_notes[NOTHING_TO_COMBINE_NOTE] = None
                all_chosen = None
        jobs, listener = [], note_listener(plan.add_note)
        for seed, fingerprint in seeds:
            base = request.replace(**prompts, seed=seed, expansion=None)
            for chosen in all_chosen or [choose_prompts(typed, seed, self._sources)]:
                job = self._expanded_job(plan, template, values, apply_choices(base, chosen, listener, self._sources))
                digest = job.template.settings_digest
                if all_chosen is not None:
                    text = prompts_text({"prompt": chosen.prompt, "negative_prompt": chosen.negative_prompt})
                    job = job._replace(
                        fingerprint=self._identities.fingerprint(hashlib.sha256(digest + text).digest(), seed)
                    )
                elif job.template is not template:
                    job = job._replace(fingerprint=hashlib.sha256(digest + fingerprint.encode()).hexdigest())
                else:
                    job = job._replace(fingerprint=fingerprint)
                jobs.append(job)
        return jobs

    def _expanded_job(
        self, plan: BatchPlan, template: JobTemplate, values: Mapping[str, Any], request: PromptRequest
    ) -> _ExpandedJob:
        """Return the job of a request with resolved prompts. LoRAs and embeddings in its prompts need a template."""
        typed = template.request
        if template.model is not None:
            request, notes = without_unsupported(request, template.model)
            plan.default_notes |= dict.fromkeys(notes)
        named = {
            name: getattr(request, name) for name in _NAMED_IN_PROMPTS if getattr(request, name) != getattr(typed, name)
        }
        if named:
            template = self._templates.find({**values, **named})
            prompts = {name: getattr(request, name) for name in (*PROMPT_NAMES, "seed", "expansion") if name != "style"}
            self._check_negative_prompt(plan, template, request.negative_prompt)
            return _ExpandedJob(template.request.replace(**prompts), template, "")
        self._check_negative_prompt(plan, template, request.negative_prompt)
        return _ExpandedJob(request, template, "")

    def _check_negative_prompt(self, plan: BatchPlan, template: JobTemplate, negative_prompt: str) -> None:
        """Check a negative prompt, which templates do not contain, and add the notes about its effect."""
        request = template.request
        if not negative_prompt or template.model is None or not isinstance(request, PromptRequest):
            return
        pipeline_options.check_negative_prompt(negative_prompt, template.model)
        if getattr(request, "strength", None) != 0:
            notes = effect_warnings(request.replace(negative_prompt=negative_prompt), template.model)
            plan.default_notes |= dict.fromkeys(notes)
