"""Evaluate an exported model: concepts, prompt adherence, synonyms, people, speed. Write the contact sheet.

A classifier (`concept_classifier.py`) that the generator never uses names the concepts; prompt adherence is measured
from pixels (`prompt_adherence.py`). Every measurement is also run on real renders, to measure its own error. Writes
`evaluation.json` and `contact_sheet.png` to `--out`.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from concept_network import ConceptClassifier, load_classifier, probabilities
from concepts import IMAGE_COUNT_KEY, Concept, has_no_article, plural, read_concepts, read_focus, with_article
from diffusers import StableDiffusionPipeline
from named_colors import BACKGROUNDS, HUES
from prompt_adherence import background_color, count_objects, halves, object_color
from render import load_sprites
from scene_generator import SceneGenerator
from scenes import Scene, Thing, render_scene
from snapshot import generate_images, tile

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
UNSEEN_PHRASES = (
    "my very own {}", "could you paint me {}?", "{}, beautiful and bright", "once upon a time there was {}",
    "the best {} in the world", "a photo of {}", "{} for my birthday card", "an oil painting of {}",
)  # fmt: skip
# These phrases contain the words of `paraphrase.HELD_OUT`, which are not in any training caption.
UNKNOWN_WORD_PHRASES = (
    "{} made groovy", "an etching of {}", "{} by the harbourmaster", "the alderman's favourite {}",
    "{}, whimsical and serene", "wallpaper with {}", "{} for the kindergarten newsletter", "one glorious {}",
)  # fmt: skip
WORDS_WITHOUT_ARTICLE = ("own", "best", "favourite", "glorious")  # a noun after one of these words has no article
SHEET_STEPS = 30
PEOPLE = ("doctor", "astronaut", "person")


def accuracy(hits: np.ndarray) -> dict[str, float]:
    """Return the top-1 and top-5 accuracy. `hits` is bool of shape (..., 2)."""
    first, five = hits.reshape(-1, 2).mean(axis=0)
    return {"top 1": round(float(first), 4), "top 5": round(float(five), 4), IMAGE_COUNT_KEY: hits.size // 2}


def fill_phrases(nouns: list[str], phrases: tuple[str, ...]) -> list[str]:
    """Return each noun in one of the phrases in turn, with an article if the phrase permits it."""
    taken = (phrases[i % len(phrases)] for i in range(len(nouns)))
    return [
        phrase.format(noun if any(word in phrase for word in WORDS_WITHOUT_ARTICLE) else with_article(noun))
        for phrase, noun in zip(taken, nouns, strict=True)
    ]


class Evaluation:
    """Generate images with one model and evaluate them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        torch.set_num_threads(options.threads)
        start_time = time.monotonic()
        self.pipeline = StableDiffusionPipeline.from_pretrained(options.model)
        self.pipeline.to(options.device)
        self.loading_seconds = time.monotonic() - start_time
        self.pipeline.set_progress_bar_config(disable=True)
        self.concepts = read_concepts(options.data, options.work)
        self.classifier: ConceptClassifier = load_classifier(options.work / "concept_classifier.pt")
        self.generator = SceneGenerator(self.concepts, load_sprites(options.work), 99)
        self.focus = read_focus(options.focus) or frozenset(self.generator.core)
        self.generator.focus(self.focus)
        self.random = np.random.default_rng(7)

    def images(self, prompts: list[str], seeds: list[int]) -> np.ndarray:
        """Generate images, uint8 (n, side, side, 3)."""
        with torch.autocast(self.options.device, torch.bfloat16, enabled=self.options.half):
            images = generate_images(self.pipeline, prompts, seeds, self.options.steps, self.options.guidance, batch=50)
        return np.stack([np.asarray(image) for image in images])

    def evaluated_concepts(self) -> tuple[list[Concept], list[Concept]]:
        """Return the evaluated concepts: all of the focus, and `--others` everyday concepts, evenly spread."""
        known = [self.concepts[name] for name in self.classifier.names]
        trained = [concept for concept in known if concept.name in self.focus]
        nouns = {noun for concept in trained for noun in concept.nouns}
        rest = [concept for concept in known if concept.name not in self.focus and concept.nouns[0] not in nouns]
        rows = np.linspace(0, len(rest) - 1, min(self.options.others, len(rest)))
        return trained, [rest[int(row)] for row in rows]

    def hits(self, prompts: list[str], seeds: list[int], nouns: list[str]) -> np.ndarray:
        """Return top-1 and top-5 hits of the classifier: bool, shape (prompts, 2)."""
        if not prompts:
            return np.zeros((0, 2), bool)
        classes = [set(self.concepts[name].nouns) for name in self.classifier.names]
        top = probabilities(self.classifier, self.images(prompts, seeds)).topk(5).indices.tolist()
        right = [[noun in classes[i] for i in row] for noun, row in zip(nouns, top, strict=True)]
        return np.array([[row[0], any(row)] for row in right])

    def plain(self, concepts: list[Concept]) -> np.ndarray:
        """Return the hits of plain prompts: bool of shape (seeds 0 and 1, concepts, 2)."""
        nouns = [concept.nouns[0] for concept in concepts]
        prompts = [with_article(noun) for noun in nouns]
        return np.stack([self.hits(prompts, [seed] * len(nouns), nouns) for seed in (0, 1)])

    def concept_scores(self) -> dict[str, Any]:
        """Evaluate all concepts with plain prompts, and the trained concepts with new phrases and synonyms.

        Two lists contain the trained concepts that failed with both seeds.
        """
        trained, others = self.evaluated_concepts()
        trained_hits, other_hits = self.plain(trained), self.plain(others)
        nouns = [concept.nouns[0] for concept in trained]
        known = [c for c in trained if c.synonyms]
        synonyms = [with_article(concept.synonyms[0]) for concept in known]
        zeros = [0] * len(trained)
        groups = {
            "taught": trained_hits,
            "others": other_hits,
            "all": np.concatenate([trained_hits, other_hits], axis=1),
            "unseen phrasing": self.hits(fill_phrases(nouns, UNSEEN_PHRASES), zeros, nouns),
            "unknown words": self.hits(fill_phrases(nouns, UNKNOWN_WORD_PHRASES), zeros, nouns),
            "synonyms": self.hits(synonyms, zeros[: len(known)], [concept.nouns[0] for concept in known]),
        }
        return {
            "taught concepts": len(trained),
            "other concepts": len(others),
            **{name: accuracy(hits) for name, hits in groups.items() if hits.size},
            "taught, first on neither seed": [c.name for i, c in enumerate(trained) if not trained_hits[:, i, 0].any()],
            "taught, among five on neither seed": [
                c.name for i, c in enumerate(trained) if not trained_hits[:, i, 1].any()
            ],
            "judge on real renders": torch.load(self.options.work / "concept_classifier.pt", weights_only=False)[
                "figures"
            ],
        }

    def limit_count(self, count: int) -> int:
        """Return the number of images of a measurement: `count`, at most `--images`."""
        return min(count, self.options.images or count)

    def render(self, scenes: list[Scene]) -> np.ndarray:
        """Return renders of scenes, with which the error of a measurement is determined."""
        return np.stack([render_scene(scene, self.generator.sprites, 128) for scene in scenes])

    def background_score(self) -> dict[str, float]:
        """Return the fraction of images whose border has the color of the prompt."""
        count = self.limit_count(200)
        names = [list(BACKGROUNDS)[i % len(BACKGROUNDS)] for i in range(count)]
        things = [self.generator.name(core_only=True) for _ in names]
        prompts = [
            f"{with_article(self.concepts[t].nouns[0])} on {with_article(n)} background"
            for t, n in zip(things, names, strict=True)
        ]
        found = [background_color(p) for p in self.images(prompts, list(range(count)))]
        truth = self.render([Scene("one", (self.generator.one(t),), n) for t, n in zip(things, names, strict=True)])
        return self.score(names, found, [background_color(p) for p in truth])

    def color_score(self) -> dict[str, float]:
        """Return the fraction of images whose object has the hue of the prompt."""
        count = self.limit_count(200)
        names = [list(HUES)[i % len(HUES)] for i in range(count)]
        things = [str(self.random.choice(self.generator.recolorable)) for _ in names]
        prompts = [with_article(f"{n} {self.concepts[t].nouns[0]}") for t, n in zip(things, names, strict=True)]
        found = [object_color(p) for p in self.images(prompts, list(range(count)))]
        scenes = [
            Scene("one", (Thing(t, "flat", 0.5, 0.5, 0.85, n),), "white") for t, n in zip(things, names, strict=True)
        ]
        return self.score(names, found, [object_color(p) for p in self.render(scenes)])

    def score(self, truth: list[Any], found: list[Any], found_in_renders: list[Any]) -> dict[str, float]:
        """Return the fractions of correct generated and real images."""
        return {
            "right": round(float(np.mean([a == b for a, b in zip(truth, found, strict=True)])), 4),
            "on real renders": round(float(np.mean([a == b for a, b in zip(truth, found_in_renders, strict=True)])), 4),
            IMAGE_COUNT_KEY: len(truth),
        }

    def count_score(self) -> dict[str, Any]:
        """Return the fraction of images with the requested number of objects (1 to 3), in total and per number."""
        count = self.limit_count(150)
        countable = [name for name in self.generator.recolorable if not has_no_article(self.concepts[name].nouns[0])]
        names = [str(self.random.choice(countable)) for _ in range(count)]
        truth = [1 + i % 3 for i in range(count)]
        numerals = {1: "one", 2: "two", 3: "three"}
        prompts = []
        for name, number in zip(names, truth, strict=True):
            noun = self.concepts[name].nouns[0]
            prompts.append(f"{numerals[number]} {plural(noun) if number > 1 else noun}")
        found = [count_objects(p) for p in self.images(prompts, list(range(count)))]
        correct_renders: list[bool] = []
        while len(correct_renders) < count:
            scene = self.generator._count()
            image = self.render([Scene("count", scene.things, "white")])[0]
            correct_renders.append(count_objects(image) == len(scene.things))
        score: dict[str, Any] = self.score(truth, found, truth)
        score["on real renders"] = round(float(np.mean(correct_renders)), 4)
        for number in (1, 2, 3):
            right = [f == number for f, t in zip(found, truth, strict=True) if t == number]
            score[f"of {number}"] = round(float(np.mean(right)), 4)
        return score

    def order_score(self) -> dict[str, float]:
        """Evaluate pairs: the first object is on the left; `both`: the classifier names each half among five."""
        count = self.limit_count(100)
        scenes = [self.generator._pair() for _ in range(count)]
        pairs = [(s.things[0].concept, s.things[1].concept) for s in scenes]
        prompts = [
            f"{with_article(self.concepts[a].nouns[0])} to the left of {with_article(self.concepts[b].nouns[0])}"
            for a, b in pairs
        ]
        figures: dict[str, float] = {IMAGE_COUNT_KEY: count}
        generated = self.images(prompts, list(range(count)))
        renders = self.render([Scene("pair", s.things, "white") for s in scenes])
        for label, images in (("", generated), (" on real renders", renders)):
            parts = [halves(p) for p in images]
            left = probabilities(self.classifier, np.stack([p[0] for p in parts])).log()
            right = probabilities(self.classifier, np.stack([p[1] for p in parts])).log()
            order, both = [], []
            for i, (a, b) in enumerate(pairs):
                one, two = self.classifier.names.index(a), self.classifier.names.index(b)
                order.append(bool(left[i, one] + right[i, two] > left[i, two] + right[i, one]))
                near = one in left[i].topk(5).indices and two in right[i].topk(5).indices
                both.append(bool(near))
            figures["order right" + label] = round(float(np.mean(order)), 4)
            figures["both named among five" + label] = round(float(np.mean(both)), 4)
        return figures

    def people(self) -> dict[str, dict[str, int]]:
        """Classify images of prompts without gender as the man, woman or neutral icon, and return the counts."""
        count, names = self.limit_count(100), self.classifier.names
        result = {}
        for noun in PEOPLE:
            shown = [i for i, n in enumerate(names) if noun in self.concepts[n].nouns]
            if not shown:
                continue
            images = self.images([with_article(noun)] * count, list(range(count)))
            best = probabilities(self.classifier, images)[:, shown].argmax(1).tolist()
            kinds = [names[shown[i]].split("-")[0] for i in best]
            tally = {"man": kinds.count("man"), "woman": kinds.count("woman")}
            result[noun] = {**tally, "neutral": count - sum(tally.values())}
        return result

    def speed(self) -> dict[str, float]:
        """Return the seconds of one image with 30 steps (the second of two), and the loading time."""
        for _ in range(2):
            start_time = time.monotonic()
            generate_images(self.pipeline, ["a fox"], [0], steps=30)
            seconds = time.monotonic() - start_time
        return {"30 steps, s": round(seconds, 2), "loading, s": round(self.loading_seconds, 2)}

    def sheet(self) -> dict[str, int]:
        """Generate the contact sheet: each prompt with seed 0, without selection."""
        images = generate_images(self.pipeline, list(SHEET), [0] * len(SHEET), SHEET_STEPS, self.options.guidance)
        tile(images, 8).quantize(256).save(self.options.out / "contact_sheet.png", optimize=True)
        return {"prompts": len(SHEET), "steps": SHEET_STEPS}

    def run(self, only: list[str]) -> dict[str, Any]:
        """Run all measurements, or the ones in `only`."""
        measures: dict[str, Callable[[], dict[str, Any]]] = {
            "contact sheet": self.sheet,
            "speed": self.speed,
            "concepts": self.concept_scores,
            "background": self.background_score,
            "object colour": self.color_score,
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
    parser.add_argument("--model", type=Path, default=Path("data/train_tiny/model"))
    parser.add_argument("--out", type=Path, default=Path("data/train_tiny/evaluation"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--others", type=int, default=100, help="number of everyday concepts in addition to --focus")
    parser.add_argument(
        "--images", "--pictures", type=int, help="maximum number of images per measurement of adherence or people"
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--focus", type=Path, default=Path(__file__).with_name("focus.txt"))
    parser.add_argument("--half", action="store_true", help="generate in bfloat16: faster, nearly identical")
    parser.add_argument("--only", nargs="*", default=[], help="measurements to run [all]")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    Evaluation(options).run(options.only)


if __name__ == "__main__":
    main()
