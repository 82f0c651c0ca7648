"""Generate captions for scenes with landscapes and with several objects, in the words that users write."""

from captions import CAPTION_TEMPLATES, STYLE_WORDS, Captioner
from concepts import plural, with_article
from scenes import Scene

NOUNS = {
    "abstract": ("abstract shapes", "abstract pattern", "abstract art", "colorful abstract shapes", "geometric pattern",
                 "abstract painting", "colourful shapes", "geometric shapes"),
    "beach": ("beach", "sandy beach", "tropical beach", "beach by the sea", "seashore"),
    "city": ("city", "city skyline", "skyline", "town", "city street", "big city", "skyscrapers"),
    "desert": ("desert", "sand dunes", "desert landscape", "sandy desert"),
    "forest": ("forest", "forest", "woods", "wood", "forest landscape", "trees"),
    "hills": ("hills", "rolling hills", "green hills", "hill landscape", "valley"),
    "lake": ("lake", "mountain lake", "lake landscape", "river", "pond"),
    "meadow": ("meadow", "field", "field of flowers", "flower meadow", "grass field", "garden"),
    "mountains": ("mountains", "mountain landscape", "mountain range", "mountain", "alps", "snowy mountains"),
    "room": ("room", "living room", "cosy room", "bedroom", "interior", "cozy room", "house interior"),
    "seaside": ("ocean", "sea", "ocean waves", "seascape", "open sea", "water"),
    "skyline": ("sky", "clouds", "sky with clouds", "wide sky"),
    "stars": ("starry night", "night sky", "starry sky", "stars", "outer space", "space", "galaxy",
              "night sky with stars"),
    "underwater": ("underwater scene", "coral reef", "bottom of the sea", "underwater world", "under the sea"),
    "winter": ("winter landscape", "snow", "snowy landscape", "snowy field", "winter scene"),
}  # fmt: skip
PLACES = {
    "beach": ("on the beach", "on a beach", "at the beach", "by the sea"),
    "city": ("in the city", "in a city", "in front of a city skyline", "downtown"),
    "desert": ("in the desert", "in a desert", "on sand dunes"),
    "forest": ("in the forest", "in a forest", "in the woods", "among trees"),
    "hills": ("in the hills", "on a hill", "on green hills"),
    "lake": ("on a lake", "by a lake", "on the lake", "at the lake"),
    "meadow": ("in a meadow", "in a field", "on the grass", "in a garden"),
    "mountains": ("in the mountains", "in front of mountains", "by the mountains"),
    "room": ("in a room", "in the living room", "in a cosy room", "indoors"),
    "seaside": ("on the ocean", "on the sea", "at sea", "on the water"),
    "skyline": ("in the sky", "in the clouds", "against the sky"),
    "stars": ("in space", "under the stars", "in front of the stars", "in the night sky"),
    "underwater": ("under water", "underwater", "in the ocean", "in a coral reef"),
    "winter": ("in the snow", "in snow", "in a winter landscape", "in the snow"),
}  # fmt: skip
WEATHER_ADJECTIVES = {
    "cloudy": ("cloudy", "overcast", "gray"), "misty": ("misty", "foggy", "misty", "hazy"),
    "rainy": ("rainy", "stormy", "wet"), "snowy": ("snowy", "snow-covered", "winter"),
}  # fmt: skip
WEATHER_PHRASES = {
    "cloudy": ("on a cloudy day", "under gray clouds"), "misty": ("in the mist", "in fog", "in the fog"),
    "rainy": ("in the rain", "on a rainy day", "in a storm"), "snowy": ("in winter", "in the snow", "while it snows"),
}  # fmt: skip
TIME_PHRASES = {
    "day": ("in daylight", "on a sunny day", "in the sun"),
    "morning": ("in the morning", "at sunrise", "at dawn", "in morning light"),
    "sunset": ("at sunset", "at sunset", "at dusk", "in the evening", "at golden hour", "in evening light"),
    "night": ("at night", "at night", "in the moonlight", "in the dark", "by night"),
}  # fmt: skip
OVER = {"sunset": ("sunset over {}", "sunset {}", "a sunset over {}"), "morning": ("sunrise over {}", "dawn over {}"),
        "night": ("night over {}", "the moon over {}")}  # fmt: skip
STATELESS = ("abstract", "stars", "underwater")
RELATION_PHRASES = {
    "on": ("on", "on top of", "sitting on", "standing on", "riding"),
    "beside": ("beside", "next to", "and", "with", "near"),
    "in front of": ("in front of", "before"),
    "behind": ("behind", "hiding behind"),
    "under": ("under", "below", "underneath", "beneath"),
    "above": ("above", "over", "flying over"),
}


class StageCaptioner(Captioner):
    """Generate captions for scenes of all kinds. `random` is the only state."""

    def caption(self, scene: Scene) -> str:
        """Return a random caption of a scene."""
        if scene.kind not in {"landscape", "stage", "relation", "group", "trio"}:
            return super().caption(scene)
        if scene.kind == "landscape":
            text = self.landscape(scene.background)
        else:
            text = f"{self.things(scene)} {self.surroundings(scene.background)}".strip()
        if self.chance(0.4):
            text = self.pick(CAPTION_TEMPLATES).format(text)
        if self.chance(0.15):
            text += ", " + self.pick(
                ("flat style", "vector art", "illustration", "digital art", "detailed", "beautiful")
            )
        if self.chance(0.25):
            text = text[0].upper() + text[1:]
        return text + "." if self.chance(0.1) else text

    def landscape(self, background: str) -> str:
        """Return a phrase for a landscape without objects."""
        kind, time, weather = background.split(",")
        noun = self.pick(NOUNS[kind])
        if kind in STATELESS:
            return noun if self.chance(0.7) else with_article(noun)
        if time in OVER and self.chance(0.35):
            adjective = self.pick(WEATHER_ADJECTIVES[weather]) + " " if weather != "clear" and self.chance(0.7) else ""
            return self.pick(OVER[time]).format(f"{self.pick(('the', 'a'))} {adjective}{noun}")
        words = [noun]
        if weather != "clear" and self.chance(0.75):
            words.insert(0, self.pick(WEATHER_ADJECTIVES[weather]))
            weather = "clear"
        elif time == "day" and weather == "clear" and self.chance(0.2):
            words.insert(0, self.pick(("sunny", "bright", "beautiful")))
        text = " ".join(words)
        text = with_article(text) if not noun.endswith("s") and self.chance(0.7) else text
        return " ".join([text, *self.conditions(time, weather, 0.25)])

    def conditions(self, time: str, weather: str, day_probability: float) -> list[str]:
        """Return phrases for the time of day and the weather."""
        phrases = []
        if time != "day" or self.chance(day_probability):
            phrases.append(self.pick(TIME_PHRASES[time]))
        if weather != "clear" and self.chance(0.8):
            phrases.append(self.pick(WEATHER_PHRASES[weather]))
        return phrases

    def surroundings(self, background: str) -> str:
        """Return a phrase for the background of objects."""
        if "," not in background:
            return self.background_phrase(Scene("one", (), background))
        kind, time, weather = background.split(",")
        place = self.pick(PLACES[kind])
        if kind in STATELESS:
            return place
        return " ".join([place, *self.conditions(time, "clear" if kind == "winter" else weather, 0.08)])

    def things(self, scene: Scene) -> str:
        """Return a phrase for the objects of a scene and their relation."""
        style = self.pick(STYLE_WORDS[scene.things[0].style]) if self.chance(0.12) else ""
        names = [self.describe(thing, style) for thing in scene.things]
        if scene.kind == "stage":
            return with_article(names[0]) if self.chance(0.8) else names[0]
        if scene.kind == "relation":
            second, first = (with_article(name) for name in names)
            if scene.relation == "beside" and self.chance(0.5):
                first, second = second, first
            return f"{first} {self.pick(RELATION_PHRASES[scene.relation])} {second}"
        if scene.kind == "group":
            many = plural(self.noun(scene.things[0].concept))
            parts = [f"two {many}", with_article(names[2])]
            return " and ".join(parts if self.chance(0.7) else parts[::-1])
        order = [with_article(name) for name in names]
        return self.pick(("{}, {} and {}", "{} and {} and {}", "{}, {}, {}")).format(*order)
