"""Generate pairs of captions of a scene: a plain caption, and a paraphrase with synonyms and filler words."""

import re
from pathlib import Path

from captions import FILLERS, FRAMES, NUMBERS, SAME, SETTING_WORDS, STYLE_WORDS, Captioner
from concepts import UNKIND, Concept, plural
from scenes import PLACES, Scene
from sources import read_synonyms

# Words that users add to a noun in prompts.
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
# Not in any training caption, so that the evaluation has unknown words.
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


def filler_words(raw: Path, concepts: dict[str, Concept]) -> tuple[str, ...]:
    """Return filler words from the keyword lists: words that do not name a trained concept."""
    told = [*FRAMES, *PLACES.values(), *SAME, *HELD_OUT, *UNKIND]
    told += [text for some in (SETTING_WORDS, STYLE_WORDS, NUMBERS, SAME) for texts in some.values() for text in texts]
    told += [text for concept in concepts.values() if concept.core for text in (*concept.nouns, *concept.synonyms)]
    taken = {word for text in told for word in re.findall(r"[a-z]+", text)}
    listed = {word for keywords in read_synonyms(raw).values() for text in keywords for word in text.split()}
    return (*ASKED, *FILLERS, *sorted(word for word in listed if word not in taken and len(word) > 2))


class Paraphraser(Captioner):
    """Generate caption pairs. `random` is the only state."""

    def __init__(self, concepts: dict[str, Concept], words: tuple[str, ...], seed: int) -> None:
        super().__init__(concepts, seed)
        self.words = words

    def noun(self, name: str) -> str:
        """Return the most common noun."""
        return self.concepts[name].nouns[0]

    def word(self) -> str:
        """Return a filler word: often a common one of prompts, else any, or a random one."""
        draw = self.random.random()
        return self.pick(ASKED) if draw < 0.4 else self.pick(self.words) if draw < 0.85 else self.filler()

    def plainly(self, scene: Scene) -> str:
        """Return a caption with the most common words."""
        style = self.pick(STYLE_WORDS[scene.things[0].style]) if self.chance(0.3) else ""
        where = self.surroundings(scene)
        text = f"{self.subject(scene, '')} {where} {f', {style} style' if style else ''}"
        return " ".join(text.split()).replace(" ,", ",").replace(",,", ",")

    def renamed(self, scene: Scene, text: str) -> str:
        """Replace the nouns of a caption by synonyms if there are any."""
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
        """Insert a filler word before the first object."""
        noun = re.escape(self.noun(scene.things[0].concept))
        return re.sub(rf"\b({noun})", rf"{self.word()} \1", text, count=1)

    def filled(self, template: str, text: str) -> str:
        """Fill a template with filler words and the caption."""
        while "{w}" in template:
            template = template.replace("{w}", self.word(), 1)
        return template.format(text)

    def paraphrase(self, scene: Scene, text: str) -> str:
        """Return a paraphrase of a caption; one of six captions is unchanged."""
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
