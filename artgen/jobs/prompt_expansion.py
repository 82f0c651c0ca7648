"""Expand the prompts of a request: styles, wildcards, variants, LoRA tags and names of embeddings."""

import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from artgen.events import Event, Listener, Notice, no_op
from artgen.jobs.prompt_embedding_names import apply_embeddings, names_in_folder
from artgen.jobs.prompt_tags import apply_lora_tags
from artgen.spec import config
from artgen.spec.base_requests import PromptRequest, Request
from artgen.spec.prompt_expansion import PromptExpansion
from artgen.spec.seeds import generate_seed
from artgen.spec.style_files import StyleFolder, add_style
from artgen.spec.wildcard_choices import Expansion, choose, shorten_label
from artgen.spec.wildcard_combinations import check_number, combine
from artgen.spec.wildcard_files import WildcardFolder
from artgen.spec.wildcard_notes import unsupported_parts
from artgen.spec.wildcards import has_wildcards, parse


class PromptSources:
    """Store the user's wildcards and styles. Each file is read once for several requests.

    Attributes:
        finds_files: replace LoRA tags and names of embeddings. A server replaces them in the prompts of its clients.
    """

    def __init__(self, *, finds_files: bool = True) -> None:
        self.finds_files = finds_files

    @cached_property
    def wildcards(self) -> WildcardFolder:
        """Return the wildcards of `wildcard_folder`."""
        return WildcardFolder(config.wildcard_folder())

    @cached_property
    def styles(self) -> StyleFolder:
        """Return the styles of `style_folder`."""
        return StyleFolder(config.style_folder())

    @cached_property
    def embedding_names(self) -> frozenset[str]:
        """Return the names of the files of `embedding_folder`, in lower case."""
        return names_in_folder()


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


@dataclass(frozen=True)
class TypedPrompts:
    """Store the prompts of a request before their expansion.

    Attributes:
        prompt: prompt as typed.
        negative_prompt: negative prompt as typed.
        style: names of styles.
        prompt_weights: rule of the prompt syntax; with `none`, wildcards and variants are text.
    """

    prompt: str = ""
    negative_prompt: str = ""
    style: tuple[str, ...] = ()
    prompt_weights: str | None = None


@dataclass(frozen=True)
class ChosenPrompts:
    """Store prompts with styles, and with a choice for each wildcard and variant.

    Attributes:
        prompt: prompt; it can contain LoRA tags and names of embeddings.
        negative_prompt: negative prompt.
        choices: text of each wildcard and variant and its choice, `__color__=red`, in order.
        styles: names of the styles in their files.
        notes: notes for the user.
    """

    prompt: str
    negative_prompt: str
    choices: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


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
    typed = typed_prompts(request)
    sources = sources or PromptSources()
    if request.seed is None:
        request = request.replace(seed=generate_seed())
    return apply_choices(request, choose_prompts(typed, request.seed or 0, sources), listener, sources)


def typed_prompts(request: PromptRequest) -> TypedPrompts:
    """Return the prompts of a request that has no expansion yet."""
    return TypedPrompts(request.prompt, request.negative_prompt, request.style, request.prompt_weights)


def choose_prompts(typed: TypedPrompts, seed: int, sources: PromptSources) -> ChosenPrompts:
    """Return prompts with the choices for a seed. Raise the same errors as `expand_prompts`."""
    texts = _prompt_texts(typed, sources)
    expansion = Expansion()

    def choose_all(each: Mapping[str, str]) -> str:
        if typed.prompt_weights == "none":
            return _merge(each.values())
        # Seeds of the same noise make the same choices.
        lookup = sources.wildcards.lookup
        return _merge(choose(text, seed % 2**32, lookup, expansion, salt=salt) for salt, text in each.items())

    prompt, negative_prompt = map(choose_all, texts)
    chosen = ChosenPrompts(prompt, negative_prompt, tuple(expansion.choices))
    return _with_notes(chosen, typed, texts, expansion, sources)


def combine_prompts(typed: TypedPrompts, sources: PromptSources) -> list[ChosenPrompts]:
    """Return the prompts of each combination of the wildcards and variants in prompts and styles, each once, in order.

    Raises:
        UsageError: there are more than 100,000 combinations, or as for `expand_prompts`.
        InputFileError: see `expand_prompts`.
    """
    if typed.prompt_weights == "none":
        return [choose_prompts(typed, 0, sources)]
    texts = _prompt_texts(typed, sources)
    expansion = Expansion()
    combined = [combine(text, sources.wildcards.lookup, expansion) for each in texts for text in each.values()]
    check_number(math.prod(map(len, combined)))
    found: dict[tuple[str, str], ChosenPrompts] = {}
    for combination in itertools.product(*combined):
        parts = [text for text, _ in combination]
        half = len(parts) // 2
        prompts = _merge(parts[:half]), _merge(parts[half:])
        choices = tuple(choice for _, each in combination for choice in each)
        found.setdefault(prompts, ChosenPrompts(*prompts, choices))
    return [_with_notes(each, typed, texts, expansion, sources) for each in found.values()]


def apply_choices(
    request: PromptRequest, chosen: ChosenPrompts, listener: Listener, sources: PromptSources
) -> PromptRequest:
    """Return the request with these prompts, with the LoRAs and embeddings that they name, and with its expansion."""
    for note in chosen.notes:
        listener(Notice(note))
    changed = request
    if request.style or (chosen.prompt, chosen.negative_prompt) != (request.prompt, request.negative_prompt):
        changed = request.replace(prompt=chosen.prompt, negative_prompt=chosen.negative_prompt, style=())
    optional_embeddings: tuple[str, ...] = ()
    if sources.finds_files:
        changed, optional_embeddings = apply_embeddings(
            apply_lora_tags(changed, listener), listener, lambda: sources.embedding_names
        )
    expansion = PromptExpansion(
        "" if changed.prompt == request.prompt else request.prompt,
        "" if changed.negative_prompt == request.negative_prompt else request.negative_prompt,
        chosen.choices,
        chosen.styles,
        optional_embeddings,
        has_tags=not sources.finds_files,
    )
    return changed.replace(expansion=expansion)


def _prompt_texts(typed: TypedPrompts, sources: PromptSources) -> tuple[dict[str, str], dict[str, str]]:
    """Return the texts of the prompt and of the negative prompt: as typed, then of each style.

    The keys make the choices in the texts independent of each other.
    """
    styles = [sources.styles.find(name) for name in typed.style]
    return (
        {"prompt": typed.prompt, **{f"prompt of the style {each.name}": each.prompt for each in styles}},
        {
            "negative_prompt": typed.negative_prompt,
            **{f"negative_prompt of the style {each.name}": each.negative_prompt for each in styles},
        },
    )


def _with_notes(
    chosen: ChosenPrompts,
    typed: TypedPrompts,
    texts: Sequence[Mapping[str, str]],
    expansion: Expansion,
    sources: PromptSources,
) -> ChosenPrompts:
    notes = list(expansion.notes)
    for text in (text for each in texts for text in each.values()):
        if typed.prompt_weights == "none" and has_wildcards(text):
            parts = (part.text for part in parse(text) if not isinstance(part, str))
            notes += [f"'{shorten_label(part)}' is text, because prompt_weights is none." for part in parts][:1]
        if has_wildcards(text):
            notes += unsupported_parts(text)
    if chosen.choices:
        notes += sources.wildcards.notes
    if typed.style:
        styles = [sources.styles.find(name).name for name in typed.style]
        notes += [f"The style '{name}' is named twice and used once." for name in styles if styles.count(name) > 1]
        notes += [f"A file of styles is ignored. {error.message}" for error in sources.styles.errors]
        chosen = replace(chosen, styles=tuple(dict.fromkeys(styles)))
    return replace(chosen, notes=tuple(dict.fromkeys(notes))) if notes else chosen


def _merge(texts: Iterable[str]) -> str:
    """Return a prompt with the texts of styles."""
    return functools.reduce(lambda prompt, style_text: add_style(style_text, prompt), texts)
