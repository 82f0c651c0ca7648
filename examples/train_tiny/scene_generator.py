"""Generate random scenes: objects, colors, places and counts."""

from dataclasses import replace

import numpy as np
from concepts import Concept
from named_colors import BACKGROUNDS, HUES
from scenes import PLACES, SETTINGS, Scene, Sprites, Thing, colorful_fraction

KINDS = {"one": 0.55, "setting": 0.13, "color": 0.11, "place": 0.07, "count": 0.08, "pair": 0.06}
STYLES = {"flat": 0.52, "glossy": 0.38, "noto": 0.10}
CORE_PROBABILITY = 0.87


class SceneGenerator:
    """Generate scenes. `random` is the only state."""

    def __init__(self, concepts: dict[str, Concept], sprites: Sprites, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.kinds = KINDS
        self.sprites = sprites
        self.core = sorted(n for n, c in concepts.items() if c.core and ("flat", n) in sprites.row)
        self.rest = sorted(n for n, c in concepts.items() if not c.core)
        weight = np.array([concepts[n].weight for n in self.core])
        self.core_probabilities = weight / weight.sum()
        self.colorful = {
            n
            for n in self.core
            if colorful_fraction(sprites.pixels[sprites.row["flat", n]]) > 0.35 and concepts[n].weight > 1
        }
        self.recolorable = sorted(self.colorful)

    def focus(self, names: frozenset[str]) -> None:
        """Restrict the core to these concepts, with equal frequencies."""
        self.core = [name for name in self.core if name in names]
        self.core_probabilities = np.full(len(self.core), 1 / len(self.core))
        self.recolorable = [name for name in self.recolorable if name in names]

    def name(self, core_only: bool = False) -> str:
        """Return a random concept. Core concepts are much more frequent."""
        if core_only or self.random.random() < CORE_PROBABILITY:
            return str(self.random.choice(self.core, p=self.core_probabilities))
        return str(self.random.choice(self.rest))

    def style(self, name: str) -> str:
        """Return a style that the concept has."""
        known = [s for s in STYLES if (s, name) in self.sprites.row]
        core_probabilities = np.array([STYLES[s] for s in known])
        return str(self.random.choice(known, p=core_probabilities / core_probabilities.sum()))

    def background(self, white: float) -> str:
        """Return white with probability `white`, else a named color."""
        if self.random.random() < white:
            return "white"
        return str(self.random.choice(list(BACKGROUNDS)[1:]))

    def one(self, name: str) -> Thing:
        """Return a large object near the center."""
        x, y = 0.5 + self.random.uniform(-0.03, 0.03, 2)
        return Thing(name, self.style(name), x, y, self.random.uniform(0.78, 0.9))

    def scene(self) -> Scene:
        """Return one scene of a random kind from `kinds`."""
        kind = str(self.random.choice(list(self.kinds), p=list(self.kinds.values())))
        scene: Scene = getattr(self, f"_{kind}")()
        return replace(scene, seed=int(self.random.integers(2**31)))

    def _one(self) -> Scene:
        return Scene("one", (self.one(self.name()),), self.background(0.65))

    def _setting(self) -> Scene:
        name, color = self.name(core_only=True), None
        if name in self.colorful and self.random.random() < 0.25:
            color = str(self.random.choice(list(HUES)))
        thing = replace(
            self.one(name),
            color=color,
            size=self.random.uniform(0.62, 0.78),
            y=0.54 + self.random.uniform(-0.03, 0.05),
        )
        return Scene("one", (thing,), str(self.random.choice(SETTINGS)))

    def _color(self) -> Scene:
        name = str(self.random.choice(self.recolorable))
        thing = replace(self.one(name), color=str(self.random.choice(list(HUES))))
        return Scene("one", (thing,), self.background(0.75))

    def _place(self) -> Scene:
        places = [p for p in PLACES if p != (1, 1)]
        row, column = places[self.random.integers(len(places))]
        size = self.random.uniform(0.34, 0.46)
        x, y = (0.24 + 0.26 * part + self.random.uniform(-0.03, 0.03) for part in (column, row))
        name = self.name(core_only=True)
        thing = Thing(name, self.style(name), x, y, size)
        return Scene("place", (thing,), self.background(0.65), place=(row, column))

    def _count(self) -> Scene:
        name = self.name(core_only=True)
        style = self.style(name)
        two = self.random.random() < 0.45
        if two:
            spots = [(0.27, 0.5), (0.73, 0.5)]
            size = self.random.uniform(0.42, 0.48)
        else:
            spots = [(0.5, 0.27), (0.27, 0.72), (0.73, 0.72)]
            size = self.random.uniform(0.38, 0.46)
        things = []
        for x, y in spots:
            dx, dy = self.random.uniform(-0.025, 0.025, 2)
            things.append(Thing(name, style, x + dx, y + dy, size))
        return Scene("count", tuple(things), self.background(0.65))

    def _pair(self) -> Scene:
        left, right = self.name(core_only=True), self.name(core_only=True)
        size = self.random.uniform(0.44, 0.5)
        style = self.style(left)
        other = style if (style, right) in self.sprites.row else self.style(right)
        things = (
            Thing(left, style, 0.26, 0.5 + self.random.uniform(-0.04, 0.04), size),
            Thing(right, other, 0.74, 0.5 + self.random.uniform(-0.04, 0.04), size),
        )
        return Scene("pair", things, self.background(0.65))
