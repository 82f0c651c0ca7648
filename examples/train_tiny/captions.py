"""Generate captions for scenes. Each caption of a scene is different."""

import numpy as np
from concepts import Concept, plural, with_article
from scenes import PLACES, SETTINGS, Scene, Thing

CAPTION_TEMPLATES = (
    "a drawing of {}", "a picture of {}", "an image of {}", "an illustration of {}",
    "an emoji of {}", "an icon of {}", "clip art of {}", "draw {}", "vector art of {}",
    "a nice drawing of {}", "a simple picture of {}", "show me {}", "this is {}", "there is {}",
    "a sticker of {}", "a cartoon of {}", "here you see {}", "i want to see {}", "{}, vector art",
    "{} in a simple picture", "please draw {}", "{}, clip art", "{}, emoji", "a sketch of {}",
    "a watercolour of {}", "a portrait of {}", "can you make {} for me?", "i would love {}",
    "{} as a sticker", "{} for my wall", "a story about {}", "what about {}?",
)  # fmt: skip
FILLERS = (
    "my", "our", "your", "his", "her", "their", "some", "any", "very", "so", "quite", "really", "lovely",
    "cute", "pretty", "good", "great", "funny", "old", "new", "young", "happy", "cool", "nice", "cosy",
    "tiny", "amazing", "awesome", "perfect", "classic", "modern", "colourful", "cheerful", "friendly",
    "gentle", "quiet", "loud", "hello", "hi", "hey", "ok", "well", "just", "only", "maybe", "now", "today",
    "tonight", "again", "always", "never", "here", "there", "everywhere", "somewhere", "it", "is", "was",
    "will", "be", "looks", "like", "with", "without", "for", "from", "by", "about", "after", "before", "make",
    "made", "me", "us", "you", "they", "we", "give", "get", "got", "want", "need", "can", "would", "should",
    "must", "let", "go", "going", "come", "look", "see", "seen", "think", "love", "liked", "enjoy", "high",
    "quality", "detailed", "sharp", "style", "design", "sketch", "artwork", "render", "logo", "poster",
    "banner", "page", "print", "collection", "set", "series", "number", "one", "first",
)  # fmt: skip
STYLE_WORDS = {
    "flat": ("flat", "flat", "simple flat"),
    "glossy": ("glossy", "glossy", "shiny", "3d"),
    "noto": ("noto", "noto", "outlined"),
}
SETTING_WORDS = {
    "snow": ("in the snow", "in the snow", "in snow", "in winter", "on a snowy day"),
    "night": ("at night", "at night", "in the night", "under the stars", "in the dark night"),
    "grass": ("on grass", "on the grass", "in a meadow", "on a green field", "in a field"),
    "desert": ("in the desert", "in the desert", "on sand", "on a sandy plain"),
    "sea": ("under water", "under water", "in the sea", "in the ocean", "underwater"),
    "sunset": ("at sunset", "at sunset", "in the evening", "at dusk"),
    "sky": ("in the sky", "in the sky", "under a blue sky", "in front of the sky"),
}
NUMBERS = {2: ("two", "two", "2", "a pair of"), 3: ("three", "three", "3")}
COLOR_SYNONYMS = {"turquoise": ("turquoise", "teal"), "gray": ("gray", "grey"), "purple": ("purple", "violet"),
        "light blue": ("light blue", "sky blue"), "beige": ("beige", "cream")}  # fmt: skip


class Captioner:
    """Generate captions. `random` is the only state."""

    def __init__(self, concepts: dict[str, Concept], seed: int) -> None:
        self.concepts = concepts
        self.random = np.random.default_rng(seed)

    def pick(self, options: tuple[str, ...]) -> str:
        """Return a random element."""
        return options[self.random.integers(len(options))]

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return bool(self.random.random() < probability)

    def noun(self, name: str) -> str:
        """Return a noun for a concept: usually the most common noun, sometimes another noun or a synonym."""
        concept = self.concepts[name]
        uniform = self.random.random()
        if uniform < 0.22 and concept.synonyms:
            return self.pick(concept.synonyms)
        return concept.nouns[0] if uniform < 0.68 else self.pick(concept.nouns)

    def color_word(self, name: str) -> str:
        """Return a word for a color."""
        return self.pick(COLOR_SYNONYMS.get(name, (name,)))

    def describe(self, thing: Thing, *adjectives: str) -> str:
        """Return adjectives, color and noun without an article."""
        words = [w for w in adjectives if w]
        if thing.color:
            words.append(self.color_word(thing.color))
        return " ".join([*words, self.noun(thing.concept)])

    def subject(self, scene: Scene, style: str) -> str:
        """Return the objects of a scene with an article or a number. `style` is an adjective or empty."""
        first = scene.things[0]
        if scene.kind == "count":
            many = plural(self.describe(first))
            words = [self.pick(NUMBERS[len(scene.things)]), style, many]
            return " ".join(w for w in words if w)
        if scene.kind == "pair":
            return self.pair(scene, style)
        size = ""
        if scene.kind == "place" and self.chance(0.75):
            size = self.pick(("small", "small", "tiny", "little"))
        elif scene.kind == "one" and self.chance(0.06):
            size = self.pick(("big", "large"))
        subject = self.describe(first, size, style)
        if not self.chance(0.2):
            subject = with_article(subject) if not self.chance(0.08) else f"the {subject}"
        if scene.place:
            place = PLACES[scene.place]
            if self.chance(0.25):
                place = place.replace("at the", "in the")
            subject = f"{subject} {place}"
        return subject

    def pair(self, scene: Scene, style: str) -> str:
        """Return a phrase for two objects. Two of three phrases state the order."""
        left = with_article(self.describe(scene.things[0], style))
        right = with_article(self.describe(scene.things[1]))
        if self.chance(0.35):
            both = [left, right] if self.chance(0.5) else [right, left]
            return self.pick(("{} and {}", "{} with {}", "{} next to {}", "{} beside {}")).format(*both)
        if self.chance(0.6):
            return self.pick(("{} to the left of {}", "{} on the left of {}", "{} left of {}")).format(left, right)
        if self.chance(0.5):
            return self.pick(("{} to the right of {}", "{} on the right of {}", "{} right of {}")).format(right, left)
        return f"{left} on the left and {right} on the right"

    def background_phrase(self, scene: Scene) -> str:
        """Return a phrase for the background. White is the default and rarely mentioned."""
        if scene.background in SETTINGS:
            return self.pick(SETTING_WORDS[scene.background])
        if scene.background == "white" and not self.chance(0.12):
            return ""
        color = self.color_word(scene.background)
        article = with_article(color)
        return self.pick(
            (f"on {article} background", f"on {article} background", f"on {color}",
             f"in front of {article} background", f"with {article} background",
             f", {color} background", f"against {color}", f"on plain {color}")
        )  # fmt: skip

    def keywords(self, scene: Scene) -> str:
        """Return keywords instead of a sentence: objects, style, background."""
        thing = scene.things[0]
        words = [self.describe(thing)]
        if len(scene.things) > 1 and scene.kind == "pair":
            words.append(self.describe(scene.things[1]))
        if self.chance(0.5):
            words.append(self.pick(STYLE_WORDS[thing.style]) + self.pick(("", " style")))
        if scene.background in SETTINGS:
            words.append(self.pick((scene.background, SETTING_WORDS[scene.background][0])))
        elif scene.background != "white":
            words.append(f"{self.color_word(scene.background)} background")
        return self.pick((", ", ", ", " ")).join(words)

    def filler(self) -> str:
        """Return a filler word: a common word, or a random word of two to four syllables."""
        if self.chance(0.65):
            return self.pick(FILLERS)
        count = self.random.integers(2, 5)
        return "".join(self.pick(tuple("bcdfghklmnprstvw")) + self.pick(tuple("aeiou")) for _ in range(count))

    def with_fillers(self, text: str) -> str:
        """Add filler words to a caption, so that the model learns to ignore unknown words."""
        before = [self.filler() for _ in range(self.random.integers(0, 5))]
        after = [self.filler() for _ in range(self.random.integers(0, 5))]
        separator = "" if not after else self.pick((" ", ", "))
        return " ".join([*before, text.rstrip(".")]) + separator + " ".join(after) + self.pick(("", "", "!", "?", "."))

    def caption(self, scene: Scene) -> str:
        """Return a random caption of a scene."""
        if scene.kind in {"one", "pair"} and self.chance(0.1):
            return self.keywords(scene)
        style = adjective = tail = ""
        if self.chance(0.5):
            style = self.pick(STYLE_WORDS[scene.things[0].style])
            if self.chance(0.4):
                adjective = style
            else:
                tail = self.pick((f"in {style} style", f", {style} style", f", {style}"))
        subject = self.subject(scene, adjective)
        background = self.background_phrase(scene)
        text = f"{subject} {background}"
        if self.chance(0.45):
            text = self.pick(CAPTION_TEMPLATES).format(text.strip())
        elif self.chance(0.08):
            text = f"{subject} emoji {background}"
        text = " ".join(f"{text} {tail}".split())
        text = text.replace(" ,", ",").replace(",,", ",").strip(" ,")
        uniform = self.random.random()
        if uniform < 0.04:
            return text.upper()
        if uniform < 0.3:
            text = text[0].upper() + text[1:]
        return text + "." if self.chance(0.12) else text
