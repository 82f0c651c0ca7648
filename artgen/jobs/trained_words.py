"""Find the words of prompts that the bundled model was not trained on. Torch-free.

`words.json` in the folder of the model lists the words of its training captions. `examples/train_tiny/word_list.py`
writes the file.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from pathlib import Path

from artgen.errors import ModelUnavailableError
from artgen.jobs.next_step import next_step
from artgen.registry import BUNDLED_MODEL, ResolvedModel
from artgen.registry import lora as lora_files
from artgen.registry.catalog import builtin_models
from artgen.spec import prompt_syntax
from artgen.spec.base_requests import PromptRequest, Request

WORDS_FILE = "words.json"
GROUPS = ("colors", "places", "positions", "numbers", "sizes", "styles")
"""Groups of words in `words.json` beside the groups of subjects."""

MAX_PROMPTS = 1000
"""Limit of the different prompts of a batch that are searched for words."""

MAX_LISTED_WORDS = 6
MAX_TEXTS = 50
"""Limit of the texts of a prompt with edits that are searched for words."""

MAX_WORD_CHARS = 40
MAX_LISTED_SUBJECTS = 3
MIN_PLURAL_CHARS = 4
"""Minimum length of a common word without a subject that has a plural: 'cans' is not a form of the verb 'can'."""

_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|\u0300|['’](?=[^\W\d_]))*|\d+")
"""A word, in which U+0300 stands for each combining mark, or a number."""

_CLAUSE = re.compile(r"[,.;:!?\n|/]+")
_POSSESSIVE = re.compile(r"['’]s\b")


@dataclass(frozen=True)
class WordList:
    """Store the words of the training captions of a model.

    Attributes:
        subjects: group -> most common noun -> its other nouns and synonyms.
        groups: group -> words and phrases, for the names in `GROUPS`.
        related: word that was not trained -> similar words that were.
        phrases: normalized word or phrase -> the most common noun of a subject; empty for other words.
        common: normalized common words without a meaning for the image.
        lengths: first word of a phrase -> largest number of words of such a phrase.
        ignored: normalized words that the model was trained to ignore.
        singulars: irregular plural -> singular.
    """

    subjects: dict[str, dict[str, list[str]]]
    groups: dict[str, list[str]]
    related: Mapping[str, list[str]]
    phrases: Mapping[str, str]
    common: frozenset[str]
    lengths: Mapping[str, int]
    ignored: frozenset[str]
    singulars: Mapping[str, str]


@dataclass
class FoundWords:
    """Collect the words of some prompts that the model does not show.

    Attributes:
        unknown: words that were not trained, in order.
        ignored: words that the model was trained to ignore, in order.
        num_prompts: number of different prompts.
        num_without_subject: number of different prompts that name no trained subject.
        several: subjects of the first prompt that names several, as text.
    """

    unknown: dict[str, None] = field(default_factory=dict)
    ignored: dict[str, None] = field(default_factory=dict)
    num_prompts: int = 0
    num_without_subject: int = 0
    several: tuple[str, ...] = ()


def bundled_words() -> WordList:
    """Return the words of the bundled model `tiny`.

    Raises:
        ModelUnavailableError: the file is not part of the installation.
    """
    folder = builtin_models()[BUNDLED_MODEL].bundled_folder or Path()
    try:
        return _read_words(folder / WORDS_FILE)
    except OSError as error:
        raise ModelUnavailableError(
            "Cannot list the words of 'tiny': its word list is not part of this installation.",
            "Install artgen again: pip install --force-reinstall artgen",
        ) from error


@lru_cache(maxsize=1)
def _read_words(path: Path) -> WordList:
    data = json.loads(path.read_bytes())
    groups = {name: data[name] for name in GROUPS}
    known = chain(data["common"], *groups.values())
    phrases = dict.fromkeys(map(_normalize, known), "")
    for each in data["subjects"].values():
        for noun, others in each.items():
            phrases |= dict.fromkeys(map(_normalize, (noun, *others)), noun)
    ignored = frozenset(map(_normalize, data["ignored"]))
    lengths: dict[str, int] = {}
    for phrase in chain(phrases, ignored):
        first, *others = phrase.split()
        lengths[first] = max(lengths.get(first, 1), 1 + len(others))
    common = frozenset(map(_normalize, data["common"]))
    return WordList(data["subjects"], groups, data["related"], phrases, common, lengths, ignored, data["plurals"])


def _normalize(text: str) -> str:
    text = _POSSESSIVE.sub("", text.lower())
    return " ".join(text[start:end] for start, end in _word_spans(text))


def _word_spans(text: str) -> list[tuple[int, int]]:
    """Return the spans of words and numbers. `\\w` does not match the vowel signs of many scripts."""
    if not text.isascii():
        text = "".join("\u0300" if unicodedata.category(each)[0] == "M" else each for each in text)
    return [match.span() for match in _WORD.finditer(text)]


def words_note(requests: Iterable[tuple[Request, ResolvedModel | None]]) -> str:
    """Return one note about the words of all prompts that the bundled model was not trained on; empty if there is none.

    Args:
        requests: complete requests with their models. Requests with other models are skipped.
    """
    found = FoundWords()
    seen: dict[tuple[str, str | None], str] = {}
    for request, model in requests:
        if not isinstance(request, PromptRequest) or model is None or not _is_bundled(model):
            continue
        key = (request.prompt, request.prompt_weights)
        if key in seen or not request.prompt.strip() or getattr(request, "strength", None) == 0:
            continue
        if len(seen) == MAX_PROMPTS:
            break
        seen[key] = request.task
        _add_words(found, request, bundled_words())
    sentences = [text for text in _sentences(found) if text]
    if not sentences:
        return ""
    task = next(iter(seen.values()))
    return " ".join([*sentences, "`artgen models words tiny` lists the trained words.", next_step(task)])


def _is_bundled(model: ResolvedModel) -> bool:
    folder = builtin_models()[BUNDLED_MODEL].bundled_folder
    return model.path == folder and (folder / WORDS_FILE).is_file()


def _add_words(found: FoundWords, request: PromptRequest, words: WordList) -> None:
    subjects: dict[str, str] = {}
    hidden = _words_of_adapters(request)
    for text in _plain_texts(request):
        for clause in _CLAUSE.split(_POSSESSIVE.sub("", text)):
            for phrase, noun in _match(clause, words):
                if noun:
                    is_noun = _normalize(noun).split() in _singular_phrases(_normalize(phrase).split(), words)
                    subjects.setdefault(noun, f"'{noun}'" if is_noun else f"'{noun}' for '{phrase}'")
                elif noun is None and _normalize(phrase) not in hidden:
                    target = found.ignored if _normalize(phrase) in words.ignored else found.unknown
                    target[phrase] = None
    found.num_prompts += 1
    found.num_without_subject += not subjects
    if len(subjects) > 1 and not found.several:
        found.several = tuple(subjects.values())


def _plain_texts(request: PromptRequest) -> Iterator[str]:
    """Yield the texts of a prompt without syntax: of each part, and of the steps with different texts."""
    rule, texts = request.prompt_weights or "none", dict.fromkeys([request.prompt])
    if rule == "a1111":
        parts = prompt_syntax.parse_composition(request.prompt)
        scheduled = (each for part in parts for each in prompt_syntax.parse_schedule(part.text, request.steps or 1))
        texts = dict.fromkeys(each.text for each in scheduled)
    for text in list(texts)[:MAX_TEXTS]:
        yield unicodedata.normalize("NFC", prompt_syntax.plain_text(text, rule))


def _words_of_adapters(request: PromptRequest) -> set[str]:
    """Return the words that embeddings replace, and the trigger phrases of the LoRAs."""
    texts = [each.token or Path(each.name).stem for each in request.embeddings]
    for lora in lora_files.resolve_loras(request.loras):
        texts.append(lora.file.metadata.get("modelspec.trigger_phrase", ""))
    return {word for text in texts for word in _normalize(text).split()}


def _match(text: str, words: WordList) -> Iterator[tuple[str, str | None]]:
    """Split a text into the longest known words and phrases.

    Yields:
        The words as written, with the noun of a subject; an empty noun for other known words; None for other words.
    """
    spans = _word_spans(text)
    lowered = [text[start:end].lower() for start, end in spans]
    start = 0
    while start < len(spans):
        longest = words.lengths.get(lowered[start], 1)
        for end in range(min(start + longest, len(spans)), start, -1):
            noun, is_known = _look_up(lowered[start:end], words)
            if is_known or end == start + 1:
                yield text[spans[start][0] : spans[end - 1][1]], noun
                start = end
                break


def _look_up(tokens: list[str], words: WordList) -> tuple[str | None, bool]:
    """Return the noun of a phrase and whether the phrase is known. Ignored phrases are known and have no noun."""
    for phrase in map(" ".join, _singular_phrases(tokens, words)):
        if phrase in words.phrases:
            return words.phrases[phrase], True
    return None, " ".join(tokens) in words.ignored


def _singular_phrases(tokens: list[str], words: WordList) -> Iterator[list[str]]:
    """Yield a phrase, and the phrase with possible singulars of its last word."""
    *first, last = tokens
    yield tokens
    for singular in _singulars(last, words):
        if len(singular) >= MIN_PLURAL_CHARS or singular not in words.common:
            yield [*first, singular]


def _singulars(word: str, words: WordList) -> Iterator[str]:
    """Yield the possible singulars of a word."""
    if word in words.singulars:
        yield words.singulars[word]
    for ending, replacement in (("ies", "y"), ("es", ""), ("s", "")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            yield word.removesuffix(ending) + replacement


def _sentences(found: FoundWords) -> Iterator[str]:
    if found.unknown:
        yield f"The demonstration model 'tiny' has few or no training images of {_listed(found.unknown)}."
    if found.ignored:
        verb = "has" if len(found.ignored) == 1 else "have"
        place = "" if found.unknown else " with the demonstration model 'tiny'"
        yield f"{_listed(found.ignored)} {verb} no effect{place}."
    # An ignored word matters less if the prompt names a subject.
    yield _similar([*found.unknown, *(found.ignored if found.num_without_subject else ())])
    model = "'tiny'" if found.unknown or found.ignored else "the demonstration model 'tiny'"
    if found.num_without_subject and found.num_prompts == 1:
        yield f"The prompt names no subject of {model}, so the image may show another object."
    elif found.num_without_subject:
        yield (
            f"{found.num_without_subject:,} of {found.num_prompts:,} prompts name no subject of {model}, so the images "
            "may show other objects."
        )
    if found.several:
        yield f"An image of 'tiny' with several subjects ({_joined(found.several)}) often lacks one of them."


def _similar(unknown: Iterable[str]) -> str:
    words, found = bundled_words(), list[str]()
    for word in list(unknown)[:MAX_LISTED_WORDS]:
        normalized = _normalize(word)
        names = (name for name in (normalized, *_singulars(normalized, words)) if name in words.related)
        if name := next(names, None):
            found.append(f"{' or '.join(repr(noun) for noun in words.related[name][:2])} for {_quoted(word)}")
    return f"Similar trained words: {', '.join(found)}." if found else ""


def _listed(names: Iterable[str]) -> str:
    """Return the first words in quotes."""
    return _joined([_quoted(name) for name in names], MAX_LISTED_WORDS)


def _quoted(word: str) -> str:
    return f"'{word}'" if len(word) <= MAX_WORD_CHARS else f"'{word[:MAX_WORD_CHARS]}...'"


def _joined(texts: Sequence[str], maximum: int = MAX_LISTED_SUBJECTS) -> str:
    """Return the first texts with commas and 'and'."""
    hidden = len(texts) - maximum
    if hidden > 0:
        return f"{', '.join(texts[:maximum])} and {hidden:,} more"
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))
