"""Plan the texts of the prompts of a request: of each step, and of each part (AND)."""

import functools
from dataclasses import dataclass

from artgen.registry.embeddings import with_placeholders
from artgen.spec import prompt_syntax
from artgen.spec.base_requests import PromptRequest

MAX_CACHED_PLANS = 4096


@dataclass(frozen=True)
class PlannedStep:
    """Store the texts of a range of steps.

    Attributes:
        last_step: last step that uses the texts, from 1.
        prompts: text of each part of the prompt (AND), with weights and BREAK.
        negative_prompt: text of the negative prompt, with weights and BREAK.
    """

    last_step: int
    prompts: tuple[str, ...]
    negative_prompt: str


@dataclass(frozen=True)
class PromptPlan:
    """Store the texts of the prompts of an image.

    Attributes:
        steps: ranges of steps in order.
        weights: weight of each part of the prompt; (1.0,) for a prompt without AND.
    """

    steps: tuple[PlannedStep, ...]
    weights: tuple[float, ...]

    @property
    def is_composed(self) -> bool:
        """Return whether the prompt has several parts, or one part with a weight."""
        return self.weights != (1.0,)

    @property
    def is_dynamic(self) -> bool:
        """Return whether the embeddings depend on the step, or the prompt has parts."""
        return len(self.steps) > 1 or self.is_composed

    @property
    def prompts(self) -> tuple[str, ...]:
        """Return the texts of all parts and steps of the prompt, each once."""
        return tuple(dict.fromkeys(text for step in self.steps for text in step.prompts))

    @property
    def negative_prompts(self) -> tuple[str, ...]:
        """Return the texts of all steps of the negative prompt, each once."""
        return tuple(dict.fromkeys(step.negative_prompt for step in self.steps))

    def texts(self, *, with_negative: bool) -> tuple[str, ...]:
        """Return all texts of the prompt, and of the negative prompt if requested."""
        return (*self.prompts, *self.negative_prompts) if with_negative else self.prompts


def prompts_of(request: PromptRequest) -> tuple[str, str]:
    """Return the prompt and the negative prompt of a request, with placeholders of its embeddings."""
    prompt, negative_prompt = with_placeholders((request.prompt, request.negative_prompt), request.embeddings)
    return prompt, negative_prompt


def morph_target(request: PromptRequest) -> PromptRequest | None:
    """Return the request with the prompts of the second image of a morph; None if the prompts are not mixed."""
    if not getattr(request, "morph_position", None):
        return None
    prompt, negative = getattr(request, "morph_prompt", None), getattr(request, "morph_negative_prompt", None)
    target = request.replace(
        prompt=request.prompt if prompt is None else prompt,
        negative_prompt=request.negative_prompt if negative is None else negative,
        morph_prompt=None,
        morph_negative_prompt=None,
        morph_seed=None,
        morph_position=None,
    )
    return None if prompts_of(target) == prompts_of(request) else target


def conditioning_key(request: PromptRequest) -> tuple[str, str, str, str, float]:
    """Return the texts that determine the embeddings of a request, and the position between them."""
    target = morph_target(request)
    if target is None:
        return (*prompts_of(request), "", "", 0.0)
    return (*prompts_of(request), *prompts_of(target), float(getattr(request, "morph_position", 0.0)))


def encoded_text(text: str, request: PromptRequest) -> str:
    """Return a prompt without the syntax that text encoders other than CLIP do not support. JSON is not changed."""
    return text if text.lstrip().startswith("{") else prompt_syntax.plain_text(text, request.prompt_weights or "none")


def prompt_plan(request: PromptRequest) -> PromptPlan:
    """Return the plan of the prompts of a complete request."""
    return _plan(*prompts_of(request), request.prompt_weights or "none", request.steps or 1)


@functools.lru_cache(maxsize=MAX_CACHED_PLANS)
def _plan(prompt: str, negative_prompt: str, rule: str, steps: int) -> PromptPlan:
    is_plain = not any(mark in text for text in (prompt, negative_prompt) for mark in ("[", "AND"))
    if rule != "a1111" or is_plain:  # ComfyUI has no schedules and no AND
        return PromptPlan((PlannedStep(steps, (prompt,), negative_prompt),), (1.0,))
    parts = prompt_syntax.parse_composition(prompt)
    schedules = [
        prompt_syntax.parse_schedule(text, steps) for text in (*(part.text for part in parts), negative_prompt)
    ]
    ends = sorted({each.last_step for schedule in schedules for each in schedule})
    planned = []
    for end in ends:
        *of_parts, negative = (next(each.text for each in schedule if end <= each.last_step) for schedule in schedules)
        planned.append(PlannedStep(end, tuple(of_parts), negative))
    return PromptPlan(tuple(planned), tuple(part.weight for part in parts))
