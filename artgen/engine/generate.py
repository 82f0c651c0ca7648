"""The public verbs: requests in, pictures out."""

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from artgen.engine.loading import pipeline_cache
from artgen.engine.loading.device import resolve_device
from artgen.engine.loading.oom import is_device_lost, is_oom
from artgen.engine.memory_policy import MemoryPolicy, OomHistory, memory_limit, resource_key
from artgen.engine.results import FailedImage, GeneratedImage
from artgen.engine.sampling import prompts, text_encoder_offload
from artgen.engine.sampling.pipeline_call import ProgressReporter, run_pipeline
from artgen.errors import DeviceLostError, MemoryExhaustedError, NonFiniteError
from artgen.events import Listener, Notice, no_op
from artgen.jobs import checks
from artgen.jobs import replay as replay_jobs
from artgen.jobs.batch_size import (
    BatchSizePolicy,
    ExactBatchSize,
    JobGroup,
    MaxBatchSize,
    default_batch_size,
    group_key,
    prompt_group_key,
)
from artgen.jobs.prepare import Job, prepare_jobs
from artgen.spec.requests import Denoise, PromptRequest, Request
from artgen.spec.settings import FramesSettings

__all__ = ["FailedImage", "GeneratedImage", "generate", "generate_all", "generate_jobs", "replay"]


def generate(request: Request, *, frames: FramesSettings | None = None, listener: Listener = no_op) -> GeneratedImage:
    """Makes one picture.

    Args:
        request: what to make; settings left open come from the model's defaults, the seed from chance.
        frames: what to show of its making, in `Picture.frames`; where they go is the caller's.
        listener: is told of loading, steps and notes (`artgen.events`).

    Raises:
        UsageError, InputFileError, ModelUnavailableError, RefusedError: before any model is loaded.
        MemoryExhaustedError: out of memory after every fallback.
        DeviceLostError: the GPU answers this process no more.
        FilteredError: the model's safety filter withheld the picture.
        NonFiniteError: the model produced NaN or infinity.
    """
    outcome = next(generate_all([request], frames=frames, listener=listener))
    if isinstance(outcome, FailedImage):
        raise outcome.error
    return outcome


def generate_all(
    requests: Sequence[Request],
    *,
    batch_size: int = 1,
    frames: FramesSettings | None = None,
    listener: Listener = no_op,
) -> Iterator[GeneratedImage | FailedImage]:
    """Makes many pictures, in order; one that fails does not stop the others.

    All requests are checked before the first model loads. Neighbours that differ only in words, seed and input picture
    are drawn together, up to `batch_size` at a time; each keeps its own generator, so the pictures are those that
    single requests make (bit for bit at equal batch size, otherwise within one grey level on the CPU in fp32). Where
    fewer are left than others of their kind were drawn at a time, the rest of the batch is filled up.

    Raises:
        UsageError, InputFileError, ModelUnavailableError, RefusedError: before any model is loaded.
        MemoryExhaustedError: out of memory after every fallback.
        DeviceLostError: the GPU answers this process no more.
    """
    yield from generate_jobs(prepare_jobs(requests, listener), batch_size=batch_size, frames=frames, listener=listener)


def replay(path: Path, changes: Mapping[str, str] | None = None, *, listener: Listener = no_op) -> GeneratedImage:
    """Makes a picture again from what it says of itself; the same pixels when nothing is changed.

    Args:
        path: a picture, its sidecar or A1111 text; see `artgen.jobs.replay.plan`.
        changes: setting name -> value as one would type it.
        listener: is told of loading, steps and notes.

    Raises:
        InputFileError: nothing is recorded, or an input picture of the original cannot be found.
        ModelUnavailableError: the model is not here, or has other weights than the recorded one.
        Besides, everything that `generate` raises.
    """
    plan = replay_jobs.read_replay_spec(path, changes or {})
    for text in plan.notes:
        listener(Notice(text))
    jobs = prepare_jobs([plan.request], listener)
    plan.check_job(jobs[0])
    outcome = next(generate_jobs(jobs, batch_size=ExactBatchSize(plan.batch_size), listener=listener))
    if isinstance(outcome, FailedImage):
        raise outcome.error
    return outcome


@dataclass(frozen=True)
class GenerationContext:
    """What a process that draws in several calls knows beyond one of them.

    Attributes:
        upcoming: what it draws afterwards, in order; looked at only where something is made ready for it beforehand.
        remaining_seconds: how long that would take as it goes now, 0 when unknown.
        oom_history: what running out of memory taught, the same from call to call.
    """

    upcoming: Iterable[Job] = ()
    remaining_seconds: float = 0.0
    oom_history: OomHistory = field(default_factory=dict)


def generate_jobs(
    jobs: Sequence[Job],
    *,
    batch_size: int | BatchSizePolicy = 1,
    frames: FramesSettings | None = None,
    context: GenerationContext | None = None,
    listener: Listener = no_op,
) -> Iterator[GeneratedImage | FailedImage]:
    """Makes the pictures of prepared jobs; see `generate_all`."""
    context = context or GenerationContext()
    sizes = MaxBatchSize(batch_size) if isinstance(batch_size, int) else batch_size
    _reject_long_prompts(jobs)
    if frames is not None:
        for job in jobs:
            checks.check_frames(frames, job.request, job.model_or_none)
    done, pace = 0, 0.0
    begun = end = 0  # of those that are alike
    thrift = MemoryPolicy(context.oom_history, listener)
    while done < len(jobs):
        if isinstance(request := jobs[done].request, Denoise):
            yield _denoise_job(jobs[done], request, ProgressReporter(listener, done + 1, 1, len(jobs)), frames)
            done += 1
            continue
        first = jobs[done].prompt_request
        if done >= end:
            begun, end = done, _group_end(jobs, done)
        rows = sizes.next_batch_size(JobGroup(begun, end - begun, end - done, default_batch_size(jobs[done])))
        began = time.monotonic()
        device_config = replace(
            resolve_device(first.device, first.dtype, jobs[done].model.weight_bytes()), quantize=first.quantize
        )
        economy = thrift.settings_for(jobs[done], rows, device_config)
        rows = min(rows, economy.batch_size)
        together = jobs[done : min(end, done + rows)]
        left = context.remaining_seconds + pace * (len(jobs) - done)
        progress = ProgressReporter(listener, done + 1, len(together), len(jobs), left)
        outcomes: list[GeneratedImage | FailedImage] | None = None
        try:
            with memory_limit(device_config, first.memory_budget):
                if text_encoder_offload.encodes_prompts_first(economy, device_config):
                    text_encoder_offload.encode_prompts(
                        together, _same_resources(jobs[done], jobs[done:], context.upcoming), device_config, listener
                    )
                outcomes = run_pipeline(together, rows, device_config, economy, progress, frames)
        except (MemoryError, RuntimeError) as error:
            _raise_if_device_lost(error)
            if not is_oom(error):
                raise
        # Out of the except block: the traceback held the tensors that filled the memory.
        if outcomes is None:
            thrift.degrade(device_config, together[0], rows)
            continue
        seconds = (time.monotonic() - began) / len(together)
        sizes.record_timing(begun, len(together), seconds)
        pace = seconds if done else 0.0  # the first ones waited for the model
        yield from outcomes
        done += len(together)


def _denoise_job(
    job: Job, request: Denoise, progress: ProgressReporter, frames: FramesSettings | None
) -> GeneratedImage | FailedImage:
    """Denoises one picture, in smaller and smaller tiles when memory runs out."""
    from artgen.engine.denoise import denoise  # what it imports, other tasks would wait for

    device_config = resolve_device(request.device, request.dtype)
    for halvings in itertools.count():
        try:
            return denoise.denoise(job, device_config, progress.listener, progress.on_step, halvings, frames)
        except NonFiniteError as error:
            return FailedImage(request, error)
        except (MemoryError, RuntimeError) as error:
            _raise_if_device_lost(error)
            if not is_oom(error):
                raise
            last = request.method != "pixel" or (isinstance(error, MemoryError) and not error.args)
        pipeline_cache.empty_cuda_cache()
        if last:
            break
        progress.listener(Notice("out of memory; trying again with smaller tiles"))
    raise MemoryExhaustedError(
        f"Out of memory on {device_config.device} for {job.width}x{job.height}.", "Use a smaller model, or --method tv."
    )


def _raise_if_device_lost(error: BaseException) -> None:
    """Raises DeviceLostError for what means that the GPU answers no more."""
    if is_device_lost(error):
        raise DeviceLostError(
            f"The GPU has stopped working for this process: {pipeline_cache.first_line(error)}",
            "Run the same command again; a batch goes on with what is not drawn.",
        ) from error


def _same_resources(first: Job, *jobs: Iterable[Job]) -> Iterator[Job]:
    """Those that want the same of model and machine as the first, as long as they follow each other."""
    wanted = resource_key(first)
    for job in itertools.chain(*jobs):
        if not isinstance(job.request, PromptRequest) or resource_key(job) != wanted:
            return
        yield job


def _group_end(jobs: Sequence[Job], start: int) -> int:
    """Where those end that one call of a pipeline can draw together with the job of a number."""

    def shape(job: Job) -> tuple[Any, ...]:
        return group_key(job.request), *prompt_group_key(job.request), job.size

    wanted = shape(jobs[start])
    return next((i for i in range(start + 1, len(jobs)) if shape(jobs[i]) != wanted), len(jobs))


def _reject_long_prompts(jobs: Sequence[Job]) -> None:
    """Refuses, before a model loads, what `--long-prompt error` forbids."""
    for job in jobs:
        if isinstance(job.request, PromptRequest) and job.request.long_prompt == "error":
            prompts.reject_long(job.model, job.request.prompt)
            prompts.reject_long(job.model, job.request.negative_prompt)
