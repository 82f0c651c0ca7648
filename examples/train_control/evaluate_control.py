"""Evaluate an exported control net: edges, concepts, sketches. Write the sheet.

The same prompts and seeds are generated with and without the net. Writes `evaluation.json`, and `sheet.png` (sketch or
edges on the left, result on the right, unselected) to `--out`.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionPipeline
from PIL import Image
from scipy import ndimage

sys.path.append(str(Path(__file__).parents[1] / "train_tiny"))
from concept_network import load_classifier, probabilities
from concepts import IMAGE_COUNT_KEY, read_concepts, read_focus, with_article
from render import load_sprites
from render_control import BUNDLED, FOCUS, SIDE_PX, vary_placement
from scene_generator import SceneGenerator
from scenes import Scene, render_scene
from sketches import SKETCHES, draw_sketch
from snapshot import generate_images, tile
from strokes import EIGHT_NEIGHBORS, edges

HELD_OUT_SEED = 20_260
SHEET_PROMPTS = {
    "a red fox": ("a red fox", "a fox in the snow"),
    "a house": ("a house", "a purple house at sunset"),
    "a blue car": ("a blue car", "a red car on a yellow background"),
    "an orange fish": ("an orange fish", "a fish under water"),
    "a cat": ("a cat", "a black cat on a pink background"),
    "a tree": ("a tree", "a tree on grass"),
    "a red apple": ("a red apple", "a green apple on a blue background"),
    "a mushroom": ("a mushroom", "a purple mushroom at night"),
}
SHEET_RENDERS = ("an owl", "a sunflower", "a rocket", "a pizza", "a guitar", "a butterfly", "a snowman", "a castle")


def edge_f1(found: np.ndarray, expected: np.ndarray, tolerance: int) -> float:
    """Return the F1 score of edges, bool (side, side). An edge matches an edge at most `tolerance` px away per axis."""
    if not found.any() or not expected.any():
        return float(found.any() == expected.any())
    precision = ndimage.binary_dilation(expected, EIGHT_NEIGHBORS, tolerance)[found].mean()
    recall = ndimage.binary_dilation(found, EIGHT_NEIGHBORS, tolerance)[expected].mean()
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def map_image(mask: np.ndarray) -> Image.Image:
    """Convert a control map, bool (side, side), to a white-on-black RGB image."""
    return Image.fromarray(mask.astype(np.uint8) * 255).convert("RGB")


def sketch_pixels(name: str) -> np.ndarray:
    """Return a sketch at the size of the model, uint8 RGB."""
    return np.asarray(draw_sketch(name).resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS))


class Evaluation:
    """Generate images with and without the net, and evaluate them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        torch.set_num_threads(options.threads)
        self.plain = StableDiffusionPipeline.from_pretrained(options.model)
        net = ControlNetModel.from_pretrained(options.net, torch_dtype=torch.float32)
        self.controlled = StableDiffusionControlNetPipeline(**self.plain.components, controlnet=net)
        for pipeline in (self.plain, self.controlled):
            pipeline.set_progress_bar_config(disable=True)
        self.concepts = read_concepts(options.data, options.work)
        self.classifier = load_classifier(options.work / "concept_classifier.pt")
        self.generator = SceneGenerator(self.concepts, load_sprites(options.work), HELD_OUT_SEED)
        self.generator.focus(read_focus(options.focus) or frozenset(self.generator.core))

    def images(self, prompts: list[str], maps: list[np.ndarray] | None = None) -> np.ndarray:
        """Generate images with the seeds 0, 1, 2, ..., uint8 (n, side, side, 3); with the net if there are maps."""
        steps, guidance, seeds = self.options.steps, self.options.guidance, list(range(len(prompts)))
        if maps is None:
            images = generate_images(self.plain, prompts, seeds, steps, guidance, batch=25)
        else:
            control = [map_image(mask) for mask in maps]
            images = generate_images(self.controlled, prompts, seeds, steps, guidance, batch=25, maps=control)
        return np.stack([np.asarray(image) for image in images])

    def f1_scores(self, prompts: list[str], maps: list[np.ndarray]) -> dict[str, Any]:
        """Return the mean F1 score of the edges of images and their maps, with and without the net."""
        scores: dict[str, Any] = {IMAGE_COUNT_KEY: len(prompts)}
        for label, images in (("with net", self.images(prompts, maps)), ("without net", self.images(prompts))):
            found = [edges(image) for image in images]
            for tolerance in (1, 2):
                values = [edge_f1(a, b, tolerance) for a, b in zip(found, maps, strict=True)]
                scores[f"F1 {label}, {tolerance} px"] = round(float(np.mean(values)), 4)
        return scores

    def edge_scores(self, any_place: bool) -> dict[str, Any]:
        """Compare the edges of images with the edges of held-out renders of one object, on any background.

        Args:
            any_place: use random sizes and positions, and mirror half of the renders. Otherwise the object is large
                and in the middle, where the model generates it without the net, too.
        """
        prompts: list[str] = []
        maps: list[np.ndarray] = []
        while len(prompts) < self.options.images:
            thing = self.generator.one(self.generator.name(core_only=True))
            scene = Scene("one", (thing,), self.generator.background(0.65), len(prompts))
            if any_place:
                scene = vary_placement(scene, self.generator.random)
            prompt = with_article(self.concepts[thing.concept].nouns[0])
            if scene.background != "white":
                prompt += f" on {with_article(scene.background)} background"
            found = edges(render_scene(scene, self.generator.sprites, SIDE_PX))
            if any_place and len(prompts) % 2:
                found = found[:, ::-1].copy()
            if found.any():
                prompts.append(prompt)
                maps.append(found)
        return self.f1_scores(prompts, maps)

    def sketch_scores(self) -> dict[str, Any]:
        """Compare the edges of images with the edges of the sketches, and apply the classifier to the images."""
        maps = [edges(sketch_pixels(name)) for name in SKETCHES]
        scores = self.f1_scores(list(SKETCHES), maps)
        nouns = [name.split()[-1] for name in SKETCHES]
        scores["recognized with net"] = self.recognized(self.images(list(SKETCHES), maps), nouns)
        scores["recognized without net"] = self.recognized(self.images(list(SKETCHES)), nouns)
        return scores

    def recognized(self, images: np.ndarray, nouns: list[str]) -> float:
        """Return the top-1 accuracy of the classifier."""
        classes = [set(self.concepts[name].nouns) for name in self.classifier.names]
        best = probabilities(self.classifier, images).argmax(1).tolist()
        return round(float(np.mean([noun in classes[i] for noun, i in zip(nouns, best, strict=True)])), 4)

    def concept_scores(self) -> dict[str, Any]:
        """Return the accuracy on all concepts with the edges of a render, and without the net."""
        names = [name for name in self.generator.core if name in self.classifier.names][: self.options.concepts]
        nouns = [self.concepts[name].nouns[0] for name in names]
        prompts = [with_article(noun) for noun in nouns]
        renders = [self.render_one(name) for name in names]
        return {
            IMAGE_COUNT_KEY: len(names),
            "with net": self.recognized(self.images(prompts, [edges(image) for image in renders]), nouns),
            "without net": self.recognized(self.images(prompts), nouns),
            "real renders": self.recognized(np.stack(renders), nouns),
        }

    def render_one(self, name: str) -> np.ndarray:
        """Return a held-out render of a concept on white, in its flat style if it exists."""
        thing = self.generator.one(name)
        if ("flat", name) in self.generator.sprites.row:
            thing = replace(thing, style="flat")
        return render_scene(Scene("one", (thing,), "white"), self.generator.sprites, SIDE_PX)

    def sheet(self) -> dict[str, int]:
        """Generate the sheet: two prompts per sketch, and edges of renders. Each image has seed 0."""
        inputs = [(text, sketch_pixels(name)) for name, texts in SHEET_PROMPTS.items() for text in texts]
        by_noun = {with_article(self.concepts[name].nouns[0]): name for name in reversed(self.generator.core)}
        inputs += [(text, self.render_one(by_noun[text])) for text in SHEET_RENDERS if text in by_noun]
        maps = [edges(pixels) for _, pixels in inputs]
        results = generate_images(
            self.controlled, [text for text, _ in inputs], [0] * len(inputs), self.options.steps, self.options.guidance,
            batch=8, maps=[map_image(mask) for mask in maps],
        )  # fmt: skip
        shown = [Image.fromarray(pixels) for _, pixels in inputs[: 2 * len(SHEET_PROMPTS)]]
        shown += [map_image(mask) for mask in maps[len(shown) :]]
        pairs = [tile([left, right], 2) for left, right in zip(shown, results, strict=True)]
        sheet = Image.new("RGB", (4 * 2 * SIDE_PX, -(-len(pairs) // 4) * SIDE_PX), "white")
        for i, pair in enumerate(pairs):
            sheet.paste(pair, ((i % 4) * 2 * SIDE_PX, (i // 4) * SIDE_PX))
        sheet.quantize(128).save(self.options.out / "sheet.png", optimize=True)
        return {IMAGE_COUNT_KEY: len(pairs), "seed": 0}

    def run(self, only: list[str]) -> None:
        """Run all measurements, or the ones in `only`."""
        measures: dict[str, Callable[[], dict[str, Any]]] = {
            "sheet": self.sheet,
            "edges": partial(self.edge_scores, any_place=True),
            "edges in the middle": partial(self.edge_scores, any_place=False),
            "sketches": self.sketch_scores,
            "concepts": self.concept_scores,
        }
        path = self.options.out / "evaluation.json"
        figures: dict[str, Any] = {"steps": self.options.steps, "guidance": self.options.guidance}
        for name, measure in measures.items():
            if not only or name in only:
                figures[name] = measure()
                print(name, json.dumps(figures[name]), flush=True)
                path.write_text(json.dumps(figures, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/train_tiny/raw"))
    parser.add_argument("--work", type=Path, default=Path("data/train_control"))
    parser.add_argument("--model", type=Path, default=BUNDLED, help="model that the net controls")
    parser.add_argument("--net", type=Path, default=Path("data/train_control/net"))
    parser.add_argument("--out", type=Path, default=Path("data/train_control/evaluation"))
    parser.add_argument("--focus", type=Path, default=FOCUS)
    parser.add_argument("--images", type=int, default=100, help="images whose edges are compared")
    parser.add_argument("--concepts", type=int, default=1000, help="maximum number of concepts")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--only", nargs="*", default=[], help="measurements to run [all]")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    Evaluation(options).run(options.only)


if __name__ == "__main__":
    main()
