"""Apply the output filters of jobs to their images: classifiers, and the results for the records."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from artgen.engine.generation_context import GenerationContext
from artgen.engine.results import FailedImage, GeneratedImage
from artgen.errors import MemoryExhaustedError
from artgen.events import Listener, Notice
from artgen.jobs.job import Job
from artgen.jobs.output_filters import filtered_error, with_results
from artgen.spec.prompt_filter import note_text

if TYPE_CHECKING:
    from artgen.registry.filter_models import FilterModel

Outcome = GeneratedImage | FailedImage
Run = Callable[[Sequence[Job], int], Iterator[Outcome]]
"""Generate the images of jobs, from the job with an index."""

_HINT = "Use another prompt or another --seed."


def without_refused(jobs: Sequence[Job], first: int, run: Run) -> Iterator[Outcome]:
    """Generate the images of jobs, in order. A job with a refused prompt is a failure, and is not run.

    Args:
        jobs: prepared jobs.
        first: index of the first job to run.
        run: generates the images of the other jobs.
    """
    allowed = [job for job in jobs if job.filters.refusal is None]
    outcomes = run(allowed, sum(job.filters.refusal is None for job in jobs[:first]))
    for job in jobs[first:]:
        yield next(outcomes) if job.filters.refusal is None else FailedImage(job.request, job.filters.refusal)


def without_previews(context: GenerationContext, jobs: Sequence[Job], listener: Listener) -> GenerationContext:
    """Return the context without previews if a filter can refuse an image of a job: a preview would show this image."""
    if not context.previews or not any(job.filters.refuses_images for job in jobs):
        return context
    listener(Notice("No preview is shown, because a filter checks the finished image."))
    return replace(context, previews=False)


def filter_outcome(job: Job, outcome: Outcome, listener: Listener) -> Outcome:
    """Return the image of a job with the results of its filters in its record, or a failure if a filter refuses it.

    Args:
        job: the job.
        outcome: its image, or the reason why it has none.
        listener: receives a note about an image that matches a filter whose action is `note`.

    Raises:
        ModelUnavailableError: a classifier is damaged.
        MemoryExhaustedError: a classifier does not fit into memory.
    """
    filters = job.filters
    if not filters.policies or isinstance(outcome, FailedImage):
        return outcome
    results = []
    for model in filters.models:
        policy, labels = model.policy, ", ".join(model.labels)
        score = _score(model, outcome, listener)
        text = f"{labels} {score:.3f}"
        if score < policy.threshold:
            results.append(f"{policy.name} filter_model: passed ({text})")
            continue
        reason = f"the classifier found {labels} with probability {score:.3f}, the threshold is {policy.threshold:g}"
        if policy.refuses:
            return FailedImage(outcome.request, filtered_error(policy, reason, _HINT))
        results.append(f"{policy.name} filter_model: noted ({text})")
        listener(Notice(note_text(policy, reason)))
    return replace(outcome, record=with_results(outcome.record, filters, results))


def _score(model: "FilterModel", outcome: GeneratedImage, listener: Listener) -> float:
    """Return the probability of the labels of a policy. All pixels are checked, also those that are transparent."""
    from artgen.engine.classify_images import label_probability  # imports torch
    from artgen.engine.loading.free_memory import retry_without_idle_models
    from artgen.engine.loading.oom import is_oom

    image, device = outcome.image.convert("RGB"), outcome.request.device
    try:
        return retry_without_idle_models(partial(label_probability, model, image, device, listener))
    except (MemoryError, RuntimeError) as error:
        if not is_oom(error):
            raise
    raise MemoryExhaustedError(
        f"Cannot run the image classifier '{model.policy.filter_model}': out of memory.", "Use a smaller filter_model."
    )
