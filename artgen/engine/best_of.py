"""Generate several images for a job, score them, and return the image with the highest score."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from artgen.engine.image_scores.score_images import score_results
from artgen.engine.results import FailedImage, GeneratedImage
from artgen.errors import ArtgenError
from artgen.events import Listener, Notice
from artgen.jobs.job import GenerationJob, Job
from artgen.spec import best_of
from artgen.spec.base_requests import PromptRequest
from artgen.system.counts import counted

Outcome = GeneratedImage | FailedImage
Run = Callable[[Sequence[Job], int], Iterator[Outcome]]
"""Generate the images of jobs, from the job with an index."""


def has_candidates(jobs: Sequence[Job]) -> bool:
    """Return whether a job selects the best of several images."""
    return any(len(_candidates(job)) > 1 for job in jobs)


def generate_best(jobs: Sequence[Job], first: int, run: Run, listener: Listener) -> Iterator[Outcome]:
    """Generate the images of jobs, in order. A job with `best_of` has one result, the image with the highest score.

    Args:
        jobs: prepared jobs.
        first: index of the first job to run.
        run: generates the images of the candidates.
        listener: receives notes and the events of the generation.
    """
    candidates = [_candidates(job) for job in jobs]
    start = sum(map(len, candidates[:first]))
    outcomes = run([each for group in candidates for each in group], start)
    for job, group in zip(jobs[first:], candidates[first:], strict=True):
        found = list(itertools.islice(outcomes, len(group)))
        yield found[0] if len(group) == 1 else _select(job, found, listener)


def _candidates(job: Job) -> list[Job]:
    """Return the job of each candidate image; the job itself without `best_of`."""
    if best_of.num_candidates(job.request) == 1 or not isinstance(job, GenerationJob):
        return [job]
    return [
        replace(job, request=request)
        for request in best_of.candidate_requests(job.request)
        if isinstance(request, PromptRequest)
    ]


def _select(job: Job, outcomes: Sequence[Outcome], listener: Listener) -> Outcome:
    """Return the image with the highest score, with the seeds and the scores of all images in its record."""
    images = [each for each in outcomes if isinstance(each, GeneratedImage)]
    failures = [each for each in outcomes if isinstance(each, FailedImage)]
    if not images or not isinstance(job, GenerationJob):
        return FailedImage(job.request, failures[0].error)
    if failures:
        reason = failures[0].error.message
        listener(Notice(f"{len(failures)} of {counted(len(outcomes), 'image')} failed and are not scored: {reason}"))
    try:
        scored = score_results(job, images, listener)
    except ArtgenError as error:
        return FailedImage(job.request, error)
    best = max(range(len(images)), key=lambda index: scored.values[index])
    facts = {
        best_of.SEEDS: [str(best_of.candidate_seed(each.request)) for each in images],
        best_of.SCORES: [f"{value:.6g}" for value in scored.values],
        best_of.SCORE: scored.kind,
        **({best_of.SCORE_MODEL: scored.model} if scored.model else {}),
    }
    seconds = sum(each.seconds or 0.0 for each in images)
    return replace(images[best], record={**images[best].record, **facts}, seconds=seconds)
