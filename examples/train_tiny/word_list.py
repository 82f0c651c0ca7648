"""Write `words.json`, the words of the captions: with them, artgen finds the words of a prompt that were not trained.

The subjects are the concepts of the focus with their nouns and synonyms, without the concepts that the evaluation did
not recognize. `related` contains further words that name a similar subject: keywords that both lists use for few
subjects, and the table `RELATED`.
"""

import argparse
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from captions import CAPTION_TEMPLATES, COLOR_SYNONYMS, FILLERS, NUMBERS, SETTING_WORDS, STYLE_WORDS
from concepts import EXCLUDED_WORDS, IRREGULAR_PLURALS, Concept, read_concepts, read_core, read_focus
from export import sha256_sums
from named_colors import BACKGROUNDS
from paraphrase import PROMPT_WORDS
from scenes import PLACES, SETTINGS
from sources import KEYWORD_PACKAGES, PACKS, read_characters, read_synonyms

MAX_RELATED_SUBJECTS = 4
"""Largest number of subjects that share a related word. More general words, such as 'plant', name no subject."""

SIZES = ("small", "tiny", "little", "big", "large")
POSITIONS = ("to the left of", "on the left of", "left of", "to the right of", "on the right of", "right of")
CAPTION_WORDS = (
    "a", "an", "the", "of", "in", "on", "at", "to", "and", "with", "without", "for", "from", "by", "as", "or", "next",
    "beside", "front", "against", "plain", "background", "emoji", "some", "any", "very", "so", "quite", "really",
    "is", "was", "are", "be", "will", "it", "its", "this", "that", "there", "here", "i", "me", "my", "you", "your",
    "his", "her", "their", "our", "we", "us", "they", "just", "only", "maybe", "please", "nothing", "else", "every",
    "over", "under", "into", "near", "behind", "between", "through", "while", "have", "has", "can", "could", "would",
)  # fmt: skip
"""Words of the captions without a content, and common words that say as little."""

PRAISE = (
    "lovely", "cute", "pretty", "good", "great", "nice", "cool", "amazing", "awesome", "perfect", "beautiful", "hello",
    "hi", "hey", "ok", "well",
)  # fmt: skip
AMERICAN_FILLERS = ("colorful", "cozy", "favorite")
"""American spelling of words that the model was trained to ignore."""

RELATED = {
    "alien": ("spaceman", "martian"),
    "bird": ("hummingbird", "robin", "sparrow", "crow", "raven", "seagull"),
    "black": ("dark", "darkness"),
    "blue": ("navy", "indigo", "azure"),
    "books": ("library", "novel"),
    "boy": ("kid",),
    "car": ("sports car", "convertible", "vehicle"),
    "castle": ("palace", "fortress", "medieval", "tower", "kingdom"),
    "cat": ("kitten", "siamese"),
    "church": ("cathedral", "temple"),
    "cloud": ("mist", "misty", "fog", "foggy"),
    "coffee": ("latte", "cappuccino", "cafe"),
    "dog": ("puppy", "retriever", "labrador", "corgi", "husky"),
    "dragon": ("monster", "wyvern"),
    "fire": ("campfire", "bonfire", "burning"),
    "flower": ("garden", "daffodil", "lily", "orchid", "poppy"),
    "girl": ("kid",),
    "gray": ("silver", "metallic"),
    "green": ("lime", "emerald"),
    "horse": ("pony", "stallion"),
    "house": (
        "cabin",
        "cottage",
        "building",
        "city",
        "town",
        "skyscraper",
        "village",
        "street",
        "hut",
        "barn",
        "lighthouse",
    ),
    "man": ("guy", "gentleman"),
    "monkey face": ("monkey",),
    "mountain": ("hill", "cliff", "valley", "landscape"),
    "mouse face": ("mouse",),
    "orange": ("amber", "copper"),
    "person": ("human", "people", "samurai", "knight", "wizard", "warrior", "soldier", "cowboy"),
    "pink": ("magenta",),
    "purple": ("lavender", "lilac"),
    "red": ("crimson", "scarlet", "maroon"),
    "robot": ("android", "cyborg", "mech", "cyberpunk"),
    "rocket": ("spaceship", "spacecraft", "starship"),
    "sea": ("ocean", "lake", "river", "waterfall", "water"),
    "ship": ("boat", "pirate"),
    "snow": ("ice", "frozen", "icy", "snowy", "winter"),
    "snowy mountain": ("alps", "peak"),
    "star": ("starry", "galaxy", "nebula", "cosmos", "universe"),
    "stop sign": ("sign",),
    "sunset": ("dawn", "sunrise", "evening"),
    "top hat": ("hat",),
    "tree": ("forest", "woods", "jungle", "park", "bonsai", "oak"),
    "turquoise": ("cyan", "aqua"),
    "woman": ("lady", "female", "mother"),
    "yellow": ("golden", "gold", "blonde", "blond"),
}
"""Trained word -> words that are common in first prompts and that name something similar."""


def group_names() -> dict[str, str]:
    """Return icon name -> heading of `concepts.txt`, such as 'animals'."""
    groups: dict[str, str] = {}
    heading = ""
    for line in Path(__file__).with_name("concepts.txt").read_text().splitlines():
        if line.startswith("#"):
            heading = line[2:].partition(":")[0]
        else:
            groups |= {entry.partition("=")[0]: heading for entry in line.split()}
    return groups


def subjects_by_group(concepts: Iterable[Concept], excluded: set[str]) -> dict[str, dict[str, list[str]]]:
    """Return group -> most common noun -> its other nouns and synonyms, without the excluded synonyms."""
    headings = group_names()
    groups: dict[str, dict[str, list[str]]] = {}
    for concept in concepts:
        others = [*concept.nouns[1:], *(word for word in concept.synonyms if word not in excluded)]
        nouns = groups.setdefault(headings[concept.name], {})
        nouns[concept.nouns[0]] = sorted({*nouns.get(concept.nouns[0], []), *others} - {concept.nouns[0]})
    return {group: dict(sorted(groups[group].items())) for group in dict.fromkeys(headings.values()) if group in groups}


def keyword_relations(raw: Path, concepts: Iterable[Concept]) -> dict[str, list[str]]:
    """Return keyword -> nouns of the subjects for which both keyword lists contain the keyword."""
    emoji: dict[str, str] = {}
    for pack in reversed(PACKS):
        emoji.update(read_characters(raw, pack))
    lists = [read_synonyms(raw, name) for name in KEYWORD_PACKAGES]
    relations: dict[str, list[str]] = {}
    for concept in concepts:
        character = emoji.get(concept.name, "").replace("\ufe0f", "")
        for word in set.intersection(*(set(keywords.get(character, [])) for keywords in lists)):
            nouns = relations.setdefault(word, [])
            if concept.nouns[0] not in nouns:
                nouns.append(concept.nouns[0])
    return relations


def related_words(raw: Path, concepts: list[Concept], known: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield words that are not in `known` with the most similar trained words, the words of `RELATED` first."""
    relations = keyword_relations(raw, concepts)
    chosen: dict[str, list[str]] = {}
    for noun, words in RELATED.items():
        for word in words:
            chosen.setdefault(word, []).append(noun)
    for word in sorted({*relations, *chosen} - known):
        nouns = chosen.get(word) or relations[word]
        nouns = [noun for noun in nouns if word in noun.split()] or nouns
        is_plain = len(word) > 2 and not any(each in EXCLUDED_WORDS for each in word.split())
        if is_plain and len(nouns) <= MAX_RELATED_SUBJECTS:
            yield word, sorted(nouns)


def build_word_list(raw: Path, work: Path, focus: Path, failed: Iterable[str]) -> dict[str, object]:
    """Return the content of `words.json`.

    Args:
        raw: folder of the unpacked keyword lists and icons.
        work: folder of `sprites.json`.
        focus: focus file of the training.
        failed: concepts that the evaluation did not recognize.
    """
    concepts = read_concepts(raw, work)
    trained = [concepts[name] for name in read_core() if name in read_focus(focus) - {*failed} and name in concepts]
    templates = {word for text in CAPTION_TEMPLATES for word in re.findall(r"[a-z]+", text)}
    common = {*CAPTION_WORDS, *PRAISE, *templates}
    ignored = {*PROMPT_WORDS, *FILLERS, *AMERICAN_FILLERS} - common
    related = {word for words in RELATED.values() for word in words}
    subjects = subjects_by_group(trained, common | ignored | related)
    lists = {
        "colors": [*BACKGROUNDS, *(text for texts in COLOR_SYNONYMS.values() for text in texts)],
        "places": [*SETTINGS, *(text for texts in SETTING_WORDS.values() for text in texts), *PLACES.values()],
        "positions": list(POSITIONS),
        "numbers": ["one", "1", *(text for texts in NUMBERS.values() for text in texts)],
        "sizes": list(SIZES),
        "styles": [text for texts in STYLE_WORDS.values() for text in texts] + ["style"],
    }
    nouns = {word for group in subjects.values() for noun, others in group.items() for word in (noun, *others)}
    known = nouns | common | {text for texts in lists.values() for text in texts}
    ignored -= known | related
    return {
        "subjects": subjects,
        **{name: list(dict.fromkeys(texts)) for name, texts in lists.items()},
        "common": sorted(common - nouns),
        "ignored": sorted(ignored),
        "related": dict(related_words(raw, trained, known)),
        "plurals": {many: one for one, many in IRREGULAR_PLURALS.items() if many != one},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/train_tiny/raw"))
    parser.add_argument("--work", type=Path, default=Path("data/train_tiny"))
    parser.add_argument("--out", type=Path, default=Path("data/train_tiny/model"))
    parser.add_argument("--focus", type=Path, default=Path(__file__).with_name("focus.txt"))
    options = parser.parse_args()
    evaluation = options.out / "evaluation.json"
    scores = json.loads(evaluation.read_text())["concepts"] if evaluation.exists() else {}
    words = build_word_list(
        options.data, options.work, options.focus, scores.get("taught, among five on neither seed", [])
    )
    lines = (f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in words.items())
    (options.out / "words.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    (options.out / "SHA256SUMS").write_text(sha256_sums(options.out))


if __name__ == "__main__":
    main()
