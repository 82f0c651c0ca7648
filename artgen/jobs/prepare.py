"""Convert a request to a job: load the inputs, resolve the model, fill in defaults, validate.

All validation runs here, before torch is imported and weights are read. The inputs are loaded first, because resolving
a model may download gigabytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from artgen import registry
from artgen.events import Downloading, Listener, Notice, no_op
from artgen.jobs import acceleration as acceleration_checks
from artgen.jobs import (
    checks,
    components,
    fast_parts,
    image_scores,
    pipeline_options,
    prompt_checks,
    prompt_notes,
    sample,
)
from artgen.jobs import inputs as job_inputs
from artgen.jobs import notes as notes_of
from artgen.jobs.control.images import activity_notes
from artgen.jobs.drafts import JobDraft, build_job, describe_result, fill_request
from artgen.jobs.inputs import InputImages, input_key
from artgen.jobs.job import Job
from artgen.jobs.machine_checks import check_machine
from artgen.jobs.mask_models import MaskModelCache
from artgen.jobs.model_entries import (
    ModelCache,
    ModelEntry,
    ModelKey,
    check_model,
    has_changed,
    model_key,
    resolve_model,
)
from artgen.jobs.output_filters import FilterCache
from artgen.jobs.prompt_embedding_names import without_unsupported
from artgen.jobs.prompt_expansion import PromptSources, expand_prompts, report_once
from artgen.jobs.score_models import ScoreModelCache
from artgen.jobs.time_estimate import time_note
from artgen.jobs.upscaling.build import to_tile, with_tile_size
from artgen.jobs.upscaling.networks import NetworkCache
from artgen.registry import embeddings as embedding_files
from artgen.registry import lora as lora_files
from artgen.spec.base_requests import ImageRequest, PromptRequest, Request
from artgen.spec.fast import LCM_LORA_FILENAME
from artgen.spec.requests import Sample

WRAPPED_SEED_NOTE = "A seed of 2^32 or more generates the same image as its remainder modulo 2^32."


PrepareJobs = Callable[[Sequence[Request]], list[Job]]
"""`prepare_jobs` with its other arguments."""


def prepare_jobs(
    requests: Sequence[Request],
    listener: Listener = no_op,
    models: ModelCache | None = None,
    *,
    download: bool = True,
    check_previews: Callable[[Sequence[Job]], None] | None = None,
) -> list[Job]:
    """Convert requests to jobs, in order. Input images and models that several requests share are read once.

    If a model is not on the disk, all requests are validated with its configurations before its weights are downloaded.

    Args:
        requests: requests; unset settings are filled in.
        listener: receives the events of downloads.
        models: cache of resolved models, for several calls.
        download: download the weights of models; else the jobs contain models with the attribute `remote`.
        check_previews: raises an error if jobs whose weights are not downloaded yet cannot run.

    Raises:
        UsageError: settings do not fit the model or each other.
        InputFileError: an image, a mask, a control image, a LoRA or an embedding cannot be used.
        ModelUnavailableError: the model is unavailable, does not support the task, or does not fit a LoRA.
        RefusedError: the model or a LoRA is a pickle, or the model contains code.
        FilteredError: a filter refuses the prompts of all requests.
    """
    check_machine(requests)
    report, sources = report_once(listener), PromptSources()
    typed = [each for each in requests if isinstance(each, PromptRequest) and each.expansion is None]
    for prompt, negative_prompt in dict.fromkeys((each.prompt, each.negative_prompt) for each in typed):
        for note in prompt_notes.input_notes({"prompt": prompt, "negative_prompt": negative_prompt}):
            report(Notice(note))
    expanded = []
    for request in requests:
        expanded.append(expand_prompts(request, report, sources))
        if expanded[-1] is not request:  # The tool that wrote a record accepted its prompts.
            prompt_notes.check_syntax(expanded[-1])
    requests = expanded
    stages = _Stages(listener, {} if models is None else models)
    drafts = stages.filters.check_prompts(requests)
    loaded = [stages.load_inputs(draft) for draft in drafts]
    jobs = [build_job(stages.complete(draft)) for draft in loaded]
    if not download or not stages.has_previews:
        return jobs
    if check_previews is not None:
        check_previews(jobs)
    stages.download_models(requests)
    return [build_job(stages.complete(draft)) for draft in loaded]


class _Stages:
    """Run the stages. Each stage converts a draft; values that several drafts share are computed once."""

    def __init__(self, listener: Listener, models: ModelCache) -> None:
        self._listener = listener
        self._on_download = _download_callback(listener)
        self._models = models
        self._checked_models: set[ModelKey] = set()
        self._inputs: dict[tuple[Any, ...], InputImages] = {}
        self._loras: dict[tuple[Any, ...], tuple[lora_files.LoraRequest, ...]] = {}
        self._shared: dict[tuple[Any, ...], JobDraft] = {}
        self._networks = NetworkCache(listener)
        self._mask_models = MaskModelCache(listener)
        self._score_models = ScoreModelCache(listener)
        self.filters = FilterCache(listener)

    def load_inputs(self, draft: JobDraft) -> JobDraft:
        """Load input images, LoRAs and embeddings."""
        key, loras = input_key(draft.request), draft.request.loras
        if key not in self._inputs:
            self._inputs[key] = job_inputs.load_inputs(draft.request)
        if loras not in self._loras:
            self._loras[loras] = lora_files.resolve_loras(loras)
            for each in self._loras[loras]:
                self._save_location(each.file.sha256, each.file.path)
        embeddings = embedding_files.resolve_embeddings(draft.request.embeddings)
        for embedding in embeddings:
            self._save_location(embedding.file.sha256, embedding.file.path)
        return to_tile(replace(draft, inputs=self._inputs[key], loras=self._loras[loras], embeddings=embeddings))

    def complete(self, draft: JobDraft) -> JobDraft:
        """Run all stages after `load_inputs`."""
        draft = self._networks.add_to(self.fill_defaults(self._prepare_model(draft)))
        return self.filters.add_to(self.validate(self._score_models.add_to(draft)))

    def _prepare_model(self, draft: JobDraft) -> JobDraft:
        return with_tile_size(self._mask_models.add_to(self.resolve_model(draft)))

    @property
    def has_previews(self) -> bool:
        """Return whether the weights of a model or of a component are not on the disk."""
        caches = self._mask_models, self._score_models, self._networks, self.filters
        return any(each.has_previews for each in caches) or any(each.is_preview for each in self._models.values())

    def download_models(self, requests: Sequence[Request]) -> None:
        """Download the weights of the models of requests of which only the configurations are on the disk."""
        self._mask_models.download()
        self._networks.download()
        self._score_models.download()
        self.filters.download()
        for request in requests:
            key = model_key(request)
            if self._models[key].is_preview:
                self._models[key] = self._resolve_entry(request, download=True)

    def resolve_model(self, draft: JobDraft) -> JobDraft:
        """Resolve the model, and check that it supports the task."""
        key = model_key(draft.request)
        if key not in self._checked_models and key in self._models and has_changed(self._models[key].model):
            del self._models[key]
        self._checked_models.add(key)
        if key not in self._models:
            for each in draft.loras:
                lora_files.check_named_model(each.file, key[0] or "")
            self._models[key] = self._resolve_entry(draft.request, download=False)
            resolved = self._models[key].model
            for note in resolved.notes if resolved else ():
                self._listener(Notice(note))
        check_model(draft.request, self._models[key])
        return replace(draft, entry=self._models[key])

    def _resolve_entry(self, request: Request, *, download: bool) -> ModelEntry:
        """Resolve the model of a request and its components, and record the locations of local files."""
        entry = resolve_model(request, self._listener, download=download)
        if entry.model is None:
            return entry
        if entry.model.is_local:
            self._save_location(entry.provenance.get("model_hash", ""), entry.model.path)
        check_model(request, entry)
        found = components.resolve_components(request, entry.model, self._listener, download=download)
        for digest, path in found.locations:
            self._save_location(digest, path)
        return replace(
            entry,
            model=found.model,
            settings=found.settings,
            provenance={**entry.provenance, **found.provenance},
            is_preview=found.is_pending or entry.model.remote is not None,
            nets=found.nets,
            preprocessors=found.preprocessors,
            adapters=found.adapters,
            upscaler=found.upscaler,
        )

    def _save_location(self, digest: str, path: Path) -> None:
        """Remember the place of a local file, so that `replay` finds it by its hash."""
        if note := registry.save_location(digest, path):
            self._listener(Notice(note))

    def fill_defaults(self, draft: JobDraft) -> JobDraft:
        """Fill in the size, the unset settings and the values for the record."""
        draft = self._fill_shared(draft)
        request = fill_request(draft)
        if draft.text_mask is not None and draft.text_mask.model is not None:
            draft = replace(draft, notes=(*draft.notes, *draft.text_mask.model.download_notes()))
        notes = draft.notes if (request.seed or 0) < 2**32 else (*draft.notes, WRAPPED_SEED_NOTE)
        if isinstance(request, PromptRequest) and draft.entry.model is not None:
            notes += notes_of.effect_warnings(request, draft.entry.model)
            notes += activity_notes(request, draft.inputs.controls)
            notes += notes_of.inversion_notes(draft.request, draft.entry.scheduler[0])
            notes += tuple(prompt_notes.prompt_notes(request, draft.entry.model))
            notes += notes_of.zero_snr_warnings(request, draft.entry.model, draft.entry.scheduler_config)
            provenance = pipeline_options.with_true_cfg(draft.provenance, request, draft.entry.model)
            draft = replace(draft, provenance=provenance)
        if isinstance(request, ImageRequest):
            notes = (*notes, *time_note(request, draft.entry.model, draft.size))
        if isinstance(draft.request, Sample) and isinstance(request, Sample):
            notes += sample.notes(draft.request, request)
        if draft.loras:
            request = request.replace(lora=tuple(map(str, draft.loras)))
            notes = (*notes, *notes_of.lora_notes(draft.loras))
        if isinstance(request, PromptRequest) and draft.entry.model is not None and draft.embeddings:
            request, more_notes = without_unsupported(
                request.replace(embedding=tuple(map(str, draft.embeddings))), draft.entry.model
            )
            embeddings = tuple(each for each in draft.embeddings if str(each) in request.embedding)
            draft, notes = replace(draft, embeddings=embeddings), (*notes, *more_notes)
        return replace(draft, request=request, notes=notes)

    def validate(self, draft: JobDraft) -> JobDraft:
        """Check the complete request against the model, and add what its LoRAs and approximations need."""
        model, request = draft.entry.model, draft.request
        if model is None:
            return draft
        if isinstance(request, PromptRequest):
            fast_parts.check_fast(request, model, getattr(request, "strength", None) or 1.0)
            checks.check_sampling(request, model, draft.entry.scheduler_config)
            prompt_checks.check_prompts(request, model)
            image_scores.check_scores(request, model)
            draft = replace(draft, notes=(*draft.notes, *prompt_checks.prompt_notes(request, model)))
        for each in draft.loras:
            lora_files.check_compatible(each.file, model)
        for embedding in draft.embeddings:
            embedding_files.check_compatible(embedding.file, model)
        if draft.loras:
            draft = replace(draft, provenance={**draft.provenance, **lora_files.lora_provenance(draft.loras)})
        if draft.embeddings:
            facts = embedding_files.embedding_provenance(draft.embeddings)
            draft = replace(draft, provenance={**draft.provenance, **facts})
        if isinstance(request, PromptRequest):
            draft = self._add_extras(draft, request, model)
            checks.check_text_offload(request, model, draft.loras)
            acceleration_checks.check_openvino(request, model)
        return draft

    def _fill_shared(self, draft: JobDraft) -> JobDraft:
        """Fill in size, provenance and notes, which are equal for jobs with the same model and the same inputs."""
        key = (model_key(draft.request), draft.entry.is_preview, input_key(draft.request), draft.inputs.result_size)
        if key not in self._shared:
            self._shared[key] = describe_result(draft)
        shared = self._shared[key]
        return replace(
            draft,
            size=shared.size,
            provenance=shared.provenance,
            notes=shared.notes,
            control_images=shared.control_images,
        )

    def _add_extras(self, draft: JobDraft, request: PromptRequest, model: registry.ResolvedModel) -> JobDraft:
        """Add the parts of the approximations, which are downloaded if necessary, after the model."""
        if model.remote is not None:
            return draft
        extras = fast_parts.find_extras(request, model, draft.entry.extras, self._on_download)
        if not extras:
            return draft
        loras = draft.loras
        if lcm := extras.get("lcm"):
            lcm_lora = lora_files.LoraRequest(lora_files.read_lora(lcm.folder / LCM_LORA_FILENAME), 1.0)
            loras = lora_files.reject_duplicates((*loras, lcm_lora))
            lora_files.check_compatible(lcm_lora.file, model)
        provenance = {**draft.provenance, "fast_parts": [part.repo_at_commit for part in extras.values()]}
        return replace(draft, extras=extras, loras=loras, provenance=provenance)


def _download_callback(listener: Listener) -> Callable[[str, int, int], None]:
    return lambda file, done, total: listener(Downloading(file, done, total))
