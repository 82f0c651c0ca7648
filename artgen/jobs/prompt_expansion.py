"""Expand the prompts of a request: styles, wildcards, variants, LoRA tags and names of embeddings."""

import itertools
import re
from collections.abc import Mapping, Sequence
from functools import cached_property

from artgen.events import Event, Listener, Notice, no_op
from artgen.jobs.prompt_tags import apply_lora_tags
from artgen.spec import config
from artgen.spec.base_requests import PromptRequest, Request
from artgen.spec.prompt_expansion import PromptExpansion
from artgen.spec.seeds import generate_seed
from artgen.spec.style_files import Style, StyleFolder, add_style
from artgen.spec.wildcard_choices import Combination, Expansion, check_number, choose, combine, shorten_label
from artgen.spec.wildcard_files import WildcardFolder
from artgen.spec.wildcards import has_wildcards, parse

_PROMPTS = ("prompt", "negative_prompt")
_VARIABLE = re.compile(r"\$\{\w{1,80}[?!:=}]")


class PromptSources:
    """Store the user's wildcards and styles. Each file is read once for several requests."""

    @cached_property
    def wildcards(self) -> WildcardFolder:
        """Return the wildcards of `wildcard_folder`."""
        return WildcardFolder(config.wildcard_folder())

    @cached_property
    def styles(self) -> StyleFolder:
        """Return the styles of `style_folder`."""
        return StyleFolder(config.style_folder())


def report_once(listener: Listener) -> Listener:
    """Return a listener that ignores repeated notes."""
    reported: set[str] = set()

    def report(event: Event) -> None:
        if isinstance(event, Notice):
            if event.text in reported:
                return
            reported.add(event.text)
        listener(event)

    return report


def expand_prompts(request: Request, listener: Listener = no_op, sources: PromptSources | None = None) -> Request:
    """Return the request with final prompts, with the LoRAs and embeddings that its prompts name.

    The order is: styles, wildcards and variants, LoRA tags, embeddings. The choices depend on the seed of the request.
    A request that has an expansion is returned unchanged.

    Args:
        request: request; a seed is chosen if its prompts contain wildcards or variants.
        listener: receives notes.
        sources: wildcards and styles, for several calls; None: read them for this call.

    Raises:
        UsageError: the syntax is invalid, or a wildcard, style, LoRA or embedding is unknown.
        InputFileError: a file of wildcards or styles is invalid.
    """
    if not isinstance(request, PromptRequest) or request.expansion is not None:
        return request
    sources = sources or PromptSources()
    expansion = Expansion()
    styles = [sources.styles.find(name) for name in request.style]
    texts = {name: _texts_of(request, name, styles) for name in _PROMPTS}
    if request.prompt_weights == "none":
        prompts = {name: _merge(each) for name, each in texts.items()}
        _add_text_notes(texts, expansion)
        return _finish(request, prompts, (), expansion, listener, sources)
    if request.seed is None and any(has_wildcards(text) for each in texts.values() for text in each):
        request = request.replace(seed=generate_seed())
    seed = (request.seed or 0) % 2**32  # seeds of the same noise make the same choices
    prompts = {}
    for name, each in texts.items():
        chosen = [
            choose(text, seed, sources.wildcards.lookup, expansion, salt=_salt(name, styles, index))
            for index, text in enumerate(each)
        ]
        prompts[name] = _merge(chosen)
    return _finish(request, prompts, tuple(expansion.choices), expansion, listener, sources)


def expand_combinations(
    request: Request, listener: Listener = no_op, sources: PromptSources | None = None
) -> list[Request]:
    """Return a request for each combination of the wildcards and variants in the prompts and styles of a request.

    Args:
        request: request. Other values than its prompts are equal in all combinations.
        listener: receives notes.
        sources: wildcards and styles, for several calls; None: read them for this call.

    Raises:
        UsageError: there are more than 100,000 combinations, or as for `expand_prompts`.
        InputFileError: see `expand_prompts`.
    """
    if not isinstance(request, PromptRequest) or request.expansion is not None:
        return [request]
    if request.prompt_weights == "none":
        return [expand_prompts(request, listener, sources)]
    sources = sources or PromptSources()
    expansion = Expansion()
    styles = [sources.styles.find(name) for name in request.style]
    texts = {name: _texts_of(request, name, styles) for name in _PROMPTS}
    combined = [combine(text, sources.wildcards.lookup, expansion) for each in texts.values() for text in each]
    total = 1
    for each in combined:
        total *= len(each)
    check_number(total)
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for combination in itertools.product(*combined):
        prompt, negative_prompt = (
            _merge(_text_of(each)) for each in (combination[: len(styles) + 1], combination[len(styles) + 1 :])
        )
        choices = tuple(choice for _, each in combination for choice in each)
        found.setdefault((prompt, negative_prompt), choices)
    return [
        _finish(request, dict(zip(_PROMPTS, prompts, strict=True)), choices, expansion, listener, sources)
        for prompts, choices in found.items()
    ]


def _finish(
    request: PromptRequest,
    prompts: dict[str, str],
    choices: tuple[str, ...],
    expansion: Expansion,
    listener: Listener,
    sources: PromptSources,
) -> Request:
    """Return the request with resolved prompts and the facts about their expansion."""
    typed = {name: getattr(request, name) for name in _PROMPTS}
    notes = [*expansion.notes]
    notes += [
        f"'{match[0]}' is text: artgen does not support variables of sd-dynamic-prompts."
        for text in typed.values()
        if (match := _VARIABLE.search(text))
    ]
    if choices:
        notes += sources.wildcards.notes
    if request.style:
        notes += [f"A file of styles is ignored. {error.message}" for error in sources.styles.errors]
    for note in dict.fromkeys(notes):
        listener(Notice(note))
    changed = request.replace(**{name: text for name, text in prompts.items() if text != typed[name]}, style=())
    changed = apply_lora_tags(changed, listener)
    template, negative_template = ("" if getattr(changed, name) == typed[name] else typed[name] for name in _PROMPTS)
    return changed.replace(expansion=PromptExpansion(template, negative_template, choices, request.style))


def _add_text_notes(texts: Mapping[str, Sequence[str]], expansion: Expansion) -> None:
    """Add a note if prompts contain wildcards or variants that are text."""
    parts = [part for each in texts.values() for text in each for part in parse(text) if not isinstance(part, str)]
    if parts:
        expansion.notes[f"'{shorten_label(parts[0].text)}' is text, because prompt_weights is none."] = None


def _texts_of(request: PromptRequest, name: str, styles: Sequence[Style]) -> list[str]:
    """Return a prompt as typed, and the texts of the styles for it."""
    return [getattr(request, name), *(getattr(style, name) for style in styles)]


def _salt(name: str, styles: Sequence[Style], index: int) -> str:
    """Return a text that makes the choices of the prompts and of each style independent."""
    return name if index == 0 else f"{name} of the style {styles[index - 1].name}"


def _merge(texts: Sequence[str]) -> str:
    prompt = texts[0]
    for style_text in texts[1:]:
        prompt = add_style(style_text, prompt)
    return prompt


def _text_of(combination: Sequence[Combination]) -> list[str]:
    return [text for text, _ in combination]
