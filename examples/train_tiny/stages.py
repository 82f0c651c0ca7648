"""Generate random scenes with landscapes and with several objects."""

from dataclasses import replace
from pathlib import Path

from landscape_kinds import KINDS as LANDSCAPES
from landscapes import TIMES, WEATHERS
from scene_generator import SceneGenerator
from scenes import Scene, Thing

STAGE_KINDS = {"landscape": 0.3, "stage": 0.3, "relation": 0.22, "group": 0.08, "trio": 0.1}
"""Fractions of the kinds of scenes with landscapes, for `render.py --kinds`."""

TIME_PROBABILITIES = {"day": 0.5, "morning": 0.1, "sunset": 0.2, "night": 0.2}
WEATHER_PROBABILITIES = {"clear": 0.56, "cloudy": 0.1, "misty": 0.14, "rainy": 0.1, "snowy": 0.1}
CONSTANT_LIGHT = frozenset({"abstract", "stars", "underwater"})
"""Landscapes without time and weather."""

WATER_LINE = {"seaside": (0.6, 0.8), "lake": (0.6, 0.78), "beach": (0.5, 0.6)}
RELATIONS = ("on", "beside", "in front of", "behind", "under", "above")


def read_places() -> dict[str, frozenset[str]]:
    """Return the icon names of each place of `stages.txt`."""
    names: dict[str, frozenset[str]] = {}
    place = ""
    for line in Path(__file__).with_name("stages.txt").read_text().splitlines():
        if line.startswith("# "):
            place = line[2:]
        else:
            names[place] = names.get(place, frozenset()) | frozenset(line.split())
    return names


PLACES = read_places()


class StageGenerator(SceneGenerator):
    """Generate scenes of all kinds. `random` is the only state."""

    def choose(self, names: frozenset[str]) -> str:
        """Return a random element that has a sprite."""
        known = [name for name in sorted(names) if ("flat", name) in self.sprites.row]
        return str(self.random.choice(known)) if known else self.name(core_only=True)

    def weighted(self, probabilities: dict[str, float]) -> str:
        """Return a random key."""
        return str(self.random.choice(list(probabilities), p=list(probabilities.values())))

    def landscape(self, kinds: tuple[str, ...] = tuple(LANDSCAPES)) -> str:
        """Return kind, time and weather of a random landscape, separated by commas."""
        kind = str(self.random.choice(kinds))
        if kind in CONSTANT_LIGHT:
            return f"{kind},{next(iter(TIMES))},{WEATHERS[0]}"
        weather = "snowy" if kind == "winter" else self.weighted(WEATHER_PROBABILITIES)
        if kind in {"room", "desert"} and weather in {"snowy", "misty"}:
            weather = "clear"
        return f"{kind},{self.weighted(TIME_PROBABILITIES)},{weather}"

    def stand(self, name: str, feet: float, size: float, x: float | None = None) -> Thing:
        """Return an object that stands at the height `feet`, a fraction of the side from the top."""
        if x is None:
            x = float(self.random.uniform(0.5 * size + 0.02, 0.98 - 0.5 * size))
        return Thing(name, self.style(name), x, feet - 0.46 * size, size)

    def _landscape(self) -> Scene:
        return Scene("landscape", (), self.landscape())

    def _stage(self) -> Scene:
        background = self.landscape(tuple(kind for kind in LANDSCAPES if kind != "abstract"))
        kind, size = background.split(",")[0], float(self.random.uniform(0.36, 0.6))
        uniform = self.random.random()
        if kind == "underwater":
            thing = self.stand(self.choose(PLACES["under water"]), float(self.random.uniform(0.6, 0.85)), size)
        elif kind in {"skyline", "stars"} or (uniform < 0.15 and kind != "room"):
            thing = self.stand(self.choose(PLACES["sky"]), float(self.random.uniform(0.45, 0.62)), 0.8 * size)
        elif kind in {"seaside", "lake"} or (kind == "beach" and uniform < 0.35):
            thing = self.stand(
                self.choose(PLACES["water surface"]), float(self.random.uniform(*WATER_LINE[kind])), 0.8 * size
            )
        else:
            place = "room" if kind == "room" else "ground"
            thing = self.stand(self.choose(PLACES[place]), float(self.random.uniform(0.84, 0.95)), size)
        return Scene("stage", (thing,), background)

    def _background(self) -> str:
        if self.random.random() < 0.5:
            return self.background(0.6)
        return self.landscape(("meadow", "hills", "beach", "desert", "winter", "forest", "room", "city", "mountains"))

    def _relation(self) -> Scene:
        """Return two different objects. The second object is the one that the caption mentions second."""
        relation = str(self.random.choice(RELATIONS, p=(0.28, 0.24, 0.14, 0.14, 0.1, 0.1)))
        first, second = self.name(core_only=True), self.name(core_only=True)
        background, x = self._background(), float(self.random.uniform(0.42, 0.58))
        if relation == "on":
            lower = self.stand(second, 0.93, float(self.random.uniform(0.46, 0.54)), x)
            upper = self.stand(first, 0.93 - 0.8 * lower.size, float(self.random.uniform(0.38, 0.44)), x)
            return Scene("relation", (lower, upper), background, relation=relation)
        if relation in {"under", "above"}:
            high, low = (second, first) if relation == "under" else (first, second)
            upper = self.stand(high, 0.48, float(self.random.uniform(0.38, 0.44)), x)
            lower = self.stand(low, 0.94, float(self.random.uniform(0.38, 0.44)), x)
            things = (upper, lower) if relation == "under" else (lower, upper)
            return Scene("relation", things, background, relation=relation)
        size, feet = float(self.random.uniform(0.42, 0.5)), float(self.random.uniform(0.76, 0.92))
        if relation == "beside":
            left, right = (first, second) if self.random.random() < 0.5 else (second, first)
            things = (self.stand(left, feet, size, 0.27), self.stand(right, feet, size, 0.73))
            return Scene("relation", things if left == second else things[::-1], background, relation=relation)
        near, far = (first, second) if relation == "in front of" else (second, first)
        side = -1 if self.random.random() < 0.5 else 1
        back = self.stand(far, 0.78, float(self.random.uniform(0.54, 0.62)), 0.5 + 0.16 * side)
        front = self.stand(near, 0.95, float(self.random.uniform(0.44, 0.5)), 0.5 - 0.2 * side)
        return Scene("relation", (back, front), background, relation=relation)

    def _group(self) -> Scene:
        """Return two equal objects and a different one: "two dogs and a cat"."""
        many, single = self.name(core_only=True), self.name(core_only=True)
        feet, style = float(self.random.uniform(0.66, 0.9)), self.style(many)
        xs = (0.19, 0.5, 0.81)
        at = int(self.random.choice((0, 2, 2, 1)))
        things = [self.stand(single if i == at else many, feet, 0.33, x) for i, x in enumerate(xs)]
        things = [thing if thing.concept == single else replace(thing, style=style) for thing in things]
        return Scene("group", (*(t for t in things if t.concept == many), *(t for t in things if t.concept == single)),
                     self._background())  # fmt: skip

    def _trio(self) -> Scene:
        names = [self.name(core_only=True) for _ in range(3)]
        feet = float(self.random.uniform(0.66, 0.9))
        things = tuple(self.stand(name, feet, 0.33, x) for name, x in zip(names, (0.19, 0.5, 0.81), strict=True))
        return Scene("trio", things, self._background())
