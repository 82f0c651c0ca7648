"""Expand the prompts that `--set` gives to a replay. The recorded prompts are final and are not looked up again."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from artgen.errors import UsageError
from artgen.events import note_listener
from artgen.jobs.prompt_embedding_names import final_prompt_notes, unused_embedding_notes
from artgen.jobs.prompt_expansion import PromptSources, apply_choices, choose_prompts, typed_prompts
from artgen.jobs.prompt_notes import check_syntax, input_notes
from artgen.registry.embeddings import resolve_embeddings
from artgen.spec.base_requests import PromptRequest, Request
from artgen.spec.prompt_expansion import PromptExpansion
from artgen.spec.prompt_syntax import escape
from artgen.spec.wildcard_choices import MAX_LABEL_CHARS, shorten_label
from artgen.spec.wildcards import parse

PROMPTS = ("prompt", "negative_prompt")
_TEMPLATES = {"prompt": "template", "negative_prompt": "negative_template"}


def prepare_record(record: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Prepare a record for a typed prompt, in place: a record of a version without prompt syntax gets the syntax.

    Raises:
        UsageError: a style is set, but not the prompt.
    """
    if "style" in changes and "prompt" not in changes:
        raise UsageError(
            "Cannot set the style of a recorded prompt, which is final.",
            "Set both: --set prompt=PROMPT --set style=NAME",
        )
    is_typed = any(name in changes for name in PROMPTS)
    if is_typed and "artgen" in record and "prompt_weights" not in record:
        record["prompt_weights"] = "a1111"
        record |= {name: escape(record[name]) for name in PROMPTS if name not in changes and name in record}


def expand_typed(request: Request, changes: Mapping[str, Any], notes: list[str]) -> Request:
    """Return the request with the prompts of `--set` expanded as typed. Other prompts do not change.

    Args:
        request: request with the changed prompts.
        changes: values of `--set`.
        notes: receives notes.

    Raises:
        ArtgenError: see `prompt_expansion.expand_prompts`.
    """
    if not isinstance(request, PromptRequest):
        return request
    recorded = request.expansion or PromptExpansion()
    if not any(name in changes for name in PROMPTS):
        if "seed" in changes and recorded.choices:
            notes.append(
                "The choices of the wildcards and variants do not change with the seed. For new choices, set the "
                "recorded prompt_template as the prompt."
            )
        notes += final_prompt_notes(request)
        if "embedding" in changes:
            notes += _unused_embeddings(request)
        return request.replace(expansion=recorded)  # also the prompts of other tools' records are final
    kept = [name for name in PROMPTS if name not in changes]
    typed = request.replace(**dict.fromkeys(kept, ""), embedding=(), expansion=None)
    sources = PromptSources()
    chosen = choose_prompts(typed_prompts(typed), request.seed or 0, sources)
    expanded = apply_choices(typed, chosen, note_listener(notes.append), sources)
    check_syntax(expanded)
    notes += input_notes({name: changes[name] for name in PROMPTS if name in changes})
    texts = {name: ", ".join(filter(None, (getattr(request, name), getattr(expanded, name)))) for name in kept}
    facts = _with_recorded(expanded.expansion or PromptExpansion(), recorded, kept)
    embedding = tuple(dict.fromkeys((*request.embedding, *expanded.embedding)))
    changed = expanded.replace(**texts, embedding=embedding, expansion=facts)
    notes += _unused_embeddings(changed)
    return changed


def _unused_embeddings(request: PromptRequest) -> Iterator[str]:
    prompts = [getattr(request, name) for name in PROMPTS]
    return unused_embedding_notes(resolve_embeddings(request.embeddings), prompts)


def _with_recorded(expansion: PromptExpansion, recorded: PromptExpansion, kept: Sequence[str]) -> PromptExpansion:
    """Return the expansion of typed prompts with the recorded facts about the other prompts."""
    if not kept:
        return expansion
    return replace(
        expansion,
        **{_TEMPLATES[name]: getattr(recorded, _TEMPLATES[name]) for name in kept},
        choices=(*_choices_of([getattr(recorded, _TEMPLATES[name]) for name in kept], recorded), *expansion.choices),
        styles=tuple(dict.fromkeys((*recorded.styles, *expansion.styles))),
    )


def _choices_of(templates: Sequence[str], recorded: PromptExpansion) -> Iterator[str]:
    """Yield the recorded choices of the wildcards and variants in templates, with the choices inside their options."""
    own, known = _labels(templates), _labels([recorded.template, recorded.negative_template])
    is_own = False
    for choice in recorded.choices:
        ends = [i for i, symbol in enumerate(choice[: MAX_LABEL_CHARS + 4]) if symbol == "="]
        if label := next((choice[:end] for end in reversed(ends) if choice[:end] in known), None):
            is_own = label in own
        if is_own:
            yield choice


def _labels(templates: Iterable[str]) -> set[str]:
    """Return the texts of the wildcards and variants of templates, as in recorded choices."""
    labels: set[str] = set()
    for template in templates:
        with contextlib.suppress(UsageError):  # a changed record
            labels |= {shorten_label(part.text) for part in parse(template) if not isinstance(part, str)}
    return labels
