"""Says the same of a scene in two ways: plainly, and as people do, by other names and among other words."""

import re
from pathlib import Path

from captions import FILLERS, FRAMES, NUMBERS, SAME, SETTING_WORDS, STYLE_WORDS, Captioner
from concepts import UNKIND, Concept, plural
from scenes import PLACES, Scene
from sources import read_synonyms

# What people write around a noun when they ask for a picture.
ASKED = (
    "photo", "photograph", "oil painting", "painting", "watercolor", "pencil drawing", "pastel", "gouache",
    "digital art", "concept art", "pixel art", "line art", "woodcut", "mosaic", "stained glass", "origami",
    "beautiful", "bright", "bold", "clean", "minimal", "minimalist", "vivid", "vintage", "retro", "elegant",
    "realistic", "abstract", "surreal", "dreamy", "magical", "mysterious", "majestic", "epic", "cinematic",
    "isometric", "symmetrical", "centered", "close-up", "full body", "highly detailed", "intricate", "ornate",
    "masterpiece", "award winning", "best quality", "trending", "4k", "8k", "hd", "soft light", "studio light",
    "birthday", "card", "invitation", "book cover", "album cover", "t-shirt print", "mug", "website", "game",
    "party", "school", "kitchen", "office", "bedroom", "garden", "summer", "winter", "spring", "autumn",
    "holiday", "wedding", "weekend", "morning", "evening", "friend", "brother", "sister", "mother", "father",
    "kids", "children", "story", "world", "time", "day", "year", "town", "village", "country", "famous",
    "royal", "ancient", "future", "brave", "sleepy", "hungry", "angry", "smart", "fancy", "fresh", "wild",
)  # fmt: skip
# Kept out of every training caption, so that evaluation has words that are truly unknown.
HELD_OUT = (
    "groovy", "etching", "harbourmaster", "alderman", "favourite", "whimsical", "serene", "wallpaper",
    "kindergarten", "newsletter", "glorious",
)  # fmt: skip
AFTER = (
    "{} for my {w}", "{} for my {w} {w}", "{} for the {w}", "{} for a {w} {w}", "{}, {w} and {w}", "{}, {w}",
    "{}, {w}, {w}", "{}, {w}, {w}, {w}", "{} by {w} {w}", "{} about {w}", "{} of {w}", "{} {w} {w}",
    "{} as {w} as {w}", "{} from the {w}", "{}, very {w}", "{} and nothing else", "{} in the {w}", "{}, please",
)  # fmt: skip
BEFORE = (
    "a {w} of {}", "a {w} {w} of {}", "the {w} of {}", "{w} {}", "{w} {w} {}", "{w}: {}", "{w}, {}", "{w} me {}",
    "{w} with {}", "we {w} {}", "{w} by {w}, {}", "could you {w} me {}", "i {w} {}", "every {w} has {}",
)  # fmt: skip


def open_words(raw: Path, concepts: dict[str, Concept]) -> tuple[str, ...]:
    """Words that say nothing about a picture here: of the keyword lists, those that name nothing that is taught."""
    told = [*FRAMES, *PLACES.values(), *SAME, *HELD_OUT, *UNKIND]
    told += [text for some in (SETTING_WORDS, STYLE_WORDS, NUMBERS, SAME) for texts in some.values() for text in texts]
    told += [text for concept in concepts.values() if concept.core for text in (*concept.nouns, *concept.synonyms)]
    taken = {word for text in told for word in re.findall(r"[a-z]+", text)}
    listed = {word for keywords in read_synonyms(raw).values() for text in keywords for word in text.split()}
    return (*ASKED, *FILLERS, *sorted(word for word in listed if word not in taken and len(word) > 2))


class Paraphraser(Captioner):
    """Pairs of captions of the same scene; `random` is the only state."""

    def __init__(self, concepts: dict[str, Concept], words: tuple[str, ...], seed: int) -> None:
        super().__init__(concepts, seed)
        self.words = words

    def noun(self, name: str) -> str:
        """The most usual noun."""
        return self.concepts[name].nouns[0]

    def word(self) -> str:
        """A word that says nothing: half the time one that people use, else any, or one made up."""
        draw = self.random.random()
        return self.pick(ASKED) if draw < 0.4 else self.pick(self.words) if draw < 0.85 else self.filler()

    def plainly(self, scene: Scene) -> str:
        """The scene in the words that are known best."""
        style = self.pick(STYLE_WORDS[scene.things[0].style]) if self.chance(0.3) else ""
        where = self.surroundings(scene)
        text = f"{self.subject(scene, '')} {where} {f', {style} style' if style else ''}"
        return " ".join(text.split()).replace(" ,", ",").replace(",,", ",")

    def renamed(self, scene: Scene, text: str) -> str:
        """With other names for the things, where there are some."""
        for name in {thing.concept for thing in scene.things}:
            concept = self.concepts[name]
            others = (*concept.nouns[1:], *concept.synonyms)
            if not others:
                continue
            other = self.pick(others)
            pattern = rf"\b{re.escape(plural(concept.nouns[0]))}\b"
            text, count = re.subn(pattern, plural(other), text)
            if not count:
                text = re.sub(rf"\b{re.escape(concept.nouns[0])}\b", other, text)
        return text

    def adorned(self, scene: Scene, text: str) -> str:
        """With a word that says nothing right before the first thing."""
        noun = re.escape(self.noun(scene.things[0].concept))
        return re.sub(rf"\b({noun})", rf"{self.word()} \1", text, count=1)

    def filled(self, template: str, text: str) -> str:
        """A template with its words and the caption in it."""
        while "{w}" in template:
            template = template.replace("{w}", self.word(), 1)
        return template.format(text)

    def paraphrase(self, scene: Scene, text: str) -> str:
        """The same of the scene in other words; one time in six it is left as it is."""
        draw = self.random.random()
        if draw < 0.16:
            return text
        if self.chance(0.25):
            text = self.adorned(scene, text)
        if draw < 0.72:
            text = self.renamed(scene, text)
        if draw > 0.6:
            text = self.filled(self.pick((*BEFORE, *AFTER, *AFTER, *FRAMES)), text)
            if self.chance(0.3):
                text = self.filled(self.pick(AFTER), text)
        text = re.sub(r"\ban? (?=[aeio])", "an ", re.sub(r"\ban (?=[^aeio])", "a ", text))
        draw = self.random.random()
        return text.upper() if draw < 0.04 else text[0].upper() + text[1:] if draw < 0.3 else text
