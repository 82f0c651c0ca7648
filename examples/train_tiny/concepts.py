"""Define the concepts of the images: a core of everyday nouns, the nouns of all other icons, and synonyms."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from sources import PACKS, read_characters, read_synonyms

IMAGE_COUNT_KEY = "pictures"
"""Key of the number of evaluated images in the published `evaluation.json`."""

IRREGULAR_PLURALS = {
    "mouse": "mice", "goose": "geese", "sheep": "sheep", "fish": "fish", "deer": "deer",
    "child": "children", "man": "men", "woman": "women", "person": "people", "foot": "feet",
    "tooth": "teeth", "wolf": "wolves", "leaf": "leaves", "knife": "knives", "moose": "moose",
    "shrimp": "shrimp", "squid": "squid", "bison": "bison", "die": "dice", "scarf": "scarves",
    "policeman": "policemen", "policewoman": "policewomen", "loaf": "loaves", "ox": "oxen",
}  # fmt: skip
NOUNS_WITHOUT_ARTICLE = frozenset({
    "jeans", "glasses", "sunglasses", "goggles", "gloves", "socks", "headphones", "scissors", "eyes", "lips",
    "swords", "skis", "peanuts", "cherries", "grapes", "fireworks", "sparkles", "books", "fries", "spaghetti",
    "pasta", "sushi", "milk", "beer", "wine", "coffee", "tea", "rice", "lettuce", "money", "chocolate",
    "honey", "toilet_paper", "bacon", "corn", "rain", "fire", "blueberries", "pancakes", "shrimp_tempura",
    "broccoli", "garlic", "lightning", "clothing", "feet", "trousers", "cheese", "popcorn",
})  # fmt: skip
FREQUENT_GROUPS = ("animals", "plants", "food", "vehicles", "sky and weather")
EXCLUDED_WORDS = (
    "shit",
    "crap",
    "turd",
    "shitface",
    "hankey",
    "dick",
    "penis",
    "bitch",
    "fuck",
    "sexy",
    "phallic",
    "butt",
    "shipit",
    "shipits",
)


@dataclass(frozen=True)
class Concept:
    """Store an icon name with its nouns (most common first) and synonyms."""

    name: str
    nouns: tuple[str, ...]
    synonyms: tuple[str, ...]
    core: bool
    weight: float


def has_no_article(noun: str) -> bool:
    """Return True for nouns without an indefinite article: plural or uncountable nouns."""
    last = noun.split()[-1]
    return last in NOUNS_WITHOUT_ARTICLE or noun.replace(" ", "_") in NOUNS_WITHOUT_ARTICLE


def with_article(noun: str) -> str:
    """Add the indefinite article: 'a fox', 'an apple', 'jeans'."""
    if has_no_article(noun):
        return noun
    starts_with_vowel = noun[0] in "aeio" or noun.startswith(("umbrella", "ugly"))
    return f"{'an' if starts_with_vowel else 'a'} {noun}"


def plural(noun: str) -> str:
    """Return the plural of a noun phrase, from the ending of its last word."""
    *first, last = noun.split(" ")
    if last in IRREGULAR_PLURALS:
        last = IRREGULAR_PLURALS[last]
    elif not has_no_article(noun):
        if last.endswith("y") and last[-2:-1] not in tuple("aeiou"):
            last = last[:-1] + "ies"
        elif last.endswith(("s", "x", "ch", "sh", "z")) or last in {"tomato", "potato", "mango"}:
            last += "es"
        else:
            last += "s"
    return " ".join([*first, last])


def read_core() -> dict[str, tuple[tuple[str, ...], float]]:
    """Read the core list: icon name -> nouns and sampling weight."""
    core: dict[str, tuple[tuple[str, ...], float]] = {}
    weight = 1.0
    for line in (Path(__file__).with_name("concepts.txt")).read_text().splitlines():
        if line.startswith("#"):
            weight = 2.0 if line[2:] in FREQUENT_GROUPS else 1.0
            continue
        for entry in line.split():
            name, _, nouns = entry.partition("=")
            texts = (nouns or name.replace("-", " ")).replace("_", " ").split("|")
            core[name] = (tuple(texts), weight)
    return core


def read_concepts(raw: Path, work: Path) -> dict[str, Concept]:
    """Return every concept that has a sprite, with synonyms that belong to at most two concepts."""
    core = read_core()
    names = sorted({name for _, name in json.loads((work / "sprites.json").read_text())})
    emoji: dict[str, str] = {}
    for pack in reversed(PACKS):
        emoji.update(read_characters(raw, pack))
    keywords = read_synonyms(raw)
    candidates = {n: keywords.get(emoji.get(n, "").replace("\ufe0f", ""), []) for n in names}
    uses = Counter(word for synonyms in candidates.values() for word in set(synonyms))
    taken = {noun for nouns, _ in core.values() for noun in nouns}
    named = {name.replace("-", " ") for name in names}
    # "teddy" is not a synonym of bear: teddy bears are a separate concept.
    parts = Counter(word for nouns, _ in core.values() for noun in nouns if " " in noun for word in set(noun.split()))
    concepts = {}
    for name in names:
        nouns, weight = core.get(name, ((name.replace("-", " "),), 1.0))
        synonyms = tuple(
            word
            for word in candidates[name]
            if uses[word] <= 2
            and len(word) > 2
            and word not in {*nouns, *taken, *EXCLUDED_WORDS}
            and (word not in named or word == name.replace("-", " "))
            and parts[word] <= sum(word in noun.split() for noun in nouns)
        )
        concepts[name] = Concept(name, nouns, synonyms[:4], name in core, weight)
    return concepts


def read_focus(path: Path | None) -> frozenset[str]:
    """Return the icon names of a focus file; empty without a file."""
    if path is None:
        return frozenset()
    lines = (line for line in path.read_text().splitlines() if not line.startswith("#"))
    return frozenset(name for line in lines for name in line.split())
