"""Prepare the ranking of images: read their prompts, resolve the model, and validate the request."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from artgen.errors import InputFileError, UsageError
from artgen.events import Listener, no_op
from artgen.jobs.checks import check_device
from artgen.jobs.image_scores import plain_prompt
from artgen.jobs.job import GenerationJob
from artgen.jobs.prepare import prepare_jobs
from artgen.jobs.recorded_prompt import recorded_prompt
from artgen.registry.score_models import ScoreModel, resolve_score_model
from artgen.spec.best_of import DEFAULT_SCORE, check_score_model
from artgen.spec.prompt_expansion import PromptExpansion
from artgen.spec.requests import Txt2Img
from artgen.spec.settings import DeviceSettings, ModelRef, RankSettings, validate


@dataclass(frozen=True, kw_only=True)
class RankRequest(DeviceSettings, ModelRef, RankSettings):
    """Request the scores of images for a prompt.

    Raises:
        UsageError: a value has the wrong type or is outside its limits (on construction).
    """

    def __post_init__(self) -> None:
        validate(self)
        check_score_model(self)
        if self.prompt is not None and not self.prompt.strip():
            raise UsageError("The prompt is empty.", 'artgen rank images/ --prompt "a red fox"', settings=("prompt",))

    @property
    def kind(self) -> str:
        """Return the kind of the scores."""
        return self.score or DEFAULT_SCORE


class ScoredPrompt(NamedTuple):
    """Store a prompt with which images are compared.

    Attributes:
        text: the prompt.
        weights: how its weights are read; see `prompt_weights`.
    """

    text: str
    weights: str = "a1111"

    @property
    def plain(self) -> str:
        """Return the prompt without weights."""
        return plain_prompt(self.text, self.weights)


@dataclass(frozen=True)
class RankPlan:
    """Store a validated request.

    Attributes:
        request: request of the user.
        jobs: job of each prompt, for the score of the diffusion model.
        score_model: CLIP model; None for the score of the diffusion model.
    """

    request: RankRequest
    jobs: Mapping[ScoredPrompt, GenerationJob] = field(default_factory=dict)
    score_model: ScoreModel | None = None

    @property
    def model_name(self) -> str | None:
        """Return the name of the model that scores the images; None for a plan without images."""
        names = [self.score_model.name] if self.score_model else [job.model.name for job in self.jobs.values()]
        return next(iter(names), None)


def reject_unused_model(request: RankRequest) -> None:
    """Refuse the model that a user gave, if a CLIP model computes the scores.

    Raises:
        UsageError: the score is clip.
    """
    if request.kind == "clip":
        raise UsageError(
            "--model has no effect with --score clip.",
            "Remove --model, or select a CLIP model with --score-model.",
            settings=("model", "score"),
        )


def find_prompt(path: Path, request: RankRequest, listener: Listener = no_op) -> ScoredPrompt:
    """Return the prompt with which an image is compared: the given one, or the recorded one.

    Raises:
        InputFileError: no prompt is given, and the image has none.
    """
    if request.prompt is not None:
        return ScoredPrompt(request.prompt)
    found = recorded_prompt(path, ("negative_prompt",), listener=listener)
    if found is None:
        raise InputFileError(f"Cannot score '{path}': it has no recorded prompt.", 'Add a prompt: --prompt "a red fox"')
    return ScoredPrompt(found.settings["prompt"], found.settings.get("prompt_weights", "a1111"))


def prepare_ranking(
    request: RankRequest, prompts: Collection[ScoredPrompt], listener: Listener = no_op, *, download: bool = True
) -> RankPlan:
    """Resolve the model, and check that it can score images.

    Args:
        request: request of the user.
        prompts: prompts of the images, at least one.
        listener: receives notes and the events of downloads.
        download: download the weights of the model.

    Raises:
        UsageError: the model cannot score images.
        ModelUnavailableError: the model is unavailable.
    """
    check_device(request.device, None)
    if request.kind == "clip":
        model = resolve_score_model(request.score_model, offline=request.offline, download=download, listener=listener)
        return RankPlan(request, score_model=model)
    distinct = list(dict.fromkeys(prompts))
    jobs = prepare_jobs([_generation_request(request, each) for each in distinct], listener, download=download)
    return RankPlan(request, dict(zip(distinct, _generation_jobs(jobs), strict=True)))


def _generation_request(request: RankRequest, prompt: ScoredPrompt) -> Txt2Img:
    """Return a request that generates images for the prompt; only its model and its prompt are used."""
    shared: dict[str, Any] = {name: getattr(request, name) for name in ("model", "device", "dtype", "offline")}
    return Txt2Img(
        prompt=prompt.text, prompt_weights=prompt.weights, seed=0, best_of=2, expansion=PromptExpansion(), **shared
    )


def _generation_jobs(jobs: Sequence[object]) -> list[GenerationJob]:
    return [job for job in jobs if isinstance(job, GenerationJob)]
