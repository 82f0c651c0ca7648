"""Check the words of prompts with the word lists of output filters."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from artgen.errors import FilteredError
from artgen.spec.base_requests import Request
from artgen.spec.filter_policies import FilterPolicy
from artgen.spec.prompt_syntax import parse_composition, parse_schedule, plain_text
from artgen.spec.selected_filters import SelectedFilters, effective_names, find_filters
from artgen.spec.wildcards import has_wildcards

_CHECKED_PROMPTS = ("prompt", "morph_prompt", "source_prompt")
"""Prompts that the filters check. Negative prompts describe what an image does not show."""

_SCHEDULE_STEPS = 100
"""Steps for which the edits of a prompt are resolved."""

_MAX_CHARS_IN_RESULT = 80


@dataclass(frozen=True)
class WordResults:
    """Store the results of the word lists for a request.

    Attributes:
        results: one text for each policy with words, for the record.
        notes: notes about words of policies whose action is `note`, and about policies without effect.
        refusal: reason why the prompt is refused; None if it is not.
    """

    results: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    refusal: FilteredError | None = None


def check_words(request: Request, selected: SelectedFilters) -> WordResults:
    """Return the results of the word lists of policies for a request with final prompts."""
    results, notes = [], []
    refusal = None
    texts = list(dict.fromkeys(checked_texts(request)))
    for policy, word_lists in selected.values():
        if not word_lists:
            continue
        if not hasattr(request, "prompt"):
            if not (policy.filter_model or policy.safety_checker):
                notes.append(f"Filter '{policy.name}' has no effect: {request.task} has no prompt.")
            continue
        words = (word_list.find(text) for word_list in word_lists for text in texts)
        word = next((each for each in words if each is not None), None)
        if word is None:
            results.append(f"{policy.name} words: passed")
            continue
        shown = repr(word[:_MAX_CHARS_IN_RESULT])
        results.append(f"{policy.name} words: noted {shown}")
        if policy.refuses:
            refusal = refusal or FilteredError(
                f"The filter '{policy.name}' refused the prompt: it contains {shown}.", "Use another prompt."
            )
        else:
            notes.append(note_text(policy, f"the prompt contains {shown}"))
    return WordResults(tuple(results), tuple(notes), refusal)


def check_typed_prompts(requests: Sequence[Request]) -> None:
    """Check the filters of requests early: the policies, their word lists, and prompts that are final as typed.

    Raises:
        UsageError: a policy is unknown.
        InputFileError: a configuration file or a word list is not valid.
        FilteredError: the prompts of all requests are refused.
    """
    selected = {names: find_filters(effective_names(names)) for names in {each.filter for each in requests}}
    refusals = [
        check_words(request, selected[request.filter]).refusal if _is_final(request) else None for request in requests
    ]
    if refusals and refusals[0] is not None and None not in refusals:
        raise refusals[0]


def _is_final(request: Request) -> bool:
    """Return whether no wildcard, style or tag can change the prompt of a request."""
    prompt = getattr(request, "prompt", "")
    return not has_wildcards(prompt) and "<" not in prompt and not getattr(request, "style", ())


def checked_texts(request: Request) -> Iterator[str]:
    """Yield the texts of a request with final prompts that the word lists check: as written, and without syntax."""
    rule = getattr(request, "prompt_weights", None) or "a1111"
    for name in _CHECKED_PROMPTS:
        text = getattr(request, name, None) or ""
        yield text
        if rule == "comfy":
            yield plain_text(text, rule)
        elif rule == "a1111":
            for part in parse_composition(text):
                for scheduled in parse_schedule(part.text, _SCHEDULE_STEPS):
                    yield plain_text(scheduled.text, rule)


def note_text(policy: FilterPolicy, reason: str) -> str:
    """Return the note about an image that matches a policy whose action is `note`."""
    return f"Filter '{policy.name}': {reason}."
