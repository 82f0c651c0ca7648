"""Explain how the prompts of a request are read: wildcards, LoRAs, parts, steps, weights and tokens."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

from artgen.errors import ModelUnavailableError
from artgen.events import Listener, Notice
from artgen.jobs import prompt_notes
from artgen.jobs.job import GenerationJob
from artgen.jobs.prepare import prepare_jobs
from artgen.jobs.prompt_chunks import tokenize
from artgen.jobs.prompt_expansion import expand_prompts, report_once
from artgen.jobs.prompt_plan import encoded_text
from artgen.jobs.trained_words import words_note
from artgen.registry import ResolvedModel
from artgen.registry.clip_tokenizer import ClipTokenizer, clip_tokenizers, embedding_sizes
from artgen.registry.embeddings import with_placeholders
from artgen.spec import prompt_syntax
from artgen.spec.prompt_expansion import PromptExpansion
from artgen.spec.prompt_syntax import ScheduledText, WeightedPrompt, WeightedText
from artgen.spec.requests import Txt2Img

STEPS_WITHOUT_MODEL = 20


CountTokens = Callable[[ResolvedModel, str], dict[str, tuple[int, int]]]
"""Function of a model and a plain text: name of a tokenizer that is not CLIP -> number of tokens and their limit."""


@dataclass(frozen=True)
class TextChunk:
    """Store the tokens of one chunk for one text encoder.

    Attributes:
        count: number of tokens, without start, end and padding tokens.
        limit: largest number of tokens.
        tokens: texts of the tokens of CLIP.
    """

    count: int
    limit: int
    tokens: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExplainedText:
    """Store the text of one part of a prompt for some of the steps.

    Attributes:
        part: number of the part, from 1; parts are separated by AND.
        part_weight: weight of the part.
        steps: ranges of steps with this text: first and last step, from 1.
        texts: texts with their weights; None is BREAK.
        chunks: chunks by tokenizer; empty if the tokens are not counted.
    """

    part: int
    part_weight: float
    steps: tuple[tuple[int, int], ...]
    texts: tuple[WeightedText | None, ...]
    chunks: dict[str, tuple[TextChunk, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class PromptReport:
    """Store the explanation of the prompts of a request.

    Attributes:
        request: request with resolved prompts.
        model: name of the model; None if it is not on the disk.
        prompt: texts of the prompt.
        negative_prompt: texts of the negative prompt; empty if there is none.
        notes: notes about the prompts.
    """

    request: Txt2Img
    model: str | None
    prompt: tuple[ExplainedText, ...]
    negative_prompt: tuple[ExplainedText, ...]
    notes: tuple[str, ...]

    @property
    def expansion(self) -> PromptExpansion:
        """Return the templates, choices and styles of the prompts."""
        return self.request.expansion or PromptExpansion()

    def explanation(self) -> "Explanation":
        """Return the values for `--json`."""
        request, expansion = self.request, self.expansion
        return Explanation(
            model=self.model,
            prompt_weights=request.prompt_weights or "none",
            long_prompt=request.long_prompt,
            steps=request.steps,
            seed=request.seed,
            prompt=request.prompt,
            prompt_template=expansion.template,
            negative_prompt=request.negative_prompt,
            negative_prompt_template=expansion.negative_template,
            prompt_choices=expansion.choices,
            prompt_styles=expansion.styles,
            lora=request.lora,
            embedding=request.embedding,
            prompt_parts=self.prompt,
            negative_prompt_parts=self.negative_prompt,
            notes=self.notes,
        )


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Explain the prompts of a request for `artgen prompt --json`.

    Attributes:
        model: name of the model; None if it is not on the disk.
        prompt_weights: rule of the prompt syntax: a1111, comfy or none.
        long_prompt: handling of long prompts; None if the model is not on the disk.
        steps: number of steps; None if it is unknown.
        seed: random seed; None if it is not needed.
        prompt: prompt with the choices of its wildcards and variants.
        prompt_template: prompt as typed, if it differs; otherwise empty.
        negative_prompt: negative prompt with the choices; empty if there is none.
        negative_prompt_template: negative prompt as typed, if it differs; otherwise empty.
        prompt_choices: choice of each wildcard and variant, as `TEXT=CHOICE`.
        prompt_styles: names of the styles that were added.
        lora: LoRAs.
        embedding: embeddings.
        prompt_parts: texts of the prompt.
        negative_prompt_parts: texts of the negative prompt.
        notes: notes about the prompts.
    """

    model: str | None
    prompt_weights: str
    long_prompt: str | None
    steps: int | None
    seed: int | None
    prompt: str
    prompt_template: str
    negative_prompt: str
    negative_prompt_template: str
    prompt_choices: tuple[str, ...]
    prompt_styles: tuple[str, ...]
    lora: tuple[str, ...]
    embedding: tuple[str, ...]
    prompt_parts: tuple[ExplainedText, ...]
    negative_prompt_parts: tuple[ExplainedText, ...]
    notes: tuple[str, ...]


def explain_prompts(request: Txt2Img, listener: Listener, count_tokens: CountTokens) -> PromptReport:
    """Return the explanation of the prompts of a request, without loading or downloading a model.

    Args:
        request: request with unset settings.
        listener: receives notes about wildcards, LoRAs and embeddings.
        count_tokens: counts the tokens for text encoders that are not CLIP.

    Raises:
        UsageError, InputFileError, RefusedError: the request cannot be generated; see `prepare_jobs`.
    """
    listener = report_once(listener)
    model: ResolvedModel | None = None
    try:
        (job,) = prepare_jobs([request.replace(offline=True)], listener, download=False)
    except ModelUnavailableError as error:
        listener(Notice(f"The tokens are not counted. {error.message}"))
        expanded = cast(Txt2Img, expand_prompts(request, listener))
        prompt_notes.check_syntax(expanded)
        request = expanded.replace(
            prompt_weights=expanded.prompt_weights or "a1111", steps=expanded.steps or STEPS_WITHOUT_MODEL
        )
        notes = tuple(prompt_notes.prompt_notes(request, None))
    else:
        job = cast(GenerationJob, job)
        request, notes, model = cast(Txt2Img, job.request), job.notes, job.model
        notes += tuple(filter(None, [words_note([(request, model)])]))
    explained = [
        tuple(_explain(text, request, model, count_tokens)) if text else ()
        for text in (request.prompt, request.negative_prompt)
    ]
    return PromptReport(request, model.name if model else None, explained[0], explained[1], notes)


def _explain(
    prompt: str, request: Txt2Img, model: ResolvedModel | None, count_tokens: CountTokens
) -> Iterator[ExplainedText]:
    rule, steps = request.prompt_weights or "none", request.steps or 1
    if model is not None and not model.pipeline_entry.supports("prompt-syntax"):
        text = encoded_text(prompt, request)
        yield ExplainedText(1, 1.0, ((1, steps),), (WeightedText(text, 1.0),), _other_chunks(text, model, count_tokens))
        return
    parts: tuple[WeightedPrompt, ...] = (WeightedPrompt(prompt, 1.0),)
    if rule == "a1111" and prompt is request.prompt:
        parts = prompt_syntax.parse_composition(prompt)
    for number, part in enumerate(parts, 1):
        schedule: tuple[ScheduledText, ...] = (ScheduledText(steps, part.text),)
        if rule == "a1111":
            schedule = prompt_syntax.parse_schedule(part.text, steps)
        ranges: dict[str, list[tuple[int, int]]] = {}
        first = 1
        for each in schedule:
            ranges.setdefault(each.text, []).append((first, each.last_step))
            first = each.last_step + 1
        for text, of_text in ranges.items():
            pieces = prompt_syntax.parse_weights(text, rule)
            texts = tuple(piece if isinstance(piece, WeightedText) else None for piece in pieces)
            chunks = {}
            if model is not None and model.remote is None:
                plain = prompt_syntax.plain_text(text, rule)
                chunks = _clip_chunks(text, request, model) | _other_chunks(plain, model, count_tokens)
            yield ExplainedText(number, part.weight, tuple(of_text), texts, chunks)


def _other_chunks(text: str, model: ResolvedModel, count_tokens: CountTokens) -> dict[str, tuple[TextChunk, ...]]:
    if model.remote is not None or all(each.kind == "clip" for each in model.pipeline_entry.encoders):
        return {}
    return {name: (TextChunk(*counts),) for name, counts in count_tokens(model, text).items()}


def _clip_chunks(text: str, request: Txt2Img, model: ResolvedModel) -> dict[str, tuple[TextChunk, ...]]:
    (text,) = with_placeholders((text,), request.embeddings)
    return {each.component: _chunks_of(text, each, request) for each in clip_tokenizers(model)}


def _chunks_of(text: str, tokenizer: ClipTokenizer, request: Txt2Img) -> tuple[TextChunk, ...]:
    found = tokenize(
        text,
        request.prompt_weights or "none",
        tokenizer.token_ids,
        tokenizer.max_tokens,
        tokenizer.comma,
        group_sizes=embedding_sizes,
        chunked=request.long_prompt == "chunk",
    )
    return tuple(
        TextChunk(len(each.token_ids), tokenizer.max_tokens, tuple(map(tokenizer.piece, each.token_ids)))
        for each in found
    )
