"""Check requests as far as possible without weights: the model, the scheduler, the pipeline and the length of prompts.

A dry run and a real run use the same checks, so that both report the same errors.
"""

import contextlib
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

import diffusers
import torch

from artgen.engine.loading import pipeline_cache, schedulers
from artgen.engine.loading.components import find_class
from artgen.engine.loading.oom import first_line
from artgen.engine.sampling import prompts
from artgen.errors import ArtgenError, ModelUnavailableError, UsageError
from artgen.events import Listener, Notice, no_op
from artgen.jobs import sample
from artgen.jobs.image_scores import check_scored_prompt
from artgen.jobs.job import DenoiseJob, Job, PipelineJob, UpscaleJob
from artgen.registry import ResolvedModel, read_scheduler_config, single_file_config
from artgen.spec.base_requests import PromptRequest, Request
from artgen.spec.refiner import parse_refiner
from artgen.spec.requests import Sample
from artgen.system.counts import counted


class RequestChecker:
    """Check requests one after another. What several requests share is checked once."""

    def __init__(self, listener: Listener = no_op) -> None:
        """Create a checker.

        Args:
            listener: receives a note for each truncated prompt. A real run reports them when it generates the image.
        """
        self._listener = listener
        self._checked: set[tuple[Any, ...]] = set()

    def check(self, request: Request, model: ResolvedModel | None) -> None:
        """Check a complete request.

        Args:
            request: request with all defaults.
            model: model that passed `registry.check_model_files`; None for methods without a model.

        Raises:
            UsageError: the scheduler, the number of steps or a prompt is not supported.
            ModelUnavailableError: the model cannot be loaded, or does not support the task.
        """
        if model is None:
            return
        pipeline_cache.check_loadable(model, safety_checker=getattr(request, "safety_checker", False))
        if model.refiner is not None:
            pipeline_cache.check_loadable(model.refiner)
        if isinstance(request, Sample):
            _check_sample_scheduler(request, model)
        if not isinstance(request, PromptRequest):
            return
        check_scored_prompt(request)
        strength = getattr(request, "strength", None)
        settings = (request.scheduler, request.sigmas, request.steps, request.refiner, strength)
        key = (model.load_key, request.task, *settings)
        if key not in self._checked:
            scheduler = _check_scheduler(request, model)
            if request.refiner is not None:
                _check_refiner_steps(request, scheduler)
            self._checked.add(key)
        if model.remote is None:  # else the tokenizer is not on the disk
            self._check_prompts(request, model)

    def _check_prompts(self, request: PromptRequest, model: ResolvedModel) -> None:
        for name, label in (("prompt", "prompt"), ("negative_prompt", "negative prompt")):
            if request.long_prompt == "error":
                prompts.reject_long(model, request, name)
            elif truncated := prompts.truncated_prompt(model, request, name):
                self._listener(Notice(prompts.truncation_note(label, truncated, request)))


def check_jobs(jobs: Iterable[Job], listener: Listener = no_op) -> None:
    """Check prepared jobs. `RequestChecker` describes the checks.

    Raises:
        UsageError, ModelUnavailableError: see `RequestChecker.check`.
    """
    checker = RequestChecker(listener)
    for job in jobs:
        if isinstance(job, PipelineJob | DenoiseJob):
            checker.check(job.request, job.model)
        elif isinstance(job, UpscaleJob) and job.tile is not None:
            checker.check(job.tile.request, job.tile.model)


def _check_sample_scheduler(request: Sample, model: ResolvedModel) -> None:
    """Check that the scheduler of a model without a prompt can be created and computes a step."""
    if model.pipeline == "ScoreSdeVePipeline":  # its scheduler has two kinds of steps
        return
    with _wrap_scheduler_errors(model):
        scheduler = schedulers.build_scheduler(_model_scheduler(model), request.scheduler, None)
        _run_first_step(scheduler, request.steps or 1, *sample.model_channels(model))


def _check_scheduler(request: PromptRequest, model: ResolvedModel) -> Any:
    """Check that the scheduler of a request can be created and run. Return it."""
    with _wrap_scheduler_errors(model):
        scheduler = schedulers.build_scheduler(_model_scheduler(model), request.scheduler, request.sigmas)
        schedulers.check_steps(scheduler, request.steps or 1)
        _run_first_step(scheduler, request.steps or 1)
    is_lcm_pipeline = model.pipeline.startswith("LatentConsistencyModel")
    if is_lcm_pipeline and "original_inference_steps" not in inspect.signature(scheduler.set_timesteps).parameters:
        raise UsageError(
            f"Cannot use '{model.name}' with the scheduler {type(scheduler).__name__}: its pipeline needs an "
            "LCMScheduler.",
            "Use --scheduler lcm.",
        )
    return scheduler


def _check_refiner_steps(request: PromptRequest, scheduler: Any) -> None:
    """Check that the base model and the refiner have a step each.

    Raises:
        UsageError: one of them has no step.
    """
    base_fraction, steps = parse_refiner(str(request.refiner)).base_fraction, request.steps or 1
    scheduler.set_timesteps(steps)
    skipped = steps - min(int(steps * (getattr(request, "strength", None) or 1.0)), steps)
    timesteps = scheduler.timesteps[skipped * scheduler.order :]
    num_train_timesteps = scheduler.config.num_train_timesteps
    base_steps = int((timesteps >= round(num_train_timesteps * (1 - base_fraction))).sum())
    if not 0 < base_steps < len(timesteps):
        idle = "base model" if base_steps == 0 else "refiner"
        raise UsageError(
            f"Cannot use --refiner with a fraction of {base_fraction:g} and {counted(len(timesteps), 'step')}: "
            f"the {idle} has no step.",
            "Use more --steps, a higher --strength or another fraction.",
            settings=("refiner", "steps"),
        )


def _model_scheduler(model: ResolvedModel) -> Any:
    config = read_scheduler_config(single_file_config(model) if model.is_file else model.path)
    return find_class("diffusers", str(config.get("_class_name")), diffusers.SchedulerMixin).from_config(config)


@contextlib.contextmanager
def _wrap_scheduler_errors(model: ResolvedModel) -> Iterator[None]:
    """Convert all errors: a scheduler can raise any exception for an invalid configuration."""
    try:
        with pipeline_cache.silence_libraries():
            yield
    except ArtgenError:
        raise
    except Exception as error:
        raise ModelUnavailableError(
            f"Cannot use the scheduler of '{model.name}': {first_line(error).rstrip('.')}.",
            "Use another --scheduler, or another copy of the model.",
        ) from error


def _run_first_step(scheduler: Any, steps: int, channels: int = 4, out_channels: int = 4) -> None:
    """Run a step on zeros. Some settings, such as the prediction type, are validated only in a step."""
    scheduler = type(scheduler).from_config(scheduler.config)
    schedulers.set_timesteps(scheduler, steps)
    if str(scheduler.config.get("variance_type")).startswith("learned"):
        out_channels = 2 * channels
    state = torch.zeros(1, channels, 8, 8)
    if hasattr(scheduler, "scale_model_input"):
        scheduler.scale_model_input(state, scheduler.timesteps[0])
    scheduler.step(torch.zeros(1, out_channels, 8, 8), scheduler.timesteps[0], state)
