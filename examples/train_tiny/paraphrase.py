"""Generate pairs of captions of a scene: a plain caption, and a paraphrase with synonyms and filler words."""

import re
from pathlib import Path

from captions import CAPTION_TEMPLATES, COLOR_SYNONYMS, FILLERS, NUMBERS, SETTING_WORDS, STYLE_WORDS, Captioner
from concepts import EXCLUDED_WORDS, Concept, plural
from scenes import PLACES, Scene
from sources import read_synonyms

# Words that are common in prompts of users.
PROMPT_WORDS = (
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
SUFFIX_TEMPLATES = (
    "{} for my {w}", "{} for my {w} {w}", "{} for the {w}", "{} for a {w} {w}", "{}, {w} and {w}", "{}, {w}",
    "{}, {w}, {w}", "{}, {w}, {w}, {w}", "{} by {w} {w}", "{} about {w}", "{} of {w}", "{} {w} {w}",
    "{} as {w} as {w}", "{} from the {w}", "{}, very {w}", "{} and nothing else", "{} in the {w}", "{}, please",
)  # fmt: skip
PREFIX_TEMPLATES = (
    "a {w} of {}", "a {w} {w} of {}", "the {w} of {}", "{w} {}", "{w} {w} {}", "{w}: {}", "{w}, {}", "{w} me {}",
    "{w} with {}", "we {w} {}", "{w} by {w}, {}", "could you {w} me {}", "i {w} {}", "every {w} has {}",
)  # fmt: skip


def filler_words(raw: Path, concepts: dict[str, Concept]) -> tuple[str, ...]:
    """Return filler words from the keyword lists: words that do not name a trained concept."""
    excluded_texts = [*CAPTION_TEMPLATES, *PLACES.values(), *COLOR_SYNONYMS, *HELD_OUT, *EXCLUDED_WORDS]
    tables = (SETTING_WORDS, STYLE_WORDS, NUMBERS, COLOR_SYNONYMS)
    excluded_texts += [text for table in tables for texts in table.values() for text in texts]
    core = [concept for concept in concepts.values() if concept.core]
    excluded_texts += [text for concept in core for text in (*concept.nouns, *concept.synonyms)]
    excluded = {word for text in excluded_texts for word in re.findall(r"[a-z]+", text)}
    keywords = read_synonyms(raw).values()
    words = {word for texts in keywords for text in texts for word in text.split()}
    return (*PROMPT_WORDS, *FILLERS, *sorted(word for word in words if word not in excluded and len(word) > 2))


class Paraphraser(Captioner):
    """Generate caption pairs. `random` is the only state."""

    def __init__(self, concepts: dict[str, Concept], fillers: tuple[str, ...], seed: int) -> None:
        super().__init__(concepts, seed)
        self.fillers = fillers

    def noun(self, name: str) -> str:
        """Return the most common noun."""
        return self.concepts[name].nouns[0]

    def filler_word(self) -> str:
        """Return a filler word: a common word of prompts, a word of the keyword lists, or a random word."""
        uniform = self.random.random()
        if uniform < 0.4:
            return self.pick(PROMPT_WORDS)
        return self.pick(self.fillers) if uniform < 0.85 else self.filler()

    def plain_caption(self, scene: Scene) -> str:
        """Return a caption that consists of the most common words."""
        style = self.pick(STYLE_WORDS[scene.things[0].style]) if self.chance(0.3) else ""
        background = self.background_phrase(scene)
        text = f"{self.subject(scene, '')} {background} {f', {style} style' if style else ''}"
        return " ".join(text.split()).replace(" ,", ",").replace(",,", ",")

    def replace_nouns(self, scene: Scene, text: str) -> str:
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

    def insert_filler(self, scene: Scene, text: str) -> str:
        """Insert a filler word before the first object."""
        noun = re.escape(self.noun(scene.things[0].concept))
        return re.sub(rf"\b({noun})", rf"{self.filler_word()} \1", text, count=1)

    def fill_template(self, template: str, text: str) -> str:
        """Fill a template with filler words and the caption."""
        while "{w}" in template:
            template = template.replace("{w}", self.filler_word(), 1)
        return template.format(text)

    def paraphrase(self, scene: Scene, text: str) -> str:
        """Return a paraphrase of a caption. One of six captions is not changed."""
        uniform = self.random.random()
        if uniform < 0.16:
            return text
        if self.chance(0.25):
            text = self.insert_filler(scene, text)
        if uniform < 0.72:
            text = self.replace_nouns(scene, text)
        if uniform > 0.6:
            templates = (*PREFIX_TEMPLATES, *SUFFIX_TEMPLATES, *SUFFIX_TEMPLATES, *CAPTION_TEMPLATES)
            text = self.fill_template(self.pick(templates), text)
            if self.chance(0.3):
                text = self.fill_template(self.pick(SUFFIX_TEMPLATES), text)
        text = re.sub(r"\ban? (?=[aeio])", "an ", re.sub(r"\ban (?=[^aeio])", "a ", text))
        uniform = self.random.random()
        return text.upper() if uniform < 0.04 else text[0].upper() + text[1:] if uniform < 0.3 else text
