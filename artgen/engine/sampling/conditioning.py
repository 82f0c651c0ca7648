"""Condition the denoiser on prompts whose embeddings depend on the step, and on several prompts at once (AND).

A hook of diffusers replaces the embeddings of a pipeline call at each step. With AND, the hook calls the denoiser with
the latents and each part of the prompt, and returns u + sum of w_i * (c_i - u) as the conditional prediction, where u
is the unconditional prediction, so that classifier-free guidance gives u + g * sum of w_i * (c_i - u) (Liu et al. 2022,
"Compositional visual generation with composable diffusion models", arXiv 2206.01714).
"""

import bisect
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers.hooks import ModelHook
from torch import nn

from artgen.engine.control.pipelines import nets_of
from artgen.engine.loading.components import denoiser_of
from artgen.engine.sampling.clip_encoding import TextOptions, count_chunks
from artgen.engine.sampling.denoiser_hooks import ModuleWithHook, attached_hooks
from artgen.engine.sampling.prompt_embeddings import EncodedPrompt, stack_embeddings
from artgen.jobs.job import GenerationJob
from artgen.jobs.pipeline_options import uses_cfg
from artgen.jobs.prompt_plan import morph_target, prompt_plan

Embeddings = dict[str, torch.Tensor]
EncodePair = Callable[[str, str, TextOptions, int], EncodedPrompt]
"""Encoder of a prompt and a negative prompt with a number of chunks."""


@dataclass(frozen=True)
class Conditioning:
    """Store the embeddings of the prompts of a pipeline call.

    Attributes:
        steps: last step of each range of steps, and the embeddings of each part of the prompt as keyword arguments of
            the pipeline.
        weights: weight of each part; (1.0,) without AND.
        negative_last: whether the pipeline passes the embeddings of the prompt to the denoiser first, and the
            embeddings of the negative prompt twice after them (InstructPix2Pix).
    """

    steps: tuple[tuple[int, tuple[Embeddings, ...]], ...]
    weights: tuple[float, ...] = (1.0,)
    negative_last: bool = False

    @property
    def arguments(self) -> Embeddings:
        """Return the embeddings of the first step as keyword arguments of the pipeline."""
        return dict(self.steps[0][1][0])

    @property
    def is_composed(self) -> bool:
        """Return whether the denoiser is called with several parts of a prompt."""
        return self.weights != (1.0,)

    @property
    def is_dynamic(self) -> bool:
        """Return whether a hook has to change the inputs of the denoiser."""
        return len(self.steps) > 1 or self.is_composed

    def at_step(self, step: int) -> tuple[Embeddings, ...]:
        """Return the embeddings of each part at a step, counted from 1."""
        index = bisect.bisect_left([last for last, _ in self.steps], step)
        return self.steps[min(index, len(self.steps) - 1)][1]

    def nbytes(self) -> int:
        """Return the size of all tensors in bytes."""
        parts = (embeddings for _, parts in self.steps for embeddings in parts)
        tensors = {id(tensor): tensor for embeddings in parts for tensor in embeddings.values()}
        return sum(tensor.nbytes for tensor in tensors.values())


def text_options(job: GenerationJob) -> TextOptions:
    """Return how the prompts of a job are encoded."""
    request = job.request
    return TextOptions(request.prompt_weights or "none", request.long_prompt == "chunk", request.clip_skip or 1)


def encode_job(job: GenerationJob, encode: EncodePair, num_chunks: int) -> Conditioning:
    """Encode the prompts of a job, with batch size 1.

    Args:
        job: job whose prompts are encoded.
        encode: encodes a prompt and a negative prompt.
        num_chunks: number of chunks of all prompts.
    """
    first = _encode_job(job, encode, num_chunks)
    target = morph_target(job.request)
    if target is None:
        return first
    second = _encode_job(replace(job, request=target), encode, num_chunks)
    return _interpolated(first, second, float(getattr(job.request, "morph_position", 0.0)))


def _interpolated(first: Conditioning, second: Conditioning, position: float) -> Conditioning:
    """Interpolate the embeddings of two conditionings of one step and one part linearly."""
    (last_step, (low,)), (_, (high,)) = first.steps[0], second.steps[0]
    mixed = {name: torch.lerp(low[name], high[name], position) for name in low}
    return replace(first, steps=((last_step, (mixed,)),))


def _encode_job(job: GenerationJob, encode: EncodePair, num_chunks: int) -> Conditioning:
    plan, options = prompt_plan(job.request), text_options(job)
    encoded: dict[tuple[tuple[str, ...], str], tuple[Embeddings, ...]] = {}
    steps = []
    for step in plan.steps:
        key = (step.prompts, step.negative_prompt)
        if key not in encoded:
            encoded[key] = tuple(
                stack_embeddings([encode(text, step.negative_prompt, options, num_chunks)]) for text in step.prompts
            )
        steps.append((step.last_step, encoded[key]))
    return Conditioning(tuple(steps), plan.weights, job.model.pipeline_entry.image_guidance_scale > 0)


def chunks_of_jobs(pipe: Any, jobs: Sequence[GenerationJob]) -> int:
    """Return the largest number of chunks of the prompts of jobs."""
    counts = [1]
    for job in jobs:
        options = text_options(job)
        requests = filter(None, (job.request, morph_target(job.request)))
        for plan in map(prompt_plan, requests) if options.chunked else ():
            with_negative = uses_cfg(job.request, job.model.pipeline_entry)
            counts += [count_chunks(pipe, text, options) for text in plan.texts(with_negative=with_negative)]
    return max(counts)


def stack_conditionings(conditionings: Sequence[Conditioning]) -> Conditioning:
    """Return the conditioning of a batch whose jobs have the same ranges of steps and the same weights."""
    first = conditionings[0]
    if len(conditionings) == 1:
        return first
    stacked: dict[tuple[int, ...], tuple[Embeddings, ...]] = {}
    steps = []
    for i, (last_step, parts) in enumerate(first.steps):
        of_jobs = [each.steps[i][1] for each in conditionings]
        key = tuple(map(id, of_jobs))
        if key not in stacked:
            stacked[key] = tuple(
                {name: torch.cat([each[part][name] for each in of_jobs]) for name in embeddings}
                for part, embeddings in enumerate(parts)
            )
        steps.append((last_step, stacked[key]))
    return Conditioning(tuple(steps), first.weights, first.negative_last)


class StepCounter:
    """Count the calls of the denoiser, and convert them to steps of the request.

    The first step of img2img is step 1, although its noise level is that of a later step, as in A1111.
    """

    def __init__(self, pipe: Any, first_step: int = 1) -> None:
        """Create a counter for one pipeline call.

        Args:
            pipe: pipeline with its scheduler.
            first_step: step of the first call, from 1. A refiner continues the steps of its base model.
        """
        self._scheduler = pipe.scheduler
        self._first_step = first_step
        self._num_calls = 0

    @property
    def next_step(self) -> int:
        """Return the step of the next call."""
        # PNDM calls the denoiser twice in the first step, and second-order schedulers twice in each step but the last.
        extra = type(self._scheduler).__name__ == "PNDMScheduler" and self._num_calls > 0
        return self._first_step + (self._num_calls - extra) // int(getattr(self._scheduler, "order", 1))

    def count_call(self) -> int:
        """Return the step of the next call, and count the call."""
        step = self.next_step
        self._num_calls += 1
        return step


class ConditioningHook(ModelHook):  # type: ignore[misc]  # diffusers has no types
    """Replace the embeddings that the denoiser receives, and combine the predictions of the parts of a prompt."""

    def __init__(self, conditioning: Conditioning, step_counter: StepCounter, batch_size: int) -> None:
        """Create a hook for one pipeline call.

        Args:
            conditioning: embeddings of the prompts, with batch size `batch_size`.
            step_counter: counter of the calls.
            batch_size: images of the pipeline call.
        """
        super().__init__()
        self._conditioning = conditioning
        self._step_counter = step_counter
        self._batch_size = batch_size

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Call the denoiser with the embeddings of the current step."""
        parts = self._conditioning.at_step(self._step_counter.count_call())
        if not self._conditioning.is_composed:
            return self.fn_ref.original_forward(*args, **self._with_embeddings(kwargs, parts))
        input_batch_size = len(kwargs["encoder_hidden_states"])
        args, kwargs = _repeat_conditional((args, kwargs), input_batch_size, len(parts))
        output = self.fn_ref.original_forward(*args, **self._with_embeddings(kwargs, parts))
        uncond, *conds = output[0].split(self._batch_size)
        combined = uncond.clone()
        for weight, cond in zip(self._conditioning.weights, conds, strict=True):
            combined += weight * (cond - uncond)
        return (torch.cat([uncond, combined]), *output[1:])

    def _with_embeddings(self, kwargs: dict[str, Any], parts: Sequence[Embeddings]) -> dict[str, Any]:
        """Return the arguments of the denoiser with the embeddings of the parts."""
        before = kwargs["encoder_hidden_states"]
        num_groups = len(before) // self._batch_size
        kwargs = {**kwargs, "encoder_hidden_states": self._arranged(parts, "prompt_embeds", num_groups).to(before)}
        if "pooled_prompt_embeds" not in parts[0]:
            return kwargs
        pooled = self._arranged(parts, "pooled_prompt_embeds", num_groups)
        if "pooled_projections" in kwargs:
            return {**kwargs, "pooled_projections": pooled.to(kwargs["pooled_projections"])}
        added = kwargs["added_cond_kwargs"]
        return {**kwargs, "added_cond_kwargs": {**added, "text_embeds": pooled.to(added["text_embeds"])}}

    def _arranged(self, parts: Sequence[Embeddings], name: str, num_groups: int) -> torch.Tensor:
        """Return embeddings in the order in which the pipeline passes them to the denoiser."""
        if self._conditioning.negative_last:
            return torch.cat([parts[0][name], *[parts[0][f"negative_{name}"]] * (num_groups - 1)])
        return _arrange(parts, name, num_groups)


class NetConditioningHook(ConditioningHook):
    """Replace the embeddings that a ControlNet receives.

    With AND, the net is called with each part of the prompt, and the denoiser receives the residuals of each part. In
    guess mode, the net is called without the unconditional input, and only with the first part.
    """

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Call the net with the embeddings of the current step. The net is called before the denoiser."""
        parts = self._conditioning.at_step(self._step_counter.next_step)
        before = kwargs.get("encoder_hidden_states")
        if before is None:  # A ControlNet of Stable Diffusion 3.5 does not read the prompt.
            return self.fn_ref.original_forward(*args, **kwargs)
        if len(before) == self._batch_size:
            cond = {name: value for name, value in parts[0].items() if not name.startswith("negative_")}
            return self.fn_ref.original_forward(*args, **self._with_embeddings(kwargs, [cond]))
        if self._conditioning.is_composed:
            args, kwargs = _repeat_conditional((args, kwargs), len(before), len(parts))
        changed = self._with_embeddings(kwargs, parts)
        if getattr(module.config, "force_zeros_for_pooled_projection", False):
            changed["pooled_projections"] = kwargs["pooled_projections"]
        return self.fn_ref.original_forward(*args, **changed)


@contextlib.contextmanager
def conditioned(
    pipe: Any, conditioning: Conditioning | None, batch_size: int, first_step: int = 1
) -> Iterator[StepCounter]:
    """Condition the denoiser of a pipeline within the block, and yield the counter of its steps.

    Args:
        pipe: pipeline with its scheduler.
        conditioning: embeddings of the prompts; None if the pipeline encodes them.
        batch_size: images of the pipeline call.
        first_step: see `StepCounter`.
    """
    counter = StepCounter(pipe, first_step)
    hooks: list[ModuleWithHook] = []
    if conditioning is not None and conditioning.is_dynamic:
        hooks.append((denoiser_of(pipe), ConditioningHook(conditioning, counter, batch_size)))
        hooks += [(net, NetConditioningHook(conditioning, counter, batch_size)) for net in nets_of(pipe)]
    with attached_hooks(hooks):
        yield counter


def _arrange(parts: Sequence[Embeddings], name: str, num_groups: int) -> torch.Tensor:
    """Return embeddings in the order of the pipeline: unconditional, then conditional.

    Perturbed-attention guidance has the conditional embeddings twice.
    """
    negative = parts[0].get(f"negative_{name}")
    groups = [] if negative is None else [negative]
    groups += [part[name] for part in parts]
    groups += [groups[-1]] * (num_groups - len(groups))
    return torch.cat(groups)


def _repeat_conditional(value: Any, batch_size: int, times: int) -> Any:
    """Repeat the second half of the batch in all tensors in nested arguments whose dimension 0 is `batch_size`."""
    if isinstance(value, torch.Tensor) and value.ndim and len(value) == batch_size:
        uncond, cond = value.chunk(2)
        return torch.cat([uncond, *[cond] * times])
    if isinstance(value, dict):
        return {key: _repeat_conditional(item, batch_size, times) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_repeat_conditional(item, batch_size, times) for item in value)
    return value
