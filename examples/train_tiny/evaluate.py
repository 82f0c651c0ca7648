"""Measures an exported model: concepts, control, words, people, speed; draws the contact sheet.

Concepts are named by a judge (`judge.py`) that the generator never saw; control is read off pixels
(`control.py`). Every measure is run on real renders too, so that its own error is known. Writes
`evaluation.json` and `contact_sheet.png` to `--out`.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from concepts import Concept, is_mass, plural, read_concepts, read_focus, with_article
from control import background_of, colour_of, count_of, halves
from diffusers import StableDiffusionPipeline
from draw import Drawer
from judge import Judge, open_judge, probabilities
from render import open_sprites
from scenes import BACKGROUNDS, HUES, Scene, Thing, compose
from snapshot import draw, tile

SHEET = (
    "a fox", "a cat", "a dog", "an elephant", "a penguin", "a red fox in the snow", "an owl at night",
    "a butterfly", "a whale under water", "a frog on grass", "a camel in the desert", "a green dragon",
    "a red apple", "a purple apple", "a pizza", "a hamburger", "a strawberry", "a birthday cake",
    "a cup of coffee", "an ice cream cone", "a banana", "a watermelon", "a carrot", "sushi",
    "a car", "a blue car", "a rocket", "a sailboat", "a bicycle", "a train", "an airplane in the sky",
    "a tractor on grass", "a happy face", "a sad face", "a cool face", "a robot", "a ghost",
    "an alien", "a skull", "a clown face", "the sun", "the moon at night", "a rainbow", "a snowman",
    "a rain cloud", "fire", "a snowflake", "a star", "a sunflower", "a rose", "a tree", "a cactus",
    "a mushroom on a blue background", "a house", "a castle at sunset", "a guitar", "a red heart",
    "a light bulb", "a key", "a gift", "three fish", "a glossy crown", "a teddy bear on a pink background",
    "a fox to the left of a mushroom",
)  # fmt: skip
PHRASES = (
    "my very own {}", "could you paint me {}?", "{}, beautiful and bright", "once upon a time there was {}",
    "the best {} in the world", "a photo of {}", "{} for my birthday card", "an oil painting of {}",
)  # fmt: skip
PEOPLE = ("doctor", "astronaut", "person")


class Evaluation:
    """One model's pictures and what they show."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        torch.set_num_threads(options.threads)
        begun = time.monotonic()
        self.pipeline = StableDiffusionPipeline.from_pretrained(options.model)
        self.pipeline.to(options.device)
        self.loading = time.monotonic() - begun
        self.pipeline.set_progress_bar_config(disable=True)
        self.concepts = read_concepts(options.data, options.work)
        self.judge: Judge = open_judge(options.work / "judge.pt")
        self.drawer = Drawer(self.concepts, open_sprites(options.work), 99)
        self.focus = read_focus(options.focus)
        self.drawer.focus(self.focus)
        self.random = np.random.default_rng(7)

    def pictures(self, prompts: list[str], seeds: list[int]) -> np.ndarray:
        """uint8 (n, side, side, 3)."""
        with torch.autocast(self.options.device, torch.bfloat16, enabled=self.options.half):
            images = draw(self.pipeline, prompts, seeds, self.options.steps, self.options.guidance, batch=50)
        return np.stack([np.asarray(image) for image in images])

    def chosen(self) -> tuple[list[Concept], list[Concept]]:
        """The concepts measured: those of the focus, then other everyday ones up to `--concepts`."""
        taught = [c for c in self.concepts.values() if c.name in self.focus and c.core]
        rest = [c for c in self.concepts.values() if c.weight > 1 and c.name not in self.focus]
        rows = np.linspace(0, len(rest) - 1, max(0, min(self.options.concepts - len(taught), len(rest))))
        return taught, [rest[int(row)] for row in rows]

    def named(self, pictures: np.ndarray, nouns: list[str]) -> dict[str, float]:
        """How often the judge names a class with the right noun first, and among five."""
        classes = [set(self.concepts[name].nouns) for name in self.judge.names]
        top = probabilities(self.judge, pictures).topk(5).indices.tolist()
        hits = [[noun in classes[at] for at in row] for noun, row in zip(nouns, top, strict=True)]
        return {
            "top 1": round(float(np.mean([row[0] for row in hits])), 4),
            "top 5": round(float(np.mean([any(row) for row in hits])), 4),
            "pictures": len(hits),
        }

    def plain(self, concepts: list[Concept]) -> dict[str, float]:
        """Concepts by plain prompts with two seeds each."""
        nouns = [concept.nouns[0] for concept in concepts] * 2
        seeds = [0] * len(concepts) + [1] * len(concepts)
        return self.named(self.pictures([with_article(n) for n in nouns], seeds), nouns)

    def concept_scores(self) -> dict[str, Any]:
        """Concepts by plain prompts, then the taught ones by unseen phrasing and by synonyms."""
        taught, others = self.chosen()
        nouns = [concept.nouns[0] for concept in taught]
        phrased = []
        for at, noun in enumerate(nouns):
            phrase = PHRASES[at % len(PHRASES)]
            bare = "own" in phrase or "best" in phrase
            phrased.append(phrase.format(noun if bare else with_article(noun)))
        known = [c for c in taught if c.synonyms]
        synonyms = [with_article(concept.synonyms[0]) for concept in known]
        zeros = [0] * len(taught)
        return {
            "taught": self.plain(taught),
            "taught concepts": len(taught),
            "others": self.plain(others),
            "other concepts": len(others),
            "unseen phrasing": self.named(self.pictures(phrased, zeros), nouns),
            "synonyms": self.named(self.pictures(synonyms, zeros[: len(known)]), [c.nouns[0] for c in known]),
            "judge on real renders": torch.load(self.options.work / "judge.pt", weights_only=False)["figures"],
        }

    def real(self, scenes: list[Scene]) -> np.ndarray:
        """Renders of scenes, the measure of a measure."""
        return np.stack([compose(scene, self.drawer.sprites, 128) for scene in scenes])

    def background_score(self, count: int = 200) -> dict[str, float]:
        """Share of pictures whose border has the colour that the prompt names."""
        names = [list(BACKGROUNDS)[at % len(BACKGROUNDS)] for at in range(count)]
        things = [self.drawer.name(core_only=True) for _ in names]
        prompts = [
            f"{with_article(self.concepts[t].nouns[0])} on {with_article(n)} background"
            for t, n in zip(things, names, strict=True)
        ]
        found = [background_of(p) for p in self.pictures(prompts, list(range(count)))]
        truth = self.real([Scene("one", (self.drawer.one(t),), n) for t, n in zip(things, names, strict=True)])
        return self.share(names, found, [background_of(p) for p in truth])

    def colour_score(self, count: int = 200) -> dict[str, float]:
        """Share of pictures whose thing has the hue that the prompt names."""
        names = [list(HUES)[at % len(HUES)] for at in range(count)]
        things = [str(self.random.choice(self.drawer.tinted)) for _ in names]
        prompts = [with_article(f"{n} {self.concepts[t].nouns[0]}") for t, n in zip(things, names, strict=True)]
        found = [colour_of(p) for p in self.pictures(prompts, list(range(count)))]
        scenes = [
            Scene("one", (Thing(t, "flat", 0.5, 0.5, 0.85, n),), "white") for t, n in zip(things, names, strict=True)
        ]
        return self.share(names, found, [colour_of(p) for p in self.real(scenes)])

    def share(self, truth: list[Any], found: list[Any], real: list[Any]) -> dict[str, float]:
        """Shares of right answers on generated and on real pictures."""
        return {
            "right": round(float(np.mean([a == b for a, b in zip(truth, found, strict=True)])), 4),
            "on real renders": round(float(np.mean([a == b for a, b in zip(truth, real, strict=True)])), 4),
            "pictures": len(truth),
        }

    def count_score(self, count: int = 150) -> dict[str, Any]:
        """Share of pictures with as many things as said, one to three, in all and apiece."""
        names = [str(self.random.choice(self.drawer.tinted)) for _ in range(count)]
        names = [n if not is_mass(self.concepts[n].nouns[0]) else "fox" for n in names]
        truth = [1 + at % 3 for at in range(count)]
        words = {1: "one", 2: "two", 3: "three"}
        prompts = []
        for name, number in zip(names, truth, strict=True):
            noun = self.concepts[name].nouns[0]
            prompts.append(f"{words[number]} {plural(noun) if number > 1 else noun}")
        found = [count_of(p) for p in self.pictures(prompts, list(range(count)))]
        real: list[bool] = []
        while len(real) < count:
            scene = self.drawer._count()
            picture = self.real([Scene("count", scene.things, "white")])[0]
            real.append(count_of(picture) == len(scene.things))
        score: dict[str, Any] = self.share(truth, found, truth)
        score["on real renders"] = round(float(np.mean(real)), 4)
        for number in (1, 2, 3):
            right = [f == number for f, t in zip(found, truth, strict=True) if t == number]
            score[f"of {number}"] = round(float(np.mean(right)), 4)
        return score

    def order_score(self, count: int = 100) -> dict[str, float]:
        """Pairs: the named one is left; `both` when each half is named among the judge's five."""
        scenes = [self.drawer._pair() for _ in range(count)]
        pairs = [(s.things[0].concept, s.things[1].concept) for s in scenes]
        prompts = [
            f"{with_article(self.concepts[a].nouns[0])} to the left of {with_article(self.concepts[b].nouns[0])}"
            for a, b in pairs
        ]
        figures: dict[str, float] = {"pictures": count}
        drawn = self.pictures(prompts, list(range(count)))
        real = self.real([Scene("pair", s.things, "white") for s in scenes])
        for label, pictures in (("", drawn), (" on real renders", real)):
            parts = [halves(p) for p in pictures]
            left = probabilities(self.judge, np.stack([p[0] for p in parts])).log()
            right = probabilities(self.judge, np.stack([p[1] for p in parts])).log()
            order, both = [], []
            for at, (a, b) in enumerate(pairs):
                one, two = self.judge.names.index(a), self.judge.names.index(b)
                order.append(bool(left[at, one] + right[at, two] > left[at, two] + right[at, one]))
                near = one in left[at].topk(5).indices and two in right[at].topk(5).indices
                both.append(bool(near))
            figures["order right" + label] = round(float(np.mean(order)), 4)
            figures["both named among five" + label] = round(float(np.mean(both)), 4)
        return figures

    def people(self, count: int = 100) -> dict[str, dict[str, int]]:
        """What neutral words for people draw over seeds: the judge's nearest of three icons."""
        names = self.judge.names
        result = {}
        for noun in PEOPLE:
            pictures = self.pictures([with_article(noun)] * count, list(range(count)))
            shown = [at for at, n in enumerate(names) if noun in self.concepts[n].nouns]
            best = probabilities(self.judge, pictures)[:, shown].argmax(1).tolist()
            kinds = [names[shown[at]].split("-")[0] for at in best]
            tally = {"man": kinds.count("man"), "woman": kinds.count("woman")}
            result[noun] = {**tally, "neutral": count - sum(tally.values())}
        return result

    def speed(self) -> dict[str, float]:
        """Seconds for one picture of 30 steps (the second of two), and for loading."""
        for _ in range(2):
            begun = time.monotonic()
            draw(self.pipeline, ["a fox"], [0], steps=30)
            spent = time.monotonic() - begun
        return {"30 steps, s": round(spent, 2), "loading, s": round(self.loading, 2)}

    def run(self, only: list[str]) -> dict[str, Any]:
        """Every measure, or those named in `only`."""
        measures = {
            "speed": self.speed,
            "concepts": self.concept_scores,
            "background": self.background_score,
            "object colour": self.colour_score,
            "count": self.count_score,
            "left and right": self.order_score,
            "people": self.people,
        }
        figures: dict[str, Any] = {"steps": self.options.steps, "guidance": self.options.guidance}
        for name, measure in measures.items():
            if not only or name in only:
                figures[name] = measure()
                print(name, json.dumps(figures[name]), flush=True)
                (self.options.out / "evaluation.json").write_text(json.dumps(figures, indent=2) + "\n")
        return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/train_tiny/raw"))
    parser.add_argument("--work", type=Path, default=Path("data/train_tiny"))
    parser.add_argument("--model", type=Path, default=Path("artgen/assets/tiny"))
    parser.add_argument("--out", type=Path, default=Path("data/train_tiny/evaluation"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--concepts", type=int, default=300)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--focus", type=Path, default=Path(__file__).with_name("focus.txt"))
    parser.add_argument("--half", action="store_true", help="draw in bfloat16: faster, nearly the same")
    parser.add_argument("--only", nargs="*", default=[], help="measures to run; default all")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    evaluation = Evaluation(options)
    sheet = tile(draw(evaluation.pipeline, list(SHEET), [0] * len(SHEET), 30, options.guidance), 8)
    sheet.quantize(256).save(options.out / "contact_sheet.png", optimize=True)
    evaluation.run(options.only)


if __name__ == "__main__":
    main()
